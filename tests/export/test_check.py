"""The comparison of a folder with its run: equal answers pass, and each kind of difference is found."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from dml_lightning.export import check
from dml_lightning.export.graph import DeployedEncoder
from dml_lightning.export.score import Embedded, Model
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.types import Embeddings
from tests.export.made_up import model_of, random_run


@pytest.fixture
def trained(tmp_path: Path) -> TrainedRun:
    return random_run(tmp_path / "run")


def queries() -> Embeddings:
    vectors = 2 * torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    return Embeddings(vectors, torch.zeros(50, dtype=torch.int64), torch.arange(50))


def test_equal_answers_pass(trained: TrainedRun) -> None:
    expected = queries()
    difference = check.deviation(trained, expected, model_of(trained), Embedded(expected.vectors.numpy()))
    assert difference.crops == 50
    assert difference.score < 1e-12
    assert difference.decisions == 0
    check.require(difference, "crops")


@pytest.mark.parametrize("shift", [2e-4, 0.5, float("nan")])
def test_other_prototypes_are_found(trained: TrainedRun, shift: float) -> None:
    expected, model = queries(), model_of(trained)
    model.arrays["prototypes"] = model.arrays["prototypes"] + shift
    difference = check.deviation(trained, expected, model, Embedded(expected.vectors.numpy()))
    with pytest.raises(ValueError, match="differs from the run on 50 crops"):
        check.require(difference, "crops")


def test_another_threshold_is_found(trained: TrainedRun) -> None:
    expected, model = queries(), model_of(trained)
    model.rules["B"]["threshold"] /= 2
    difference = check.deviation(trained, expected, model, Embedded(expected.vectors.numpy()))
    assert difference.decisions > 0
    with pytest.raises(ValueError, match="decisions; nothing was written"):
        check.require(difference, "crops")


def test_other_limits_of_the_sets_are_found(trained: TrainedRun) -> None:
    expected, model = queries(), model_of(trained)
    model.arrays["set_limits"] = model.arrays["set_limits"] + 1e-4  # rounding
    assert check.deviation(trained, expected, model, Embedded(expected.vectors.numpy())).decisions == 0
    model.arrays["set_limits"] = model.arrays["set_limits"] / 2
    assert check.deviation(trained, expected, model, Embedded(expected.vectors.numpy())).decisions > 0


def interleaved(folder: Path) -> pd.DataFrame:
    """Boxes of two frames and of one that is gone, in turn."""
    random = np.random.default_rng(0)
    for name in "ab":
        tifffile.imwrite(folder / f"{name}.tiff", random.integers(28_000, 29_000, (40, 60)).astype(np.uint16))
    rows = [[str(folder / f"{'abc'[box % 3]}.tiff"), 3.0 * box, 2.0 * box, 9.0, 6.0, "a", "f"] for box in range(12)]
    return pd.DataFrame(rows, columns=["frame", "x", "y", "width", "height", "label", "group"])


def model_with_encoder(trained: TrainedRun) -> Model:
    """The reader, with the encoder itself in place of the written graph."""
    graph, model = DeployedEncoder(trained.module.encoder, None, trained.options, "counts"), model_of(trained)
    with_encoder: Any = model
    with_encoder.embed = lambda crops: Embedded(graph(torch.from_numpy(crops.pixels))[0].numpy())
    return model


def test_frames_of_the_run_are_compared_box_by_box(trained: TrainedRun, tmp_path: Path) -> None:
    table, model = interleaved(tmp_path), model_with_encoder(trained)
    difference = check.frames_of_run(trained, table, model)
    assert difference is not None
    assert difference.crops == 8  # without the frame that is gone
    assert difference.embedding < 1e-5
    check.require(difference, "crops")
    model.crop["min_side"] += 3
    other = check.frames_of_run(trained, table, model)
    assert other is not None
    assert other.embedding > 1e-3


def test_without_a_frame_nothing_is_compared(trained: TrainedRun, tmp_path: Path) -> None:
    table = interleaved(tmp_path)
    gone = table[table["frame"].str.endswith("c.tiff")].reset_index(drop=True)
    assert check.frames_of_run(trained, gone, model_of(trained)) is None


def test_a_sample_holds_no_row_twice() -> None:
    table = pd.DataFrame({"x": range(5)})
    assert check.sample(table, 64)["x"].tolist() == [0, 1, 2, 3, 4]
