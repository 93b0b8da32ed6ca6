"""The camera against a slow painter and against the noise, tail and scale that were measured."""

import numpy as np
import pytest

from dml_lightning.simulate.camera import expose, fixed_pattern, lag, paint, quantise
from dml_lightning.simulate.flight import OFFSET, Flight
from dml_lightning.simulate.scene import Animal
from dml_lightning.simulate.shapes import Part
from tests.simulate.drawn import flight


def test_painting_matches_a_slow_reference() -> None:
    """Two ellipses, the second over the first, by counting points of a fine grid; no blur."""
    parts = (Part(0.05, 0.0, 0.30, 0.12, 4.0, 0.4), Part(-0.1, 0.1, 0.15, 0.10, 9.0, -0.7, 0.5))
    animal, gsd = Animal("", "", 10.3, 9.6, 0.9, parts), 0.05
    left, top, coverage, kelvin, _ = paint(animal, gsd, 1e-3)
    steps = (np.arange(20) + 0.5) / 20
    expected = np.zeros((2, *coverage.shape))
    for row, column in np.ndindex(coverage.shape):
        x, y = np.meshgrid(left + column + steps - 10.3, top + row + steps - 9.6)
        forward = gsd * (x * np.cos(0.9) + y * np.sin(0.9))
        right = gsd * (y * np.cos(0.9) - x * np.sin(0.9))
        cover, warmth = np.zeros(x.shape), np.zeros(x.shape)
        for part in parts:
            u, v = forward - part.x, right - part.y
            c, s = np.cos(part.angle), np.sin(part.angle)
            inside = ((u * c + v * s) / part.a) ** 2 + ((v * c - u * s) / part.b) ** 2 <= 1
            alpha = part.opacity * inside
            cover, warmth = cover * (1 - alpha) + alpha, warmth * (1 - alpha) + alpha * part.kelvin
        expected[:, row, column] = cover.mean(), warmth.mean()
    np.testing.assert_allclose(coverage, expected[0], atol=0.05)
    np.testing.assert_allclose(kelvin, expected[1], atol=0.4)
    assert kelvin.sum() == pytest.approx(expected[1].sum(), rel=0.01)


@pytest.mark.parametrize("blur", [0.6, 0.9])
def test_a_point_is_blurred_by_optics_and_by_the_pixel(blur: float) -> None:
    part, spreads = Part(0.0, 0.0, 0.002, 0.002, 1.0), []
    for phase in np.arange(10.05, 11.0, 0.1):  # where on its pixel the point falls
        left, _, coverage, *_ = paint(Animal("", "", phase, 10.5, 0.0, (part,)), 0.05, blur)
        weight = coverage.sum(0) / coverage.sum()
        spreads.append((weight * (left + np.arange(len(weight)) + 0.5 - phase) ** 2).sum())
    expected = (blur / 2.3548) ** 2 + 1 / 12  # a Gaussian and a box of 1 px
    assert np.mean(spreads) == pytest.approx(expected, rel=0.08)


def exposures(own: Flight, number: int = 8) -> np.ndarray:
    """Repeated frames of an even scene, degC (number, H, W), after quantisation."""
    rng, scene = np.random.default_rng(5), np.full((own.height, own.width), 8.5, np.float32)
    return np.stack([quantise(expose(scene, own, rng)) * 0.01 + OFFSET for _ in range(number)])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_noise_is_as_measured(number: int) -> None:
    """Temporal 21-50 mK, rows 4-7 mK, columns 6-11 mK, residual fixed pattern 59-104 mK."""
    own = flight(number, vignetting=0.0)
    frames = exposures(own)
    moving = frames - frames.mean(0)
    unbiased = np.sqrt(len(frames) / (len(frames) - 1))
    rows = moving.mean(2)
    grain = (moving - rows[:, :, None]).std() * unbiased
    assert 0.021 <= grain <= 0.051  # quantisation adds 2.9 mK in quadrature
    assert 0.004 - 5e-4 <= rows.std() * unbiased <= 0.007 + 5e-4
    still = frames.mean(0)
    assert 0.059 <= still.std() <= 0.106
    columns = np.diff(still.mean(0)).std() / np.sqrt(2)  # neighbours: without slow shading
    assert 0.006 - 1e-3 <= columns <= 0.011 + 2e-3


def test_corners_are_darker_than_the_centre() -> None:
    own = flight(vignetting=1.5)
    pattern = fixed_pattern(own)
    corners = [pattern[:32, :32], pattern[:32, -32:], pattern[-32:, :32], pattern[-32:, -32:]]
    drop = pattern[240:272, 304:336].mean() - np.mean([corner.mean() for corner in corners])
    assert drop == pytest.approx(1.5, abs=0.3)


@pytest.mark.parametrize("down", [True, False])
def test_tail_is_faint_and_10_to_30_px_long(down: bool) -> None:
    own = flight(tail_down=down)
    signal = np.zeros((512, 640), np.float32)
    signal[250:255, 300] = 2.0
    tail = lag(signal, own)[:, 300]
    behind = tail[254:] if down else tail[250::-1]
    ahead = tail[:250] if down else tail[255:]
    assert 10 <= own.tail <= 30
    assert 0.01 * 2.0 < behind[0] <= own.tail_share * 2.0 < 0.1 * 2.0
    assert behind[round(own.tail)] / behind[0] == pytest.approx(np.exp(-2), rel=0.1)
    assert not ahead.any()


def test_quantisation_is_centikelvin_and_saturates() -> None:
    celsius = np.array([[-273.15, 0.0, 8.504, 1000.0, -300.0]], np.float32)
    assert quantise(celsius).tolist() == [[0, 27315, 28165, 65535, 0]]
