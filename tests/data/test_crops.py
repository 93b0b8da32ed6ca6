"""Cutting: square, undistorted, reflected at edges, antialiased."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.data.crops import CropOptions, by_frame, crop_batches, cut_frame
from dml_lightning.data.frames import Frame, FrameError, Radiometry
from dml_lightning.data.geometry import filter_taps, reflect, resample, squares
from dml_lightning.data.normalisation import Normalize, centre_crop

patient = settings(deadline=None, max_examples=60)


def reference(pixels: np.ndarray, centre: tuple[float, float], side: float, size: int) -> np.ndarray:
    """Every output px by itself: triangle of the output's step (at least 1 px) over mirrored source px."""
    height, width = pixels.shape
    step = side / size
    radius = max(1.0, step)

    def mirrored(position: int, length: int) -> int:
        while not 0 <= position < length:
            position = -1 - position if position < 0 else 2 * length - 1 - position
        return position

    def taps(start: float, i: int) -> list[tuple[int, float]]:
        middle = start + (i + 0.5) * step
        near = range(math.floor(middle - radius) - 1, math.ceil(middle + radius) + 1)
        weights = [(j, max(0.0, 1 - abs(j + 0.5 - middle) / radius)) for j in near]
        total = sum(weight for _, weight in weights)
        return [(j, weight / total) for j, weight in weights if weight > 0]

    result = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            result[row, column] = sum(
                u * v * float(pixels[mirrored(y, height), mirrored(x, width)])
                for y, u in taps(centre[1] - side / 2, row)
                for x, v in taps(centre[0] - side / 2, column)
            )
    return result


