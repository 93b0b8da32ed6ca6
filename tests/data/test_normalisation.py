"""Normalisation against the definitions of its statistics."""

import math
import multiprocessing

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.data.normalisation import (
    Normalize,
    _by_numpy,
    _by_torch,
    centre_crop,
    robust_statistics,
    standardise,
    window_statistics,
)
from tests.data.making import images

patient = settings(deadline=None, max_examples=50)


@patient
@given(st.integers(0, 999), st.integers(2, 9), st.floats(0.01, 3.0))
def test_robust_statistics_by_the_definition(seed: int, side: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, rng.integers(1, 300) + 1, (3, 1, side, side)).astype(float)
    found = robust_statistics(torch.from_numpy(crops), floor)
    for crop, (location, scale) in zip(crops, found.tolist(), strict=True):
        low, median, high = np.quantile(crop, [0.05, 0.5, 0.95])
        assert location == pytest.approx(median)
        assert scale == pytest.approx(max(high - low, crop.std(), floor))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_by_numpy_are_those_of_torch(dtype: torch.dtype) -> None:
    crops = (51021 + 100 * images(200, 1, 48, 48)).to(dtype)
    crops[1], crops[2, 0, 3, 4], crops[3, 0, 0, 0] = 7.0, float("nan"), float("inf")
    (quantiles, deviation), expected = _by_numpy(crops.flatten(1)), _by_torch(crops.flatten(1))
    torch.testing.assert_close(quantiles, expected[0], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(deviation, expected[1], rtol=1e-13, atol=0, equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*", "ignore::torch.jit.TracerWarning")
def test_a_trace_measures_the_crops_that_it_is_given() -> None:
    first, second = images(2, 1, 8, 8), 5 + images(2, 1, 8, 8)
    traced = torch.jit.trace(lambda crops: robust_statistics(crops, 0.1), first)
    torch.testing.assert_close(traced(second), robust_statistics(second, 0.1))


def test_a_tiny_bird_on_flat_water_keeps_its_contrast() -> None:
    crop = torch.full((1, 1, 32, 32), 8.5)
    crop[..., 16, 16:18] = 13.0  # 2 px of 1024: every quantile range is 0
    location, scale = robust_statistics(crop, floor=0.05)[0].tolist()
    assert location == 8.5
    assert scale == pytest.approx(4.5 * math.sqrt(2 / 1024 * 1022 / 1024), rel=1e-4)


def test_normalisation_by_crop_cancels_gain_and_offset() -> None:
    crops = images(4, 1, 16, 16) * 30
    module = Normalize("crop", unit="degC")
    torch.testing.assert_close(module(crops * 3 + 100), module(crops))


def test_large_counts_lose_nothing_in_float32() -> None:
    crops = (51021 + 100 * images(4, 1, 16, 16)).round()
    torch.testing.assert_close(Normalize()(crops.float()).double(), Normalize()(crops), rtol=1e-4, atol=1e-4)


def test_the_floor_is_that_of_the_unit() -> None:
    flat = torch.full((1, 1, 8, 8), 20.0)
    flat[0, 0, 0, 0] = 20.01
    assert Normalize(unit="degC")(flat).max() == pytest.approx(0.01 / 0.05, rel=1e-3)
    assert Normalize(unit="counts")(flat).max() == pytest.approx(0.01, rel=1e-3)


def test_a_window_maps_to_plus_minus_one_and_clamps() -> None:
    crops = torch.tensor([-50.0, -5.0, 10.0, 25.0, 90.0]).reshape(5, 1, 1, 1)
    module = Normalize("window", window=(-5, 25))
    torch.testing.assert_close(module(crops).flatten(), torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0]))
    assert window_statistics((-5, 25)) == (10, 15)


def test_statistics_of_the_frame_are_given_from_outside() -> None:
    crops = images(2, 1, 4, 4)
    statistics = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    expected = torch.stack([(crops[0] - 1) / 2, (crops[1] - 3) / 4])
    torch.testing.assert_close(Normalize("frame")(crops, statistics), expected)
    torch.testing.assert_close(standardise(crops, statistics), expected)
    with pytest.raises(ValueError, match="'frame' needs the location and scale"):
        Normalize("frame")(crops)


@pytest.mark.parametrize("window", [(5.0, 5.0), (25.0, -5.0), (float("nan"), 1.0)])
def test_an_empty_window_is_refused(window: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="is empty; give the lower end first"):
        Normalize("window", window=window)


def test_a_missing_window_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a window in degC"):
        Normalize("window")


def check_export(module: Normalize) -> None:
    torch.set_num_threads(1)  # children of a parent that used OpenMP would hang
    crops = images(3, 1, 8, 8).float()
    batch = torch.export.Dim("batch", min=2, max=512)
    program = torch.export.export(module, (crops,), dynamic_shapes=({0: batch},))
    more = images(5, 1, 8, 8, seed=1).float()
    torch.testing.assert_close(program.module()(more), module(more))


@pytest.mark.parametrize("module", [Normalize("crop"), Normalize("window", window=(-1, 1))])
def test_normalisation_survives_export(module: Normalize) -> None:
    # in a child: after an export the next backward starts autograd's device threads, and processes that are
    # forked from then on (strategy ddp_fork in later tests) refuse to run a backward
    child = multiprocessing.get_context("fork").Process(target=check_export, args=(module,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert not list(module.state_dict())  # nothing that a checkpoint would have to carry


def test_centre_crop() -> None:
    grid = torch.arange(64.0).reshape(1, 1, 8, 8)
    torch.testing.assert_close(centre_crop(grid, 4), grid[..., 2:6, 2:6])
    assert centre_crop(grid, 8).shape == grid.shape
