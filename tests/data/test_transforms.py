"""Augmentation against slow references written from the definitions."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.data.normalisation import centre_crop
from dml_lightning.data.transforms import (
    NOISE_SIDE,
    PARAMETERS,
    Augmentation,
    augment,
    gaussian_blur,
    noise_sheet,
    noise_windows,
    warp,
)
from tests.data.making import images

patient = settings(deadline=None, max_examples=50)
NONE = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0)


# Geometry


def reference_warp(patch: np.ndarray, matrix: np.ndarray, shift: np.ndarray, side: int) -> np.ndarray:
    """For each output pixel: where it comes from, by plain geometry in px around the centres."""
    size = len(patch)
    result = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            out = np.array([j + 0.5 - side / 2, i + 0.5 - side / 2])  # x, y from the centre
            x, y = matrix @ out + shift * side + size / 2 - 0.5  # position among pixel centres
            result[i, j] = bilinear(patch, x, y)
    return result


def bilinear(patch: np.ndarray, x: float, y: float) -> float:
    size = len(patch)

    def mirrored(position: float) -> float:
        position = (position + 0.5) % (2 * size)
        position = min(position, 2 * size - position) - 0.5
        return min(max(position, 0.0), size - 1.0)

    x, y = mirrored(x), mirrored(y)
    left, top = min(int(x), size - 2), min(int(y), size - 2)
    u, v = x - left, y - top
    upper = (1 - u) * patch[top, left] + u * patch[top, left + 1]
    lower = (1 - u) * patch[top + 1, left] + u * patch[top + 1, left + 1]
    return (1 - v) * upper + v * lower


@patient
@given(st.integers(0, 999))
def test_warp_by_plain_geometry(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patch, matrix, shift = (rng.normal(size=(12, 12)), rng.normal(size=(2, 2)), rng.normal(size=2) / 4)
    found = warp(torch.from_numpy(patch)[None, None], torch.from_numpy(matrix)[None], torch.from_numpy(shift)[None], 8)
    np.testing.assert_allclose(found[0, 0], reference_warp(patch, matrix, shift, 8), atol=1e-9)


def test_no_augmentation_is_the_centre_crop() -> None:
    patches = images(5, 1, 48, 48)
    drawn = NONE.draw(0, 0, 0, 5)
    torch.testing.assert_close(augment(patches, drawn, 32, noise_sheet()), centre_crop(patches, 32), rtol=0, atol=1e-5)


def test_turns_by_right_angles_and_mirrors_are_exact() -> None:
    patches = images(1, 1, 12, 12)
    quarter = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]], dtype=torch.float64)
    mirror = torch.tensor([[[-1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    still = torch.zeros(1, 2, dtype=torch.float64)
    crop = centre_crop(patches, 8)
    torch.testing.assert_close(warp(patches, quarter, still, 8), crop.rot90(1, (2, 3)), atol=1e-12, rtol=0)
    torch.testing.assert_close(warp(patches, mirror, still, 8), crop.flip(3), atol=1e-12, rtol=0)


def test_no_turn_shows_a_corner() -> None:
    """A patch that is 1 within the reach of a turned, shifted crop and 0 beyond: no 0 may enter."""
    augmentation = Augmentation(shift=0.04, scale=0.0, blur=0, noise=0, polarity=0, gain=0, offset=0)
    x = torch.arange(48) + 0.5 - 24
    patch = ((x**2 + x[:, None] ** 2).sqrt() < 32 * (math.sqrt(0.5) + 0.06) + 1).double()[None, None]
    drawn = augmentation.draw(0, 0, 0, 200)
    turned = augment(patch.expand(200, 1, 48, 48), drawn, 32, noise_sheet())
    torch.testing.assert_close(turned, torch.ones_like(turned))


# Blur, noise, levels


def reference_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    taps = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
    taps /= taps.sum()
    padded = np.pad(image, 2, mode="reflect")
    rows, columns = image.shape
    return np.array(
        [
            [sum(taps[a] * taps[b] * padded[i + a, j + b] for a in range(5) for b in range(5)) for j in range(columns)]
            for i in range(rows)
        ]
    )


def test_each_image_is_blurred_with_its_own_width() -> None:
    crops = images(4, 1, 7, 7)
    sigma = torch.tensor([0.0, 0.3, 0.8, 2.0], dtype=torch.float64)
    found = gaussian_blur(crops, sigma)
    torch.testing.assert_close(found[0], crops[0])  # 0 px leaves it alone
    for i in (1, 2, 3):
        expected = reference_blur(crops[i, 0].numpy(), float(sigma[i]))
        np.testing.assert_allclose(found[i, 0], expected, atol=1e-12)


def test_noise_windows_wrap_around_the_sheet() -> None:
    sheet = noise_sheet()
    rows, columns = torch.tensor([0.0, 250.0]), torch.tensor([3.0, 255.0])
    found = noise_windows(sheet, rows, columns, 600)  # more than twice around
    for b, i, j in ((0, 0, 0), (0, 7, 2), (1, 0, 0), (1, 7, 7), (1, 599, 300)):
        y, x = (int(rows[b]) + i) % NOISE_SIDE, (int(columns[b]) + j) % NOISE_SIDE
        assert found[b, 0, i, j] == sheet[y, x]
    assert abs(float(sheet.mean())) < 0.02
    assert float(sheet.std()) == pytest.approx(1, abs=0.02)
    assert torch.equal(noise_sheet(), sheet)


def test_levels_and_noise_come_last() -> None:
    patches = images(3, 1, 12, 12)
    drawn = NONE.draw(0, 0, 0, 3)
    drawn[:, 6] = torch.tensor([1.2, -0.9, 1.0])
    drawn[:, 7] = torch.tensor([0.1, -0.2, 0.0])
    drawn[:, 8] = torch.tensor([0.0, 0.0, 0.5])
    sheet = noise_sheet()
    crop = centre_crop(patches, 8)
    windows = noise_windows(sheet, drawn[:, 9], drawn[:, 10], 8)
    found = augment(patches, drawn, 8, sheet)
    for i, expected in enumerate([1.2 * crop[0] + 0.1, -0.9 * crop[1] - 0.2, crop[2] + 0.5 * windows[2]]):
        torch.testing.assert_close(found[i], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_dtype_stays_and_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    patches = images(4, 1, 48, 48)
    drawn = Augmentation().draw(1, 2, 3, 4)
    low, exact = (augment(patches.to(t), drawn.to(t), 32, noise_sheet()) for t in (dtype, torch.float64))
    assert low.dtype == dtype
    # positions lose as much as the parameters do; noise windows must be the very same
    tolerance = {torch.bfloat16: 0.7, torch.float16: 0.1}.get(dtype, 1e-4)
    assert float((low.double() - exact).abs().max()) < tolerance
    assert torch.equal(drawn.to(torch.bfloat16)[:, 9:11].float(), drawn[:, 9:11])


# Parameters


def test_parameters_depend_on_seed_epoch_step_and_slot_alone() -> None:
    augmentation = Augmentation()
    drawn = augmentation.draw(1, 2, 3, 64)
    assert drawn.shape == (64, PARAMETERS)
    assert torch.equal(augmentation.draw(1, 2, 3, 64), drawn)
    assert torch.equal(augmentation.draw(1, 2, 3, 16), drawn[:16])  # not on the size of the batch
    others = [augmentation.draw(*key, 64) for key in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (2, 1, 3))]
    assert all(not torch.equal(other, drawn) for other in others)
    assert len({tuple(row) for row in drawn.tolist()}) == 64


def test_the_global_generators_are_not_touched() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # to see that nobody uses it
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    augment(images(4, 1, 48, 48), Augmentation().draw(0, 0, 0, 4), 32, noise_sheet())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


def test_every_strength_bounds_its_parameter() -> None:
    strong = Augmentation(
        rotate=30, flip=0.3, shift=0.1, scale=0.5, polarity=0.2, gain=0.25, offset=0.4, noise=0.3, blur=0.6
    )
    drawn = strong.draw(0, 0, 0, 20000).double()
    matrix = drawn[:, :4].view(-1, 2, 2)
    determinant = torch.linalg.det(matrix)
    zoom = determinant.abs().sqrt()
    assert 1 / 1.5 - 1e-6 <= zoom.min() < 0.68
    assert 1.48 < zoom.max() <= 1.5 + 1e-6
    assert (determinant < 0).double().mean() == pytest.approx(0.3, abs=0.02)
    identity = matrix.mT @ matrix / zoom[:, None, None] ** 2  # one scale for both axes, no shear
    torch.testing.assert_close(identity, torch.eye(2).double().expand_as(identity), atol=1e-6, rtol=0)
    angle = torch.atan2(-matrix[:, 0, 1], matrix[:, 1, 1]).rad2deg()
    assert 29 < angle.max() < 30.001
    assert -30.001 < angle.min() < -29
    assert 0.099 < drawn[:, 4:6].abs().max() <= 0.1 + 1e-6
    assert (drawn[:, 6] < 0).double().mean() == pytest.approx(0.2, abs=0.02)
    assert 1 / 1.25 - 1e-6 <= drawn[:, 6].abs().min() < 0.805
    assert 1.24 < drawn[:, 6].abs().max() <= 1.25 + 1e-6
    assert 0.39 < drawn[:, 7].abs().max() <= 0.4 + 1e-6
    assert 0.29 < drawn[:, 8].max() <= 0.3 + 1e-6
    assert drawn[:, 8].min() >= 0
    assert set(drawn[:, 9:11].flatten().tolist()) == set(range(NOISE_SIDE))
    assert 0.59 < drawn[:, 11].max() <= 0.6 + 1e-6


def test_columns_are_uncorrelated() -> None:
    drawn = Augmentation().draw(0, 0, 0, 20000).numpy()
    drawn[:, 6] = np.abs(drawn[:, 6])
    chosen = drawn[:, [4, 5, 6, 7, 8, 9, 10, 11]]
    correlation = np.corrcoef(chosen.T) - np.eye(8)
    assert np.abs(correlation).max() < 0.04


@pytest.mark.parametrize(
    ("strength", "message"),
    [({"rotate": -1}, "rotate is -1"), ({"flip": 1.5}, "flip is 1.5; a probability"), ({"blur": -0.1}, "blur")],
)
def test_impossible_strengths_are_refused(strength: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**strength)
