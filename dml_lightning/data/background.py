"""Background crops: squares sampled away from everything that is marked in a frame."""

import logging
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.data.frames import frame_size
from dml_lightning.data.geometry import shown_sides
from dml_lightning.data.sources.base import Reading
from dml_lightning.data.table import BOX_COLUMNS, READER_COLUMNS

log = logging.getLogger(__name__)

BACKGROUND = "background"
TRIES = 100  # places tried per crop before it is given up
MARGIN = 8.0  # px
CONTEXT = 0.5  # of the side, both sides together: what a crop may show around its box


class Background(NamedTuple):
    """Sampled crops, and the number of crops for which there was no room."""

    rows: pd.DataFrame  # READER_COLUMNS
    missing: int


def sample_background(
    frames: pd.DataFrame,
    boxes: pd.DataFrame,
    per_frame: int,
    *,
    sides: Sequence[float] | None = None,
    seed: int = 0,
    margin: float = MARGIN,
    context: float = CONTEXT,
    min_side: float = 0.0,
    shown_sides_of: Mapping[str, float] | None = None,
) -> Background:
    """Samples square crops of the class "background" in every frame.

    A crop keeps `margin` plus a quarter of its own side away from every box, and farther where it shows more
    around it than that, so that no object is seen in it; it overlaps no other background crop. Its place depends
    on the seed, the frame's folder and file name, and the frame's own boxes: not on the other frames or their
    order.

    Args:
        frames: Table with the columns frame and group: frames to sample in.
        boxes: Table with the columns frame, x, y, width, height: everything to keep away from, in px.
        per_frame: Number of crops wanted in each frame.
        sides: Sides to draw from with equal chance, px. Default: the longer sides of the boxes, so that size
            alone does not give the background away.
        seed: Seed of the places and sides, at least 0.
        margin: Least distance to every box in px, to which a quarter of the crop's side is added.
        context: Margin of a crop as a fraction of its box's longer side, as in `CropOptions`.
        min_side: Smallest side of a crop in px of the frame, as in `CropOptions`.
        shown_sides_of: Side in px of what a crop shows in each frame, in place of context and min_side.

    Returns:
        The crops, fewer where a frame has no room, and the number of those that are missing.

    Raises:
        FrameError: A frame's header cannot be read.
        ValueError: A number is out of range, or there is no side to draw.
    """
    pool = np.sort(boxes[["width", "height"]].max(axis=1) if sides is None else np.asarray(sides))
    pool = np.asarray(pool, float)
    if per_frame < 0 or seed < 0 or margin < 0:
        raise ValueError(f"per_frame {per_frame}, seed {seed} and margin {margin} must be at least 0.")
    if not len(pool) or not np.isfinite(pool).all() or pool[0] <= 0:
        raise ValueError(f"Background crops need sides of more than 0 px, got {pool.tolist()[:5]}.")
    taken = {str(frame): rows for frame, rows in boxes.groupby("frame")[BOX_COLUMNS]}
    rows: list[tuple[str | float, ...]] = []
    for frame, group in zip(frames["frame"], frames["group"], strict=True):
        marked = taken[frame].to_numpy(float) if frame in taken else np.empty((0, 4))
        rng = np.random.default_rng([seed, _identity(frame)])
        drawn = rng.choice(pool, per_frame)
        whole = shown_sides(drawn, context, min_side) if shown_sides_of is None else shown_sides_of[frame]
        shown = (whole - drawn) / 2  # px around the box
        clearances = np.maximum(margin + CONTEXT / 2 * drawn, shown)
        squares = _place(rng, frame_size(frame), marked, drawn, clearances)
        rows += [(frame, x, y, side, side, BACKGROUND, group) for x, y, side in squares]
    table = pd.DataFrame(rows, columns=list(READER_COLUMNS))
    kinds = dict.fromkeys(READER_COLUMNS, "str") | dict.fromkeys(BOX_COLUMNS, "float64")
    return Background(table.astype(kinds), per_frame * len(frames) - len(rows))


def _identity(frame: str) -> int:
    """Returns a number of the frame that survives moving the data set."""
    path = Path(frame)
    return zlib.crc32(f"{path.parent.name}/{path.name}".encode())


def _place(
    rng: np.random.Generator,
    size: tuple[int, int],
    marked: NDArray[np.float64],
    sides: NDArray[np.float64],
    clearances: NDArray[np.float64],
) -> list[tuple[float, float, float]]:
    """Places squares one after the other; returns (x, y, side) of those for which there was room."""
    placed: list[tuple[float, float, float]] = []
    for side, clearance in zip(sides.tolist(), clearances.tolist(), strict=True):
        room = np.array(size) - side
        # Drawn even where the square is too large, so that each one uses its own part of the sequence.
        corners = np.floor(rng.random((TRIES, 2)) * (np.maximum(room, 0) + 1))  # (TRIES, 2) whole px
        corners = np.minimum(corners, np.maximum(room, 0))
        free = _apart(corners, side, marked, clearance)
        squares = np.array([(x, y, s, s) for x, y, s in placed]).reshape(-1, 4)
        free &= _apart(corners, side, squares, 0.0)
        if room.min() >= 0 and free.any():
            x, y = corners[free.argmax()].tolist()
            placed.append((x, y, side))
    return placed


