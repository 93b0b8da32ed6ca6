"""Upright boxes around drawn shapes, against corners turned one by one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dml_lightning.data.sources.shapes import around, around_turned, turned_radii

SIDE = st.floats(1, 100)


@given(st.tuples(SIDE, SIDE, SIDE, SIDE), st.floats(-400, 400), st.tuples(SIDE, SIDE))
def test_turned_rectangles_against_complex_numbers(
    sides: tuple[float, float, float, float], degrees: float, pivot: tuple[float, float]
) -> None:
    x, y, width, height = sides
    centre = complex(*pivot)
    turn = complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    corners = [complex(x + across * width, y + down * height) for across in (0, 1) for down in (0, 1)]
    turned = [(corner - centre) * turn + centre for corner in corners]
    across, down = [c.real for c in turned], [c.imag for c in turned]
    expected = min(across), min(down), max(across) - min(across), max(down) - min(down)
    np.testing.assert_allclose(around_turned(sides, degrees, pivot), expected, atol=1e-9)


def test_clockwise_is_clockwise_on_the_screen() -> None:
    """Turned by 90 degrees about its top left corner, a box lies to the left of it."""
    np.testing.assert_allclose(around_turned((10, 10, 4, 2), 90, (10, 10)), (8, 10, 2, 4), atol=1e-12)
    assert around_turned((10.1, 10, 4, 2), 360, (3, 3)) == (10.1, 10, 4, 2)


@given(SIDE, SIDE, st.floats(-180, 180))
def test_turned_ellipses_against_points_on_the_rim(across: float, down: float, degrees: float) -> None:
    angles = np.linspace(0, 2 * np.pi, 4001)
    x, y = across * np.cos(angles), down * np.sin(angles)
    turn = math.radians(degrees)
    rim = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    np.testing.assert_allclose(turned_radii(across, down, degrees), (rim[0].max(), rim[1].max()), rtol=1e-5)


@pytest.mark.parametrize("points", [[], [(math.nan, 1), (2, 3)]])
def test_points_that_bound_nothing(points: list[tuple[float, float]]) -> None:
    assert all(map(math.isnan, around(points)))
