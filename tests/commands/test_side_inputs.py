"""A run with side inputs, from one option of the data: its fit, and what it says of new frames."""

from pathlib import Path

import pytest
import torch

from dml_lightning.cli import main
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.runs.checkpoints import read_checkpoint

NAMES = ("width", "height", "contrast")


@pytest.fixture(scope="module")
def sized(words: list[str]) -> Path:
    """A finished run whose crops carry their boxes and contrast."""
    run: Path = main(["fit", *words, "--data.side_inputs=[contrast,width,height]", "--name=sized"])
    return run


def test_the_option_of_the_data_reaches_the_encoder(sized: Path) -> None:
    trained = TrainedRun.load(str(sized))
    assert trained.options.side_inputs == NAMES
    assert trained.module.encoder.side_inputs == len(NAMES)
    state = read_checkpoint(sized / "checkpoints" / "best.ckpt")["state_dict"]
    assert state["encoder.side.location"].tolist() != [0, 0, 0]
    assert torch.equal(trained.module.encoder.side.location, state["encoder.side.location"])
