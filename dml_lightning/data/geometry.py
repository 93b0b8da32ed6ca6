"""The geometry of crops: squares around boxes, and how they are resampled. NumPy alone, and copied into every export.

A crop is the square around the centre of its box, never distorted and not rounded to whole pixels; beyond the frame's
edge it continues by reflection.

Letters: N boxes, H x W frame in px.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]  # (N, 4): x, y of the top left corner, width, height, in px


def squares(boxes: Boxes, context: float, min_side: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (N, 2) as x, y and sides (N,) of the squares that crops show, in px of the frame.

    >>> centres, sides = squares(np.array([[10.0, 20.0, 8.0, 4.0]]), context=0.5, min_side=4.0)
    >>> centres.tolist(), sides.tolist()
    ([[14.0, 22.0]], [12.0])

    Args:
        boxes: (N, 4) in px.
        context: Margin as a fraction of the box's longer side, both sides together.
        min_side: Smallest side of a square, px.
    """
    return boxes[:, :2] + boxes[:, 2:] / 2, shown_sides(boxes[:, 2:].max(axis=1), context, min_side)


def shown_sides(longer: NDArray[np.float64], context: float, min_side: float) -> NDArray[np.float64]:
    """Sides (N,) of the squares that crops show around boxes with these longer sides (N,), in px of the frame."""
    return np.maximum(longer * (1 + context), min_side)


def outside(boxes: Boxes, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which boxes (N, 4) show nothing of a frame of (H, W) px."""
    height, width = shape
    x, y, box_width, box_height = boxes.T
    return np.asarray((x >= width) | (y >= height) | (x + box_width <= 0) | (y + box_height <= 0))


def reflect(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Maps whole positions outside 0..size-1 into it by mirrors at the outer edges: (d c b a | a b c d | d c b a)."""
    inside = positions % (2 * size)
    return np.where(inside < size, inside, 2 * size - 1 - inside)


def filter_taps(start: float, step: float, count: int) -> tuple[int, NDArray[np.float32]]:
    """Weights of an antialiased linear resampling along one axis.

    Output i covers source positions start + i * step .. start + (i + 1) * step in px, where source pixel j covers
    j .. j + 1. Enlarging is linear interpolation; reducing widens the triangle to the step (as Pillow and
    `torch.nn.functional.interpolate(..., antialias=True)` do), so that no pixel is skipped.

    Returns:
        The first source pixel, which may be negative, and weights (count, number of source pixels) whose rows sum to 1.
    """
    centres = start + step * (np.arange(count) + 0.5)
    radius = max(1.0, step)
    first = math.floor(centres[0] - radius)
    last = math.ceil(centres[-1] + radius)
    sources = np.arange(first, last) + 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(sources - centres[:, None]) / radius)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resample(pixels: NDArray[Any], centre: NDArray[np.float64], side: float, size: int) -> NDArray[np.float32]:
    """Resamples a square of a frame to size x size px, in the unit of the frame.

    Args:
        pixels: (H, W).
        centre: (2,) x and y in px; pixel j covers j .. j + 1.
        side: of the square in px of the frame; it may exceed the frame.
        size: px of the result.

    Returns:
        (size, size) float32.
    """
    step = side / size
    left, columns = filter_taps(float(centre[0]) - side / 2, step, size)
    top, rows = filter_taps(float(centre[1]) - side / 2, step, size)
    height, width = pixels.shape
    x = np.arange(left, left + columns.shape[1])
    y = np.arange(top, top + rows.shape[1])
    if left >= 0 and top >= 0 and x[-1] < width and y[-1] < height:
        source = pixels[top : top + len(y), left : left + len(x)].astype(np.float32)
    else:
        source = pixels[reflect(y, height)[:, None], reflect(x, width)].astype(np.float32)
    # products of differences keep single counts apart on a narrow range of large ones in float32
    base = source[0, 0]
    result: NDArray[np.float32] = rows @ (source - base) @ columns.T + base
    return result