@patient
@given(
    st.integers(0, 999),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.floats(-3, 14), st.floats(-3, 14)),
    st.floats(0.5, 40),
    st.integers(1, 7),
)
def test_resample_by_the_definition(
    seed: int, shape: tuple[int, int], centre: tuple[float, float], side: float, size: int
) -> None:
    """Also in corners, outside, for frames of 1 px and squares several times larger than the frame."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    found = resample(pixels, np.array(centre), side, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(pixels, centre, side, size), atol=1e-3)


@pytest.mark.parametrize("factor", [0.5, 1.7, 4.0])
def test_resample_agrees_with_torch_away_from_edges(factor: float) -> None:
    pixels = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    size = round(64 / factor)
    ours = resample(pixels, np.array([32.0, 32.0]), 64.0, size)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(pixels)[None, None], size=(size, size), mode="bilinear", antialias=True
    )[0, 0].numpy()
    edge = math.ceil(factor) if factor < 1 else 2
    edge = max(edge, math.ceil(1 / factor) + 1)
    inner = slice(edge, size - edge)
    np.testing.assert_allclose(ours[inner, inner], theirs[inner, inner], atol=1e-5)


def test_whole_pixels_are_copied() -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (40, 50), dtype=np.uint16)
    found = resample(pixels, np.array([20.0, 15.0]), 16.0, 16)
    np.testing.assert_array_equal(found, pixels[7:23, 12:28].astype(np.float32))


def test_a_narrow_range_of_large_counts_stays_exact() -> None:
    """Between 51,021 and 52,421 float32 products would lose the difference of single counts."""
    pixels = np.random.default_rng(0).integers(51021, 52422, (40, 40), dtype=np.uint16)
    found = resample(pixels, np.array([20.3, 19.6]), 20.0, 32)
    np.testing.assert_allclose(found, reference(pixels, (20.3, 19.6), 20.0, 32), atol=0.01)


@given(st.integers(-99, 99), st.integers(1, 9))
def test_reflect_is_symmetric_at_both_edges(position: int, size: int) -> None:
    pad = 120
    expected = np.pad(np.arange(size), pad, mode="symmetric")[position + pad]
    assert reflect(np.array([position]), size)[0] == expected


@patient
@given(st.floats(-50, 50), st.floats(0.05, 20), st.integers(1, 40))
def test_weights_sum_to_one(start: float, step: float, count: int) -> None:
    _, weights = filter_taps(start, step, count)
    assert weights.shape[0] == count
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert (weights >= 0).all()


def test_no_pixel_is_skipped_when_reducing() -> None:
    """One hot pixel in a goose of 200 px must leave a trace wherever it is."""
    for hot in range(60, 76):
        pixels = np.zeros((200, 200), np.float32)
        pixels[hot, hot] = 1000
        assert resample(pixels, np.array([100.0, 100.0]), 192.0, 16).sum() * 144 == pytest.approx(1000, rel=0.05)


def test_squares_have_context_and_a_smallest_side() -> None:
    boxes = np.array([[10.0, 20.0, 40.0, 10.0], [100.0, 100.0, 2.0, 2.0]])
    centres, sides = squares(boxes, context=0.5, min_side=16)
    np.testing.assert_allclose(centres, [[30, 25], [101, 101]])
    np.testing.assert_allclose(sides, [60, 16])


def test_a_long_box_does_not_distort() -> None:
    y, x = np.mgrid[:200, :200] + 0.5
    pixels = np.exp(-((x - 90) ** 2 + (y - 110) ** 2) / (2 * 6.0**2)).astype(np.float32)
    patches, _ = cut_frame(Frame(pixels, "degC"), np.array([[60.0, 100.0, 60.0, 20.0]]), CropOptions(), "f")
    patch = patches[0].astype(float)
    v, u = np.mgrid[: len(patch), : len(patch)] + 0.5 - len(patch) / 2
    spread = [(patch * w**2).sum() / patch.sum() for w in (u, v)]
    assert spread[0] == pytest.approx(spread[1], rel=1e-3)
    # 90 px of the frame on 32 px of the crop; the reducing triangle adds about its own variance
    step = 90 / 32
    assert spread[0] == pytest.approx((36 + step**2 / 6) / step**2, rel=0.03)
    assert (patch * u).sum() / patch.sum() == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize(
    "box",
    [[0, 0, 2, 2], [318, 254, 2, 2], [-5, 100, 12, 9], [10, 10, 300, 200], [0, 0, 320, 256]],
    ids=["corner", "last corner", "over the edge", "large", "whole frame"],
)
def test_edges_neither_darken_nor_fail(box: list[float]) -> None:
    pixels = np.full((256, 320), 777, np.uint16)
    options = CropOptions(crop_size=20, context=1.0)
    patches, _ = cut_frame(Frame(pixels, "counts"), np.array([box], float), options, "f")
    assert patches.shape == (1, options.stored_size, options.stored_size)
    np.testing.assert_array_equal(patches, 777)


@given(st.integers(4, 300))
def test_stored_patch_holds_every_turn(size: int) -> None:
    stored = CropOptions(crop_size=size).stored_size
    assert stored >= size * math.sqrt(2)
    assert (stored - size) % 2 == 0


def test_stored_patch_shows_the_crop_in_its_centre() -> None:
    rng = np.random.default_rng(0)
    frame = Frame(rng.normal(15, 5, (100, 120)).astype(np.float32), "degC")
    box = np.array([[50.0, 40.0, 13.0, 9.0]])
    options = CropOptions()
    patches, _ = cut_frame(frame, box, options, "f")
    direct = resample(frame.pixels, np.array([56.5, 44.5]), 19.5, 32)
    np.testing.assert_allclose(centre_crop(torch.from_numpy(patches), 32)[0], direct, atol=1e-4)


# Statistics


def test_statistics_are_those_of_the_visible_crop() -> None:
    """Not of the larger stored patch: a warm neighbour outside the crop must not change it."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 120, (80, 80), dtype=np.uint16)
    box, options = np.array([[36.0, 36.0, 8.0, 8.0]]), CropOptions(min_side=8, context=0)
    plain = cut_frame(Frame(pixels, "counts"), box, options, "f")
    pixels = pixels.copy()
    pixels[:, :35] = 9000
    disturbed = cut_frame(Frame(pixels, "counts"), box, options, "f")
    assert not np.array_equal(plain[0], disturbed[0])
    np.testing.assert_array_equal(plain[1], disturbed[1])
    crop = centre_crop(torch.from_numpy(plain[0]), 32)[:, None]
    normalised = (crop - plain[1][0, 0]) / plain[1][0, 1]
    torch.testing.assert_close(Normalize("crop")(crop), normalised)


