#!/usr/bin/env bash
# Guess, before anything was run: once an offline run is finished, what it made in the temporary folder is gone.
# Seen (wandb 0.31.0): a copy of each logged table stays there, in a folder of its own, until Python collects the artifact
# that nobody can reach, or ends; then it goes with a ResourceWarning, which fails a process that runs with -W error.
# A run that logs numbers alone leaves nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "wandb==0.31.0"
cd "$folder"
mkdir tmp
TMPDIR="$folder/tmp" WANDB_MODE=offline WANDB_SILENT=true venv/bin/python -W always::ResourceWarning - 2>err.txt <<'PYTHON'
import os
from pathlib import Path

import wandb

temporary = Path(os.environ["TMPDIR"])
print("wandb", wandb.__version__)


def left():
    return sorted(path.name for path in temporary.rglob("*.table.json") if "wandb-media" not in str(path))


for what in ({"loss": 1.0}, {"birds": wandb.Table(columns=["species"], data=[["smew"]])}):
    run = wandb.init(project="p", dir=".")
    run.log(what)
    run.finish()
    print(list(what), "left after finish():", left())
    assert left() == ([] if "loss" in what else ["birds.table.json"])
PYTHON
grep -o "ResourceWarning: Implicitly cleaning up <TemporaryDirectory" err.txt
