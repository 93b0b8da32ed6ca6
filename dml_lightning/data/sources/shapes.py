"""The upright box around what annotation tools draw: polygons, circles and turned rectangles."""

import math
from collections.abc import Iterable

Sides = tuple[float, float, float, float]  # left, top, width, height
NO_BOX: Sides = (math.nan, math.nan, math.nan, math.nan)


def around(points: Iterable[tuple[float, float]]) -> Sides:
    """Returns the upright box around points (x, y); NaN where there are none or one is not finite.

    >>> around([(3, 1), (1, 5)])
    (1, 1, 2, 4)
    """
    x, y = zip(*points, strict=True) if (points := list(points)) else ((), ())
    if not x or not all(map(math.isfinite, (*x, *y))):
        return NO_BOX
    return min(x), min(y), max(x) - min(x), max(y) - min(y)


def around_circle(x: float, y: float, radius_x: float, radius_y: float) -> Sides:
    """Returns the box around an upright ellipse with the centre x, y.

    >>> around_circle(10, 20, 3, 2)
    (7, 18, 6, 4)
    """
    return x - radius_x, y - radius_y, 2 * radius_x, 2 * radius_y


def around_turned(sides: Sides, degrees: float, pivot: tuple[float, float]) -> Sides:
    """Returns the box around a rectangle turned clockwise (in a picture, where y points down) about a pivot.

    A multiple of 360 degrees leaves the rectangle's exact numbers.

    >>> [round(side, 6) for side in around_turned((0, 0, 4, 2), 90, pivot=(0, 0))]
    [-2.0, 0.0, 2.0, 4.0]
    """
    if math.fmod(degrees, 360) == 0:
        return sides
    left, top, width, height = sides
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(left, top), (left + width, top), (left, top + height), (left + width, top + height)]
    offsets = [(x - pivot[0], y - pivot[1]) for x, y in corners]
    return around((pivot[0] + x * cosine - y * sine, pivot[1] + x * sine + y * cosine) for x, y in offsets)


def turned_radii(across: float, down: float, degrees: float) -> tuple[float, float]:
    """Returns half the width and half the height of the box around an ellipse that is turned about its centre.

    >>> [round(radius, 6) for radius in turned_radii(3, 1, 90)]
    [1.0, 3.0]
    """
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return math.hypot(across * cosine, down * sine), math.hypot(across * sine, down * cosine)