def test_statistics_of_the_frame_are_shared_by_its_crops() -> None:
    pixels = np.random.default_rng(0).integers(0, 1000, (128, 150), dtype=np.uint16)
    boxes = np.array([[3.0, 3, 9, 9], [50, 50, 20, 20]])
    _, statistics = cut_frame(Frame(pixels, "counts"), boxes, CropOptions(normalisation="frame"), "f")
    low, median, high = np.quantile(pixels, [0.05, 0.5, 0.95])
    np.testing.assert_allclose(statistics, [[median, high - low]] * 2, rtol=1e-6)


def test_large_frames_are_thinned_for_their_statistics() -> None:
    pixels = np.random.default_rng(0).normal(10, 2, (1024, 1280)).astype(np.float32)
    _, statistics = cut_frame(
        Frame(pixels, "degC"), np.array([[3.0, 3, 9, 9]]), CropOptions(normalisation="frame"), "f"
    )
    np.testing.assert_allclose(statistics[0], [10, 2 * 2 * 1.645], rtol=0.03)


def test_a_window_needs_temperatures() -> None:
    options = CropOptions(normalisation="window", window=(-5, 25))
    box = np.array([[3.0, 3, 9, 9]])
    pixels = np.zeros((20, 20), np.uint16)
    with pytest.raises(ValueError, match=r"frame\.png.*window in degC met a frame in counts.*radiometry"):
        cut_frame(Frame(pixels, "counts"), box, options, "frame.png")
    _, statistics = cut_frame(Frame(pixels.astype(np.float32), "degC"), box, options, "f")
    np.testing.assert_array_equal(statistics, [[10, 15]])


# Missing pixels


def mosaic(celsius: np.ndarray, outside: np.ndarray) -> Frame:
    return Frame(np.where(outside, np.nan, celsius).astype(np.float32), "degC")


@pytest.mark.parametrize("normalisation", ["crop", "frame"])
def test_missing_pixels_change_neither_the_bird_nor_its_statistics_much(normalisation: str) -> None:
    rng = np.random.default_rng(0)
    celsius = rng.normal(8, 0.3, (90, 90)).astype(np.float32)
    celsius[40:46, 44:50] += 9
    outside = np.zeros((90, 90), bool)
    outside[:, :39] = True
    box, options = np.array([[43.0, 39, 8, 8]]), CropOptions(normalisation=normalisation)
    intact = cut_frame(Frame(celsius, "degC"), box, options, "f")
    patches, statistics = cut_frame(mosaic(celsius, outside), box, options, "f")
    assert np.isfinite(patches).all()
    assert np.isfinite(statistics).all()
    np.testing.assert_allclose(patches[0, 8:, 24:], intact[0][0, 8:, 24:], atol=1e-4)  # far from the edge
    np.testing.assert_allclose(statistics, intact[1], rtol=0.15)


def test_a_frame_with_missing_pixels_elsewhere_gives_the_same_crop() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(51021, 52421, (90, 90), dtype=np.uint16)
    marked = counts.astype(np.float32)
    marked[:20] = np.nan
    box = np.array([[50.0, 60, 8, 8]])
    for plain, holed in zip(
        cut_frame(Frame(counts, "counts"), box, CropOptions(), "f"),
        cut_frame(Frame(marked, "counts"), box, CropOptions(), "f"),
        strict=True,
    ):
        np.testing.assert_array_equal(plain, holed)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (56, r"missing pixels in 5\d% of its crop and 5\d% of itself"),
        (63, "missing pixels in 97% of its crop and 100% of itself"),
    ],
)
def test_a_crop_with_too_few_pixels_is_refused(first: int, message: str) -> None:
    outside = np.zeros((90, 90), bool)
    outside[:, :first] = True
    box = np.array([[50.0, 40, 11, 11]])
    with pytest.raises(FrameError, match=rf"f\.tif: the box x, y, width, height = \[50.* has {message}; leave out"):
        cut_frame(mosaic(np.full((90, 90), 8.0), outside), box, CropOptions(), "f.tif")