def _apart(
    corners: NDArray[np.float64], side: float, boxes: NDArray[np.float64], clearance: float
) -> NDArray[np.bool_]:
    """Tells for each square (T, 2) whether it clears every box (M, 4) by `clearance` in x or in y: (T,)."""
    low = boxes[None, :, :2] - clearance  # (1, M, 2)
    high = boxes[None, :, :2] + boxes[None, :, 2:] + clearance
    clear = (corners[:, None] + side <= low) | (corners[:, None] >= high)  # (T, M, 2)
    return np.asarray(np.all(clear.any(axis=2), axis=1))


def check_background(reading: Reading, lists: Mapping[str, Sequence[str]], background: int) -> None:
    """Checks that background crops are both asked for and named, or neither.

    Raises:
        ValueError: The number is negative, or only one of the two is given.
    """
    named = any(BACKGROUND in members for members in lists.values())
    exists = bool((reading.table["label"] == BACKGROUND).any())
    if background < 0:
        raise ValueError(f"background is {background}: give the crops per frame, 0 for none.")
    if background and exists:
        raise ValueError(f'The data has a class "{BACKGROUND}" of its own: set background to 0 to use that one.')
    if background and not any(BACKGROUND in lists[name] for name in ("ood_train", "ood_val", "ood_test")):
        raise ValueError(
            f'background is {background}, but no list uses it: name "{BACKGROUND}" in ood_train, ood_val or ood_test.'
        )
    if named and not background and not exists:
        raise ValueError(f'The class "{BACKGROUND}" is named, but background is 0: set it to the crops per frame.')


def background_sides(
    reading: Reading, place: Mapping[str, str], side: float | tuple[float, float] | None
) -> list[float]:
    """Sides to draw from, px: those of the known boxes unless others are asked for.

    Args:
        reading: Data set as a source has read it.
        place: Class name -> "known" or the name of the list that the class is in.
        side: One side in px, or the lowest and highest one; None for the longer sides of the known boxes.

    Raises:
        ValueError: A side is not above 0, or the two are in the wrong order.
    """
    if side is None:
        known = reading.table[reading.table["label"].map(place).eq("known")]
        return [float(longer) for longer in known[["width", "height"]].max(axis=1)]
    low, high = side if isinstance(side, Sequence) else (side, side)
    if not 0 < low <= high:
        raise ValueError(f"background_side {side} must be px above 0, or (lowest, highest).")
    return [float(drawn) for drawn in np.linspace(low, high, 101)]


def background_rows(reading: Reading, per_frame: int, sides: Sequence[float], seed: int, **around: Any) -> pd.DataFrame:
    """Samples background crops away from every box, also those of classes that are not used.

    Args:
        reading: Data set as a source has read it.
        per_frame: Number of crops in each frame.
        sides: Sides to draw from, px.
        seed: Seed of the places and sides, at least 0.
        **around: The arguments `context`, `min_side` and `shown_sides_of` of `sample_background`.

    Raises:
        ValueError: No frame has room.
    """
    columns = ["frame", *BOX_COLUMNS]
    boxes = pd.concat([reading.table[columns], reading.obstacles[columns]])
    sampled = sample_background(reading.frames, boxes, per_frame, sides=sides, seed=seed, **around)
    if sampled.rows.empty:
        raise ValueError(
            "No frame has room for a background crop away from every box: set background to 0, and name "
            f'"{BACKGROUND}" in no list.'
        )
    if sampled.missing:
        wanted = per_frame * len(reading.frames)
        log.warning("%d of %d background crops found no room", sampled.missing, wanted)
    return sampled.rows


def with_shapes(table: pd.DataFrame) -> pd.DataFrame:
    """Gives each background crop the shape of the known box whose longer side is nearest to its own.

    Sampled squares would be told from boxes by their width and height alone. Centre and longer side stay, and with them
    the pixels of the crop.

    >>> rows = [(0.0, 0.0, 4.0, 8.0, "coot", "known"), (10.0, 10.0, 8.0, 8.0, BACKGROUND, "ood")]
    >>> table = pd.DataFrame(rows, columns=[*BOX_COLUMNS, "label", "role"])
    >>> with_shapes(table).loc[1, BOX_COLUMNS].tolist()
    [12.0, 10.0, 4.0, 8.0]

    Args:
        table: Crop table whose class "background" was sampled.
    """
    known = table.loc[table["role"] == "known", ["width", "height"]].to_numpy(float)
    known = known[known.max(axis=1).argsort(kind="stable")]
    longer = known.max(axis=1)
    squares = table["label"] == BACKGROUND
    boxes = table.loc[squares, BOX_COLUMNS].to_numpy(float)
    nearest = np.searchsorted((longer[1:] + longer[:-1]) / 2, boxes[:, 2])
    sizes = boxes[:, 2:] * (known / longer[:, None])[nearest]
    result = table.copy()
    result.loc[squares, BOX_COLUMNS] = np.hstack([boxes[:, :2] + (boxes[:, 2:] - sizes) / 2, sizes])
    return result
