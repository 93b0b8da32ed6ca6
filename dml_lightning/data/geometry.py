"""The geometry of crops: squares around boxes, and how they are resampled. NumPy alone, and copied into every export.

A crop is the square around the centre of its box, never distorted and not rounded to whole pixels; beyond the frame's
edge it continues by reflection. Pixels that a frame marks as missing (NaN) have no weight.

Letters: N boxes, S side of a crop in px, P side of a stored patch in px, H x W frame in px.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_SQUARE = 8192  # px of a frame that one crop may show: 268 MB of float32
TOGETHER = 64  # squares whose weights are computed at once
LEAST_PRESENT = 0.5  # of the weight of a resampled pixel
MOST_MISSING = 0.5  # of the pixels of a crop or of its box
FRAME_SAMPLES = 128  # rows and columns, at least, on which the statistics of a frame are computed
# Smallest scale that a crop is divided by, in each unit: one step of an integer, the noise specification of a
# microbolometer core. Below it there is nothing but noise.
FLOORS = {"counts": 1.0, "degC": 0.05}

Boxes = NDArray[np.float64]  # (N, 4): x, y of the top left corner, width, height, in px
BOX_INPUTS = ("width", "height", "width_m", "height_m")  # side inputs that a box gives, in px and in metres


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
    """Sides (N,) of the squares that crops show around boxes with these longer sides (N,), in px of the frame.

    >>> shown_sides(np.array([8.0, 40.0]), context=0.5, min_side=16.0).tolist()
    [16.0, 60.0]
    """
    return np.maximum(longer * (1 + context), min_side)


def box_inputs(boxes: Boxes, names: Sequence[str], gsd: Any = np.nan) -> NDArray[np.float32]:
    """Side inputs (N, n) that boxes give, in the order of their names; any other name is left out.

    >>> box_inputs(np.array([[10.0, 20.0, 8.0, 4.0]]), ["width", "height_m", "contrast"], gsd=0.25).tolist()
    [[8.0, 1.0]]

    Args:
        boxes: (N, 4) in px.
        names: Names, of which those in `BOX_INPUTS` count.
        gsd: Ground sampling distance of the boxes, (N,) or one for all, m per px.
    """
    width, height = boxes[:, 2], boxes[:, 3]
    columns = dict(zip(BOX_INPUTS, (width, height, width * gsd, height * gsd), strict=True))
    chosen = [columns[name] for name in names if name in columns]
    return np.column_stack([boxes[:, :0], *chosen]).astype(np.float32)


class BoxError(ValueError):
    """A box around which no crop can be cut.

    Attributes:
        number: Row of the box in the array of boxes.
        what: What is wrong with it, as the predicate of a sentence.
        remedy: What would work.
    """

    def __init__(self, number: int, what: str, remedy: str) -> None:
        super().__init__(f"box {number} {what}; {remedy}.")
        self.number, self.what, self.remedy = number, what, remedy


def check_boxes(boxes: Boxes, size: tuple[int, int]) -> None:
    """Refuses boxes (N, 4) that are empty, not finite or outside a picture of (width, height) px.

    >>> check_boxes(np.array([[700.0, 10.0, 8.0, 4.0]]), size=(640, 512))  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    BoxError: box 0 is empty or lies outside the 640x512 px frame; boxes are in px ...

    Raises:
        BoxError: A box is; the first such box is named.
    """
    x, y, width, height = boxes.T
    outside = (x >= size[0]) | (y >= size[1]) | (x + width <= 0) | (y + height <= 0)
    wrong = np.flatnonzero(outside | ~np.isfinite(boxes).all(axis=1) | (width <= 0) | (height <= 0))
    if len(wrong):
        raise BoxError(
            int(wrong[0]),
            f"is empty or lies outside the {size[0]}x{size[1]} px frame",
            "boxes are in px from the top left corner of their own frame",
        )


def cut(
    pixels: Any,
    boxes: Boxes,
    *,
    crop_size: int,
    stored_size: int,
    context: float,
    min_side: float,
    sides: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Cuts the squares around boxes out of a frame.

    >>> frame = np.arange(64.0).reshape(8, 8)
    >>> box = np.array([[2.0, 2.0, 2.0, 2.0]])
    >>> cut(frame, box, crop_size=2, stored_size=4, context=0.0, min_side=1.0)[0, 1:3, 1:3].tolist()
    [[18.0, 19.0], [26.0, 27.0]]

    Args:
        pixels: Frame (H, W), as `resample` takes it.
        boxes: Boxes (N, 4) in px of the frame.
        crop_size: Side S of a crop in px.
        stored_size: Side P of a patch in px, whose central S px are the crop.
        context: Margin as a fraction of the box's longer side, both sides together.
        min_side: Smallest side of a square, in px of the frame.
        sides: Sides (N,) of the squares in px of the frame, in place of those by context and min_side.

    Returns:
        Patches (N, P, P) in the unit of the frame. Missing pixels have the value of the nearest pixel of the patch
        that has one.

    Raises:
        BoxError: A patch would show more than `LARGEST_SQUARE` px, or more than half of a crop or of its box is
            missing.
    """
    centres, by_box = squares(boxes, context, min_side)
    fields = (by_box if sides is None else sides) * (stored_size / crop_size)
    absurd = np.flatnonzero(~(fields <= LARGEST_SQUARE))
    if len(absurd):
        what = f"needs {fields[absurd[0]]:g} px of the frame for its crop, more than {LARGEST_SQUARE}"
        raise BoxError(int(absurd[0]), what, "boxes are as large as an animal")
    patches = np.empty((len(boxes), stored_size, stored_size), np.float32)
    for number, patch in enumerate(_resampled(pixels, centres, fields, stored_size)):
        if np.isnan(patch).any():
            _check_missing(pixels, patch, number, boxes[number], crop_size)
            patch = fill_missing(patch)
        patches[number] = patch
    return patches


