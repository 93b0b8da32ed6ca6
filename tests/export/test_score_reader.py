"""The parts of the standalone reader, each against the package's own."""

from typing import Any

import numpy as np
import pytest
import torch

from dml_lightning.data.crops import CropOptions, centre_crop, cut_frame
from dml_lightning.data.frames import Frame, Radiometry
from dml_lightning.data.geometry import squares
from dml_lightning.export.score import Crops, Model, nearest_rows, read_boxes
from dml_lightning.pairs.neighbours import nearest_neighbours

CENTIKELVIN = Radiometry(0.01, -273.15)


def bare(options: CropOptions, unit: str) -> Model:
    """A model without its files, for what needs no graph."""
    model = Model.__new__(Model)
    radiometry = options.radiometry
    model.crop = {
        **vars(options),
        "stored_size": options.stored_size,
        "unit": unit,
        "radiometry": radiometry and vars(radiometry),
    }
    return model


def boxes_at_all_edges(random: np.random.Generator) -> Any:
    corners = random.uniform((-3, -3), (58, 38), (60, 2))
    return np.concatenate([corners, random.uniform(3.5, 70, (60, 2))], axis=1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "centikelvin"])
@pytest.mark.parametrize("size", [16, 33])
@pytest.mark.parametrize("normalisation", ["crop", "frame"])
def test_crops_are_those_of_the_run(dtype: str, size: int, normalisation: Any) -> None:
    random = np.random.default_rng(0)
    radiometry = CENTIKELVIN if dtype == "centikelvin" else None
    kind = np.dtype("uint16" if radiometry else dtype)
    high, low = (256, 0) if dtype == "uint8" else (29_000, 28_600)
    frame = random.integers(low, high, (40, 60)).astype(kind)
    if dtype == "float32":
        frame = frame / 100 - 270
        frame = frame.astype(np.float32)
    options = CropOptions(size, 0.3, 9, normalisation, radiometry=radiometry)
    unit: Any = "degC" if radiometry or dtype == "float32" else "counts"
    pixels = radiometry.to_celsius(frame) if radiometry else frame
    boxes = boxes_at_all_edges(random)
    patches, statistics = cut_frame(Frame(pixels, unit), boxes, options, "frame")
    found = bare(options, unit).cut(frame, boxes)
    expected = centre_crop(torch.from_numpy(patches), size).numpy()
    assert np.array_equal(found.pixels[:, 0], expected)
    if normalisation == "frame":
        assert found.statistics is not None
        assert np.allclose(found.statistics, statistics, rtol=1e-6)
    else:
        assert found.statistics is None
    assert squares(boxes, options.context, options.min_side)[1].min() >= 9  # small boxes are among them


def test_no_box_gives_no_crop() -> None:
    model = bare(CropOptions(crop_size=16), "counts")
    assert model.cut(np.zeros((40, 60), np.uint8), np.empty((0, 4))).pixels.shape == (0, 1, 16, 16)


@pytest.mark.parametrize(
    ("frame", "box", "message"),
    [
        (np.zeros((4, 6, 3), np.uint8), [0, 0, 2, 2], r"the frame: the array has the shape \(4, 6, 3\)"),
        (np.zeros((4, 6), np.int32), [0, 0, 2, 2], "the frame: the pixels are int32"),
        (np.zeros((4, 6), np.float32), [0, 0, 2, 2], "the frame is in degC, and the model takes counts"),
        (
            np.zeros((4, 6), np.uint8),
            [6, 0, 2, 2],
            r"box 0 with x, y, width, height = \[6.* lies outside the 6x4 px frame",
        ),
        (np.zeros((4, 6), np.uint8), [1, 1, 0, 2], "is empty or lies outside"),
        (np.zeros((4, 6), np.uint8), [1, 1, 1e9, 2], "box 0 .* needs .* px of the frame for its crop, more than 8192"),
        (np.zeros((4, 6), np.int16), [0, 0, 2, 2], "signed counts"),
        (np.full((4, 6), 281.0), [0, 0, 2, 2], "the median of its pixels is 281 degC: they are likely Kelvin"),
        (np.zeros((4, 6), np.complex64), [0, 0, 2, 2], "the pixels are complex64"),
        (np.zeros((4, 6), np.uint8), [np.nan, 1, 2, 2], "is empty or lies outside"),
    ],
)
def test_frames_and_boxes_that_cannot_be_cut(frame: Any, box: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bare(CropOptions(crop_size=16), "counts").cut(frame, [box])


def test_a_frame_with_nan_is_refused() -> None:
    frame = np.zeros((4, 6), np.float32)
    frame[1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        bare(CropOptions(crop_size=16), "degC").cut(frame, [[0, 0, 2, 2]])


@pytest.mark.parametrize(
    ("crops", "message"),
    [
        (np.zeros((2, 24, 24)), r"crops are \(N, 16, 16\)"),
        (np.zeros((16, 16)), r"got \(16, 16\)"),
        (np.full((2, 16, 16), np.nan), "NaN"),
        (np.zeros((2, 16, 16)), "needs location and scale"),
        (Crops(np.zeros((2, 1, 16, 16), np.float32)), "needs location and scale"),
    ],
)
def test_crops_that_cannot_be_embedded(crops: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bare(CropOptions(crop_size=16, normalisation="frame"), "counts").embed(crops)


@pytest.mark.parametrize("k", [1, 5, 50])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_neighbours_by_definition(k: int, offset: float) -> None:
    random = np.random.default_rng(0)
    references = (random.normal(size=(40, 6)) + offset).astype(np.float32)
    queries = (random.normal(size=(30, 6)) + offset).astype(np.float32)
    distances = ((queries[:, None].astype(float) - references) ** 2).sum(2)
    assert np.array_equal(nearest_rows(queries, references, k), distances.argsort(1)[:, :k])


def test_equal_references_come_in_the_order_of_the_run() -> None:
    """As stored, that is in the seeded order of the run's own search."""
    random = np.random.default_rng(0)
    references = np.repeat(random.normal(size=(4, 3)), 10, axis=0).astype(np.float32)
    queries = random.normal(size=(20, 3)).astype(np.float32)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).numpy()
    expected = nearest_neighbours(queries, references, 7).rows.numpy()
    assert np.array_equal(order[nearest_rows(queries, references[order], 7)], expected)


def test_boxes_need_their_columns(tmp_path: Any) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("x,y,width,height\n1,2,3,4\n")
    assert read_boxes(path).tolist() == [[1, 2, 3, 4]]
    path.write_text("x,y,width\n1,2,3\n")
    with pytest.raises(ValueError, match="columns x, y, width, height"):
        read_boxes(path)
