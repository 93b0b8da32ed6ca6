"""Side inputs: those of a crop are its box and its scale, on every way from the table to a batch."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dml_lightning.data.background import BACKGROUND, with_shapes
from dml_lightning.data.cache import cache_key, open_crops
from dml_lightning.data.crops import CropOptions, crop_batches
from dml_lightning.data.loaders import CropDataset, TrainingCrops
from dml_lightning.data.plan import PlannedBatch
from dml_lightning.data.side import SideInput, augmented, side_inputs
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.data.transforms import Augmentation, augment, noise_sheet
from tests.data.making import counts_table

PIXELS: tuple[SideInput, ...] = ("width", "height", "contrast")
OPTIONS = CropOptions(crop_size=8, side_inputs=PIXELS)
NAMES = ["contrast", "width"]  # in another order than they are carried


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return counts_table(tmp_path)


def dataset(table: pd.DataFrame, folder: Path) -> CropDataset:
    store = open_crops(table, OPTIONS, folder / "cache")
    side = side_inputs(table[BOX_COLUMNS].to_numpy(), store.statistics, OPTIONS.side_inputs)
    rows = np.arange(3, len(table))
    return CropDataset(store, rows, np.zeros(len(rows), np.int64), OPTIONS, side)


def test_names_are_kept_in_one_order() -> None:
    assert CropOptions(side_inputs=tuple(NAMES)).side_inputs == ("width", "contrast")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side_inputs": ("wing",)}, "side_inputs are \\['wing'\\]; choose among width, .*, contrast, each once"),
        ({"side_inputs": ("width", "width")}, "each once"),
        ({"side_inputs": ("contrast",), "normalisation": "window", "window": (0, 9)}, "one number for all crops"),
    ],
)
def test_names_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CropOptions(**options)


def test_a_cache_serves_crops_with_and_without_side_inputs(table: pd.DataFrame) -> None:
    assert cache_key(table, OPTIONS) == cache_key(table, CropOptions(crop_size=8))


def test_a_batch_carries_the_box_and_the_scale_of_each_crop(table: pd.DataFrame, tmp_path: Path) -> None:
    crops = dataset(table, tmp_path)
    batch = crops.__getitems__([5, 0])
    for row, side in zip((8, 3), batch.side.tolist(), strict=True):
        expected = [table.loc[row, "width"], table.loc[row, "height"], crops.store.statistics[row, 1]]
        assert side == pytest.approx(expected)


def test_predicted_crops_carry_what_evaluated_ones_do(table: pd.DataFrame, tmp_path: Path) -> None:
    side = dataset(table, tmp_path).side
    for batch in crop_batches(table, OPTIONS, batch_size=7):
        np.testing.assert_array_equal(batch.side, side[batch.index])
    assert all(batch.side.shape[1] == 0 for batch in crop_batches(table, CropOptions(crop_size=8)))


# Augmentation


def test_an_enlarged_crop_shows_a_larger_box_and_more_contrast() -> None:
    """Width of a blob and level of the augmented pixels themselves, beside what is carried."""
    x = torch.arange(48, dtype=torch.float64) + 0.5 - 24
    patch = torch.exp(-(x**2 + x[:, None] ** 2) / (2 * 3.0**2))[None, None]
    augmentation = Augmentation(
        rotate=90, shift=0, scale=0.3, polarity=0.5, gain=0.5, offset=0, noise=0, blur=0, side=0
    )
    drawn = augmentation.draw(0, 0, 0, 40)
    images = augment(patch.expand(40, 1, 48, 48), drawn, 32, noise_sheet())[:, 0]
    u = torch.arange(32, dtype=torch.float64) + 0.5 - 16
    spread = ((images * u**2).sum((1, 2)) / images.sum((1, 2))).sqrt()
    found = augmented(torch.tensor([[3.0, 6.0, 1.0]]).expand(40, 3), PIXELS, drawn, torch.ones(40, 3))
    torch.testing.assert_close(found[:, 0].double(), spread, rtol=0.01, atol=0)
    torch.testing.assert_close(found[:, 1], 2 * found[:, 0])
    height = images.sum((1, 2)).abs() / (2 * math.pi * spread**2)
    torch.testing.assert_close(found[:, 2].double(), height, rtol=0.03, atol=0)


def test_each_input_is_jittered_on_its_own_within_its_strength() -> None:
    factors = Augmentation(side=0.25).draw_side(1, 2, 3, 4000)
    assert 0.8 <= factors.min() < 0.801
    assert 1.249 < factors.max() <= 1.2500001
    assert factors.log().mean().abs() < 0.01
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.05
    assert torch.equal(Augmentation(side=0).draw_side(1, 2, 3, 4), torch.ones(4, 3))
    assert torch.equal(Augmentation(side=0.25).draw_side(1, 2, 3, 8), factors[:8])
    assert not torch.equal(Augmentation(side=0.25).draw_side(1, 2, 4, 4000), factors)


def test_the_batches_of_two_ranks_are_the_parts_of_one(table: pd.DataFrame, tmp_path: Path) -> None:
    crops = TrainingCrops(dataset(table, tmp_path), Augmentation(), seed=5)
    whole = crops.__getitems__(PlannedBatch([4, 2, 0, 7], 1, 2, np.arange(4), 4))
    second = crops.__getitems__(PlannedBatch([0, 7], 1, 2, np.array([2, 3]), 4))
    assert torch.equal(second.side, whole.side[2:])
    assert not torch.equal(whole.side, crops.crops.__getitems__([4, 2, 0, 7]).side)


def test_a_size_in_metres_changes_as_that_in_px_does() -> None:
    drawn, factors = Augmentation().draw(0, 0, 0, 9), Augmentation().draw_side(0, 0, 0, 9)
    names: tuple[SideInput, ...] = ("width", "height", "width_m", "height_m")
    found = augmented(torch.tensor([[8.0, 4.0, 0.4, 0.2]]).expand(9, 4), names, drawn, factors)
    torch.testing.assert_close(found[:, 2:], 0.05 * found[:, :2])


# Metres


def test_metres_are_px_times_the_distance_of_each_frame(table: pd.DataFrame) -> None:
    options = CropOptions(crop_size=8, side_inputs=("height_m", "width"))
    frames = sorted(table["frame"].unique())
    located = table.assign(gsd=table["frame"].map({frame: 0.01 * (n + 1) for n, frame in enumerate(frames)}))
    for batch in crop_batches(located, options, batch_size=7):
        rows = located.iloc[batch.index.numpy()]
        expected = np.stack([rows["width"], rows["height"] * rows["gsd"]], axis=1)
        np.testing.assert_allclose(batch.side, expected, rtol=1e-6)


# Background crops


def test_background_has_the_shapes_of_known_boxes_and_the_same_crops() -> None:
    rng = np.random.default_rng(0)
    known = [(*rng.uniform(0, 90, 2), *rng.uniform(2, 20, 2), "coot", "known") for _ in range(50)]
    sides = rng.choice([max(width, height) for _, _, width, height, *_ in known], 40)
    squares = [(*rng.uniform(0, 90, 2), side, side, BACKGROUND, "ood") for side in sides]
    before = pd.DataFrame([*known, *squares], columns=[*BOX_COLUMNS, "label", "role"])
    after = with_shapes(before)
    pd.testing.assert_frame_equal(after[:50], before[:50])
    shapes = {(round(width, 9), round(height, 9)) for _, _, width, height, *_ in known}
    one, other = (part.loc[50:, BOX_COLUMNS].to_numpy(float) for part in (before, after))
    assert {(round(width, 9), round(height, 9)) for width, height in other[:, 2:].tolist()} <= shapes
    np.testing.assert_allclose(other[:, 2:].max(axis=1), one[:, 2])
    np.testing.assert_allclose(other[:, :2] + other[:, 2:] / 2, one[:, :2] + one[:, 2:] / 2)