def _check_missing(pixels: Any, patch: NDArray[np.float32], number: int, box: Boxes, crop_size: int) -> None:
    left, top = np.floor(box[:2]).clip(0).astype(int)
    right, bottom = np.ceil(box[:2] + box[2:]).astype(int)
    edge = (len(patch) - crop_size) // 2
    crop_share = np.isnan(patch[edge : edge + crop_size, edge : edge + crop_size]).mean()
    box_share = np.isnan(pixels[top:bottom, left:right]).mean()
    if max(crop_share, box_share) > MOST_MISSING:
        what = f"has missing pixels in {crop_share:.0%} of its crop and {box_share:.0%} of itself"
        raise BoxError(number, what, f"leave out boxes with more than {MOST_MISSING:.0%}")


def thinned(pixels: Any) -> NDArray[np.float32]:
    """Pixels (M,) on an even grid over a whole frame (H, W), without missing ones; for statistics of the frame.

    >>> thinned(np.array([[1.0, np.nan], [3.0, 4.0]])).tolist()
    [1.0, 3.0, 4.0]

    Raises:
        ValueError: All pixels on the grid are missing.
    """
    height, width = pixels.shape
    down, across = max(1, height // FRAME_SAMPLES), max(1, width // FRAME_SAMPLES)
    sample = np.asarray(pixels[::down, ::across], np.float32)
    present: NDArray[np.float32] = sample[~np.isnan(sample)]
    if not present.size:
        raise ValueError("all of the pixels looked at are marked as missing")
    return present


def reflect(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Maps whole positions outside 0..size-1 into it by mirrors at the outer edges: (d c b a | a b c d | d c b a).

    >>> reflect(np.arange(-2, 6), 4).tolist()
    [1, 0, 0, 1, 2, 3, 3, 2]
    """
    inside = positions % (2 * size)
    return np.where(inside < size, inside, 2 * size - 1 - inside)


def filter_taps(start: float, step: float, count: int) -> tuple[int, NDArray[np.float32]]:
    """Weights of an antialiased linear resampling along one axis.

    Output i covers source positions start + i * step .. start + (i + 1) * step in px, where source pixel j covers
    j .. j + 1. Enlarging is linear interpolation; reducing widens the triangle to the step (as Pillow and
    `torch.nn.functional.interpolate(..., antialias=True)` do), so that no pixel is skipped.

    >>> first, weights = filter_taps(start=0.0, step=2.0, count=1)
    >>> first, weights.tolist()
    (-1, [[0.125, 0.375, 0.375, 0.125]])

    Returns:
        The first source pixel, which may be negative, and weights (count, number of source pixels) whose rows sum to 1.
    """
    return next(_filters(np.array([start]), np.array([step]), count))


def _filters(
    starts: NDArray[np.float64], steps: NDArray[np.float64], count: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yields what `filter_taps` returns, for each of several axes (M,)."""
    centres = starts[:, None] + steps[:, None] * (np.arange(count) + 0.5)  # (M, count)
    radii = np.maximum(1.0, steps)[:, None]
    firsts = np.floor(centres[:, 0] - radii[:, 0]).astype(np.int64)
    lengths = np.ceil(centres[:, -1] + radii[:, 0]).astype(np.int64) - firsts
    # only the sources near a centre have a weight: (M, count, taps)
    taps = np.ceil(centres - radii - 0.5).astype(np.int64)[..., None] + np.arange(int(2 * radii.max()) + 1)
    weights = np.maximum(0.0, 1.0 - np.abs(taps + 0.5 - centres[..., None]) / radii[..., None])
    weights = (weights / weights.sum(axis=2, keepdims=True)).astype(np.float32)
    taps -= firsts[:, None, None]
    outputs = np.arange(count)[:, None]
    for first, length, columns, values in zip(firsts.tolist(), lengths.tolist(), taps, weights, strict=True):
        dense = np.zeros((count, length + columns.shape[1]), np.float32)  # taps without a weight lie behind the end
        dense[outputs, columns] = values
        yield first, dense[:, :length]


def resample(pixels: Any, centre: NDArray[np.float64], side: float, size: int) -> NDArray[np.float32]:
    """Resamples a square of a frame to size x size px, in the unit of the frame.

    >>> resample(np.arange(16.0).reshape(4, 4), centre=np.array([2.0, 2.0]), side=2.0, size=2).tolist()
    [[5.0, 6.0], [9.0, 10.0]]

    Args:
        pixels: Frame (H, W): an array, or anything that has a shape and is sliced alike; NaN for missing pixels.
        centre: Centre (2,) of the square as x and y in px; pixel j covers j .. j + 1.
        side: Side of the square in px of the frame; it may exceed the frame.
        size: Side of the result in px.

    Returns:
        (size, size) float32. Missing pixels have no weight; a pixel of the result is NaN where they have more than half
        of its weight.

    Raises:
        ValueError: The square is too large to be held in memory.
    """
    if not side <= LARGEST_SQUARE:
        raise ValueError(f"a square of {side:g} px of a frame is larger than {LARGEST_SQUARE} px")
    return next(_resampled(pixels, centre[None], np.array([side]), size))


def _resampled(
    pixels: Any, centres: NDArray[np.float64], sides: NDArray[np.float64], size: int
) -> Iterator[NDArray[np.float32]]:
    """Yields what `resample` returns, for several squares (N,)."""
    for start in range(0, len(sides), TOGETHER):
        some = slice(start, start + TOGETHER)
        corners = centres[some] - sides[some, None] / 2
        across, down = (_filters(corners[:, axis], sides[some] / size, size) for axis in (0, 1))
        for (left, columns), (top, rows) in zip(across, down, strict=True):
            yield _weighted(rows, _part(pixels, top, left, (rows.shape[1], columns.shape[1])), columns)


def _weighted(rows: NDArray[np.float32], part: NDArray[Any], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weighted means of the pixels (H', W') under each output; see `resample`."""
    source = part.astype(np.float32)
    present = ~np.isnan(source)
    if not present.all():
        return _resample_present(rows, np.where(present, source, 0), present, columns)
    # products of differences keep single counts apart on a narrow range of large ones in float32
    base = source[0, 0]
    result: NDArray[np.float32] = rows @ (source - base) @ columns.T + base
    return result


def _part(pixels: Any, top: int, left: int, shape: tuple[int, int]) -> NDArray[Any]:
    """Pixels (H', W') of a frame from row `top` and column `left` on; outside it continues by reflection."""
    bottom, right = top + shape[0], left + shape[1]
    if min(top, left) >= 0 and bottom <= pixels.shape[0] and right <= pixels.shape[1]:
        return np.asarray(pixels[top:bottom, left:right])
    y, x = (
        reflect(np.arange(start, start + count), size)
        for start, count, size in zip((top, left), shape, pixels.shape, strict=True)
    )
    first_y, first_x = y.min(), x.min()
    part = np.asarray(pixels[first_y : y.max() + 1, first_x : x.max() + 1])
    reflected: NDArray[Any] = part[(y - first_y)[:, None], x - first_x]
    return reflected


def _resample_present(
    rows: NDArray[np.float32], source: NDArray[np.float32], present: NDArray[np.bool_], columns: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Weighted mean of the pixels that are not missing; NaN where these have less than half of the weight."""
    base = source[present].flat[0] if present.any() else np.float32(0)
    weights = rows @ present.astype(np.float32) @ columns.T
    total = rows @ np.where(present, source - base, 0) @ columns.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weights >= LEAST_PRESENT, total / weights + base, np.float32(np.nan))


def fill_missing(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gives each NaN of an image (H, W) the value of the nearest pixel that has one; of equally near ones the topmost.

    An image of NaN alone stays as it is.

    >>> fill_missing(np.array([[1, np.nan, np.nan, 4]], np.float32)).tolist()
    [[1.0, 1.0, 4.0, 4.0]]
    """
    present = ~np.isnan(image)
    if present.all() or not present.any():
        return image
    height, width = image.shape
    here = np.arange(width)
    before = np.maximum.accumulate(np.where(present, here, -4 * width), axis=1)
    after = np.minimum.accumulate(np.where(present, here, 5 * width)[:, ::-1], axis=1)[:, ::-1]
    column = np.where(here - before <= after - here, before, after)  # nearest in its own row
    across = (column - here) ** 2
    best, source = np.full(image.shape, np.iinfo(np.int64).max), np.zeros((2, *image.shape), np.int64)
    for row in np.flatnonzero(present.any(axis=1)):
        distance = (np.arange(height) - row)[:, None] ** 2 + across[row]
        nearer = distance < best
        best = np.where(nearer, distance, best)
        source[0][nearer] = row
        source[1] = np.where(nearer, column[row], source[1])
    filled: NDArray[np.float32] = image[source[0], source[1]]
    return filled
