"""A run with side inputs, from one option of the data: its fit, and what it says of new frames."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dml_lightning.cli import main
from dml_lightning.data.sources import CocoJson
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.runs.checkpoints import read_checkpoint
from dml_lightning.types import Embeddings
from tests.commands.enrolling import table_of

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


def test_every_command_embeds_a_crop_alike(sized: Path, flights: Path, tmp_path: Path) -> None:
    """The evaluation of the fit, the gallery, `dml predict` and `dml enroll`."""
    trained, evidence = TrainedRun.load(str(sized)), read_evidence(sized / "embeddings" / "val.npz")
    table = CocoJson(flights, annotations="annotations.json").read().table
    own = next(trained.embed_table(table, len(table), "stop", {})).vectors
    known = evidence.sets["known"].vectors
    assert torch.cdist(known.double(), own.double()).min(dim=1).values.max() < 1e-5
    torch.testing.assert_close(trained.gallery.reference.vectors, evidence.sets["reference"].vectors)

    swans = table[table["label"] == "tundra_swan"].reset_index(drop=True)
    data = table_of(swans, tmp_path / "swans.csv")
    copy = shutil.copytree(sized, tmp_path / "run")
    species = main(["enroll", f"--run={copy}", f"--crops={data}", "--label=tundra_swan"])
    expected = own[np.flatnonzero(table["label"] == "tundra_swan")]
    np.testing.assert_allclose(species.vectors, expected, atol=1e-5)

    out = main(["predict", f"--run={sized}", f"--data={data}", f"--out={tmp_path}/p.csv"])
    answers = answer(trained.gallery, Embeddings(expected, *[torch.arange(len(expected))] * 2))
    np.testing.assert_allclose(pd.read_csv(out)["distance"], answers.distance, atol=1e-4)


def test_a_stage_with_other_side_inputs_is_refused(sized: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["test", f"--run={sized}", "--data.side_inputs=[width]"])
    assert "was trained on crops with another side_inputs" in capsys.readouterr().err
