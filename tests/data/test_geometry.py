"""Missing pixels have no weight; what is left open takes its nearest neighbour's value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.data.geometry import LARGEST_SQUARE, fill_missing, filter_taps, reflect, resample

patient = settings(deadline=None, max_examples=60)


@patient
@given(st.integers(0, 999), st.floats(0.05, 0.95), st.floats(0, 12), st.floats(2, 30), st.integers(1, 7))
def test_missing_pixels_have_no_weight(seed: int, share: float, centre: float, side: float, size: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.normal(300, 9, (11, 12)).astype(np.float32)
    holes = rng.random(pixels.shape) < share
    left, across = filter_taps(centre - side / 2, side / size, size)
    y, x = (reflect(left + np.arange(across.shape[1]), length) for length in pixels.shape)
    source, present = pixels[y[:, None], x].astype(float), ~holes[y[:, None], x]
    expected = np.full((size, size), np.nan)
    for i in range(size):
        for j in range(size):
            weights = np.outer(across[i], across[j]) * present
            if abs(weights.sum() - 0.5) < 1e-5:
                return
            if weights.sum() > 0.5:
                expected[i, j] = (weights * source).sum() / weights.sum()
    result = resample(np.where(holes, np.nan, pixels), np.array([centre, centre]), side, size)
    np.testing.assert_allclose(result, expected, atol=1e-2)
    # what lies in a hole is never seen
    other = np.where(holes, rng.normal(size=pixels.shape), pixels).astype(np.float32)
    other[holes] = np.nan
    np.testing.assert_array_equal(resample(other, np.array([centre, centre]), side, size), result)


@patient
@given(st.integers(0, 999), st.tuples(st.integers(1, 9), st.integers(1, 9)), st.floats(0, 0.99))
def test_holes_take_the_nearest_value(seed: int, shape: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(seed)
    image = rng.permutation(shape[0] * shape[1]).reshape(shape).astype(np.float32)
    image[rng.random(shape) < share] = np.nan
    filled = fill_missing(image)
    if np.isnan(image).all():
        assert np.isnan(filled).all()
        return
    present = np.argwhere(~np.isnan(image))
    for place in np.ndindex(shape):
        distances = ((present - place) ** 2).sum(axis=1)
        nearest = {image[tuple(each)] for each in present[distances == distances.min()]}
        assert filled[place] in nearest
    np.testing.assert_array_equal(filled[~np.isnan(image)], image[~np.isnan(image)])


@pytest.mark.parametrize("side", [LARGEST_SQUARE + 1, 1e9, 1e300, float("inf"), float("nan")])
def test_absurd_squares_are_refused(side: float) -> None:
    with pytest.raises(ValueError, match=f"larger than {LARGEST_SQUARE} px"):
        resample(np.zeros((4, 4)), np.array([2.0, 2.0]), side, 8)
