"""The floor is that of the arm of raw pixels, and a fit ends with it."""

from pathlib import Path

import pytest

from dml_lightning.cli import main
from dml_lightning.commands.summary import outcome
from dml_lightning.runs.folder import read_metrics
from tests import ROOT


def test_a_fit_ends_with_what_the_arm_of_raw_pixels_has(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [f"--runs_root={tmp_path}", "--tracking.wandb=disabled"]
    run = main(["fit", *words, f"--config={ROOT}/configs/model/triplet.yaml", "--trainer.max_epochs=1", *more])
    told = capsys.readouterr().out
    plain = [word for word in words if "init_args.encoder" not in word]
    floor = main(
        ["validate", *plain, f"--config={ROOT}/configs/model/raw_pixels.yaml", "--ckpt_path=none", "--name=raw", *more]
    )
    own, raw = (read_metrics(each, "val")["balanced_accuracy"] for each in (run, floor))
    assert told.endswith(f"{outcome(own, raw)}\nRun: {run}\nNext: dml test --run {run}\n")
