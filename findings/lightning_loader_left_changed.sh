#!/usr/bin/env bash
# Guess, before anything was run: an error in a datamodule's predict_dataloader ends Trainer.predict, and the next call,
# with loaders that are right, works as in a fresh process.
# Seen (lightning 2.6.6): while it calls such a hook Lightning replaces DataLoader.__init__ for the whole process, and an
# error there keeps it from putting the old one back. From then on a plain DataLoader(dataset, 8) is refused by
# Trainer.predict, with the advice to mend the implementation of DataLoader; DataLoader(dataset, batch_size=8) is taken.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "lightning==2.6.6" "torch==2.15.0" numpy
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import logging

import lightning as L
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from torch.utils.data import DataLoader

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Unfinished(L.LightningDataModule):
    def predict_dataloader(self):
        raise ValueError("name the set to embed")


def predicted(**given):
    """Number of batches, or the error."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    try:
        return len(L.Trainer(**quiet).predict(BoringModel(), **given))
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:75]}"


def loaders():
    return {"by place": DataLoader(RandomDataset(32, 16), 8), "by name": DataLoader(RandomDataset(32, 16), batch_size=8)}


print("lightning", L.__version__)
original = DataLoader.__init__
before = {name: predicted(dataloaders=loader) for name, loader in loaders().items()}
middle = predicted(datamodule=Unfinished())
after = {name: predicted(dataloaders=loader) for name, loader in loaders().items()}
print("before", before)
print("hook  ", middle)
print("after ", after)
assert before == {"by place": 2, "by name": 2}
assert middle.startswith("ValueError: name the set")
assert DataLoader.__init__ is not original
assert after["by name"] == 2 and after["by place"].startswith("MisconfigurationException: The DataLoader implementation")
PYTHON
