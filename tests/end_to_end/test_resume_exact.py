"""From every checkpoint that a fit writes, the resumed fit ends where the uninterrupted one does, bit by bit."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dml_lightning.cli import main
from dml_lightning.runs.checkpoints import AtomicCheckpointIO
from tests.end_to_end.killing import ARMS, differences, exact_words, outcome


def fit_and_keep(words: list[str], folder: Path) -> tuple[Path, list[Path]]:
    """A whole fit, and a copy of its folder behind every write of `last.ckpt`."""
    write, copies = AtomicCheckpointIO.save_checkpoint, []

    def write_and_copy(self: AtomicCheckpointIO, content: Any, path: str | Path, **rest: Any) -> None:
        write(self, content, path, **rest)
        if Path(path).name == "last.ckpt":
            run = Path(path).parents[1]
            copies.append(folder / f"copy{len(copies)}" / run.parent.name / run.name)
            shutil.copytree(run, copies[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", write_and_copy)
        return main(["fit", *words, f"--runs_root={folder}/whole"]), copies


SETTINGS: dict[str, tuple[list[str], int]] = {
    "plain": (["--trainer.max_epochs=3"], 12),
    "mixed precision": (["--trainer.precision=bf16-mixed"], 8),
    "two validations an epoch": (["--trainer.val_check_interval=2"], 6),
    "no validation in odd epochs": (["--trainer.check_val_every_n_epoch=2"], 8),
    "accumulated gradients": (["--trainer.accumulate_grad_batches=2"], 4),
    "a part of each epoch": (["--trainer.limit_train_batches=3", "--data.num_workers=2"], 6),
    "an early end": (
        [
            "--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping",
            "--trainer.callbacks.monitor=val/map_at_r",
            "--trainer.callbacks.mode=max",
            "--trainer.callbacks.stopping_threshold=-1",  # after the first epoch
        ],
        4,
    ),
    "a number of steps": (["--trainer.max_steps=6", "--trainer.max_epochs=-1"], 5),
}

CASES = [  # every setting for one arm, the plain one for all
    pytest.param(setting, arm, marks=[] if setting == "plain" or arm == ARMS[-1] else pytest.mark.long)
    for setting in SETTINGS
    for arm in ARMS
]


# a resumed fit that ends before its next validation has no number to choose by, and chooses nothing
@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")
@pytest.mark.slow
@pytest.mark.parametrize(("setting", "arm"), CASES)
def test_every_checkpoint_leads_to_the_same_end(words: list[str], tmp_path: Path, setting: str, arm: str) -> None:
    more, count = SETTINGS[setting]
    command = [*exact_words(words, arm, tmp_path), *more, "--tracking.wandb=disabled"]
    whole, copies = fit_and_keep(command, tmp_path)
    expected = outcome(whole)
    print(setting, len(copies))
    assert len(copies) == count
    wrong = {}
    for copy in copies:
        root = copy.parents[1]
        main(["fit", *command, f"--runs_root={root}", "--ckpt_path=last"])
        wrong[root.name] = differences(expected, outcome(copy))[:5]
    assert not any(wrong.values()), wrong