def test_statistics_of_a_frame_leave_out_what_is_missing() -> None:
    celsius = np.random.default_rng(0).normal(8, 2, (128, 128)).astype(np.float32)
    outside = np.zeros((128, 128), bool)
    outside[:, :100] = True
    options = CropOptions(normalisation="frame")
    _, statistics = cut_frame(mosaic(celsius, outside), np.array([[110.0, 50, 5, 5]]), options, "f")
    low, median, high = np.quantile(celsius[:, 100:], (0.05, 0.5, 0.95))
    np.testing.assert_allclose(statistics[0], [median, high - low], rtol=1e-5)


# Errors


@pytest.mark.parametrize("box", [[64, 3, 5, 5], [3, 48, 5, 5], [-9, 3, 9, 5], [3, -5, 5, 5]])
def test_a_box_beside_its_frame_is_refused(box: list[float]) -> None:
    frame = Frame(np.zeros((48, 64), np.uint8), "counts")
    boxes = np.array([[1.0, 1, 5, 5], box])
    with pytest.raises(FrameError, match=r"f\.tif.*lies outside the 64x48 px frame.*top left corner"):
        cut_frame(frame, boxes, CropOptions(), "f.tif")


@pytest.mark.parametrize("side", [6000.0, 1e9, 1e200])
def test_a_box_of_absurd_size_is_refused_before_memory_is_asked_for(side: float) -> None:
    with pytest.raises(FrameError, match=r"f\.tif: the box .* needs .* px of the frame for its crop, more than 8192"):
        cut_frame(Frame(np.zeros((48, 64), np.uint8), "counts"), np.array([[1.0, 1, side, 5]]), CropOptions(), "f.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(FrameError, match="lies outside the 64x48 px frame"):
        cut_frame(Frame(np.zeros((48, 64), np.uint8), "counts"), np.array([[1.0, 1, value, 5]]), CropOptions(), "f")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": 3}, "crop_size is 3 px"),
        ({"context": -0.1}, "context is -0.1"),
        ({"min_side": 0}, "min_side is 0"),
        ({"normalisation": "histogram"}, "'histogram' is unknown; use 'crop', 'frame' or 'window'"),
        ({"normalisation": "window"}, "'window' came with window None"),
        ({"window": (0, 1)}, "'crop' came with window"),
        ({"normalisation": "window", "window": (3, 1)}, "is empty"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CropOptions(**options)


# Streaming


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(4):
        path = tmp_path / f"{number}.tiff"
        tifffile.imwrite(path, rng.integers(28000, 29000, (64, 80), dtype=np.uint16))
        rows += [(str(path), *rng.uniform(1, 50, 2), *rng.uniform(2, 20, 2)) for _ in range(5)]
    order = rng.permutation(len(rows))
    columns = ["frame", "x", "y", "width", "height"]
    return pd.DataFrame([rows[i] for i in order], columns=columns, index=order + 100)


def test_by_frame_counts_positions_not_labels(table: pd.DataFrame) -> None:
    groups = dict(by_frame(table))
    assert list(groups) == list(dict.fromkeys(table["frame"]))
    assert sorted(np.concatenate(list(groups.values())).tolist()) == list(range(20))
    for path, rows in groups.items():
        assert set(table["frame"].iloc[rows]) == {path}
        assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("batch_size", [1, 7, 20, 64])
def test_crop_batches_streams_all_crops(table: pd.DataFrame, batch_size: int) -> None:
    options = CropOptions(radiometry=Radiometry(0.01, -273.15))
    batches = list(crop_batches(table, options, batch_size=batch_size))
    assert [len(b.labels) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert 0 < len(batches[-1].labels) <= batch_size
    images, index = torch.cat([b.images for b in batches]), torch.cat([b.index for b in batches])
    assert index.tolist() == np.concatenate([rows for _, rows in by_frame(table)]).tolist()
    assert all((b.labels == -1).all() for b in batches)
    assert images.shape == (20, 1, 32, 32)
    row = table.iloc[int(index[11])]
    degrees = tifffile.imread(row["frame"]) * 0.01 - 273.15
    side = max(1.5 * max(row["width"], row["height"]), 16)
    centre = (row["x"] + row["width"] / 2, row["y"] + row["height"] / 2)
    crop = torch.from_numpy(reference(degrees, centre, side, 32))[None, None]
    torch.testing.assert_close(images[11:12].double(), Normalize(unit="degC")(crop), atol=2e-3, rtol=0)


def test_crop_batches_stops_or_skips(table: pd.DataFrame) -> None:
    bad = table["frame"].iloc[3]
    Path(bad).write_bytes(b"")
    with pytest.raises(FrameError, match=bad):
        list(crop_batches(table, CropOptions()))
    found: dict[str, str] = {}
    batches = list(crop_batches(table, CropOptions(), on_bad_frame="skip", bad_frames=found))
    assert list(found) == [bad]
    assert bad in found[bad]
    index = torch.cat([b.index for b in batches]).tolist()
    assert sorted(index) == np.flatnonzero(table["frame"] != bad).tolist()


# Crops of so many metres


def test_a_crop_in_metres_shows_the_same_ground_at_any_altitude() -> None:
    """A smooth scene at two distances, and by a camera whose picture is twice as large as its pixels."""

    def seen(gsd: float, drawn: int) -> Frame:
        x, y = (np.arange(0.5, count) * gsd for count in (int(64 / gsd), int(48 / gsd)))
        scene = 20 + np.sin(x / 6)[None, :] * np.cos(y / 5)[:, None]
        size = (scene.shape[1] * drawn, scene.shape[0] * drawn)
        return Frame(scene.astype(np.float32), "degC", drawn=size if drawn > 1 else None)

    options = CropOptions(crop_size=16, crop_metres=16.0)
    crops = []
    for gsd, drawn in ((0.25, 1), (0.5, 1), (0.25, 2)):
        box = np.array([[28.0, 22.0, 6.0, 3.0]]) / (gsd / drawn)  # px of the picture
        crops.append(cut_frame(seen(gsd, drawn), box, options, "f", np.array([gsd / drawn]))[0][0])
    edge = (options.stored_size - 16) // 2
    inner = slice(edge, edge + 16)
    x, y = 31 + np.arange(-7.5, 8), 23.5 + np.arange(-7.5, 8)  # m, the centres of the crop's pixels
    expected = 20 + np.sin(x / 6)[None, :] * np.cos(y / 5)[:, None]
    for crop in crops:
        np.testing.assert_allclose(crop[inner, inner], expected, atol=0.02)


@pytest.mark.parametrize("metres", [0.0, -1.0, math.inf, math.nan])
def test_a_side_that_no_crop_has_is_refused(metres: float) -> None:
    with pytest.raises(ValueError, match="it is the side of a crop in m, a positive number"):
        CropOptions(crop_metres=metres)


def test_a_crop_in_metres_needs_the_distance(table: pd.DataFrame) -> None:
    options = CropOptions(crop_size=16, crop_metres=2.0)
    with pytest.raises(ValueError, match="its ground sampling distance is not known"):
        next(crop_batches(table, options))
    near, far = (next(crop_batches(table.assign(gsd=gsd), options)).images for gsd in (0.05, 0.1))
    assert not torch.equal(near, far)
