"""From raw boxes to rows of the crop table: placed in px, clipped, deduplicated."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.data.pixels import frame_header
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.data.table import BOX_COLUMNS, READER_COLUMNS

CLIP_TOLERANCE = 0.01  # px; what six decimals of a relative coordinate lose is no reason to report
FIRST_ON_ITS_SIDE = 5  # orientation tag, from which on width and height change places
FRACTION_LIMIT = 2.0  # a box given in fractions may leave its frame, but not by this much


class Box(NamedTuple):
    """One box of an annotation file, before any check."""

    frame: Path  # exists, or is reported as missing
    x: float  # left, px, or as a fraction of the frame's width if `relative`
    y: float  # top
    width: float
    height: float
    label: str
    where: str  # file and row or id, for the report
    relative: bool = False
    stated: tuple[int, int] | None = None  # width, height of the frame in px as the annotation states them
    skip: str = ""  # reason to leave the box out; background crops still keep away from it
    score: float = math.nan  # a detector's confidence, from 0 to 1; NaN where there is none
    carried: tuple[str, ...] = ()  # texts of further columns


def usable_boxes(
    boxes: Iterable[Box], sizes: dict[Path, tuple[int, int]], report: ReadReport
) -> tuple[list[Box], list[Box]]:
    """Converts boxes to px, clips them to their frames, skips unusable ones and removes duplicates.

    >>> frame = Path("a.tif")
    >>> boxes = [Box(frame, -2, 0, 10, 10, "mallard", "row 1"), Box(frame, 900, 0, 10, 10, "mallard", "row 2")]
    >>> report = ReadReport()
    >>> [box[1:5] for box in usable_boxes(boxes, {frame: (640, 512)}, report)[0]]
    [(0.0, 0, 8.0, 10)]
    >>> dict(report.skipped)
    {'box lies outside the frame': 1}

    Args:
        boxes: Boxes as the layout gives them.
        sizes: Frame -> (width, height) in px.
        report: Report that counts what is skipped or clipped.

    Returns:
        Boxes for the table, in the order of the frames, and obstacles: marked places that are no crops.
    """
    kept: dict[tuple[object, ...], Box] = {}
    obstacles: list[Box] = []
    for raw in boxes:
        box = _placed(raw, sizes, report)
        if box is None:
            continue
        key = box[:6]
        if box.skip:
            report.skip(box.skip, box.where)
            obstacles.append(box)
        elif key in kept:
            report.skip("duplicate of another box", box.where)
            if not box.score <= kept[key].score:  # the higher one stays, and any rather than none
                kept[key] = kept[key]._replace(score=box.score if box.score == box.score else kept[key].score)
        else:
            kept[key] = box
    place = {frame: number for number, frame in enumerate(sorted(sizes))}
    order = sorted(kept.values(), key=lambda box: place[box.frame])  # stable: keeps the file's order
    for _, own in groupby(order, key=attrgetter("frame")):
        _note_contradictions(own, report)
    return order, obstacles


def _placed(box: Box, sizes: dict[Path, tuple[int, int]], report: ReadReport) -> Box | None:
    """Returns the box in px, clipped to its frame; None for an unusable box, after counting the reason."""
    size = sizes.get(box.frame)
    if size is None:
        report.skip("box of a frame that is missing or cannot be read", box.where)
        return None
    width, height = size
    if reason := _other_size(box, size):
        assert box.stated
        report.skip(reason, f"{box.where}: {box.stated[0]}x{box.stated[1]}, file {width}x{height}")
        return None
    if not box.relative and _is_inside(box, width, height):
        return box
    if not all(map(math.isfinite, box[1:5])):
        report.skip(box.skip or "box is not four finite numbers", box.where)
        return None
    if box.relative and max(map(abs, box[1:5])) > FRACTION_LIMIT:
        report.skip("box is not given in fractions of its frame", box.where)
        return None
    across, down = (width, height) if box.relative else (1, 1)
    x, y, w, h = box.x * across, box.y * down, box.width * across, box.height * down
    if w <= 0 or h <= 0:
        report.skip(box.skip or "box has no area", box.where)
        return None
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if right <= left or bottom <= top:
        report.skip(box.skip or "box lies outside the frame", box.where)
        return None
    beyond = max(-x, -y, x + w - width, y + h - height)
    if beyond > CLIP_TOLERANCE:
        report.note("box clipped at the frame's edge", box.where)
    if beyond > 0:  # a box inside keeps its exact numbers
        x, y, w, h = left, top, right - left, bottom - top
    return box._replace(x=x, y=y, width=w, height=h, relative=False)


def _is_inside(box: Box, width: int, height: int) -> bool:
    """Whether a box in px has an area and lies in a frame of this size, as most do; it is then finite."""
    _, x, y, w, h = box[:5]
    return x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= width and y + h <= height


def _other_size(box: Box, size: tuple[int, int]) -> str:
    """Reason to leave out a box that was drawn on a frame of another size; empty for none.

    Some converters swap the stated width and height; where a tag turns the frame, a swapped size is that of the stored
    pixels, and the box lies on them.
    """
    if not box.stated or box.stated == size or not all(box.stated):
        return ""
    if box.stated != size[::-1]:
        return "stated frame size differs from the file's"
    if frame_header(box.frame).orientation >= FIRST_ON_ITS_SIDE:
        return "box was drawn on the stored pixels, which the frame's orientation tag turns"
    return ""


def _note_contradictions(boxes: Iterable[Box], report: ReadReport) -> None:
    """Notes identical boxes of one frame that carry different labels; both stay."""
    first: dict[tuple[object, ...], Box] = {}
    for box in boxes:
        other = first.setdefault(box[1:5], box)
        if other is not box:
            report.note("same box with two labels", f"{box.where}: {other.label}, {box.label}")


def boxes_table(
    boxes: Sequence[Box], groups: dict[Path, str] | None = None, carried: Sequence[str] = ()
) -> pd.DataFrame:
    """Builds the reader's table; the column score is there where a box has one, and the columns carried are last."""
    groups = groups or {}
    frames: dict[Path, int] = {}
    codes = np.fromiter((frames.setdefault(b.frame, len(frames)) for b in boxes), np.int64, len(boxes))
    columns = {
        "frame": pd.Series([str(frame) for frame in frames], dtype="str").take(codes).reset_index(drop=True),
        **{name: _numbers(boxes, name) for name in BOX_COLUMNS},
        "label": pd.Series([b.label for b in boxes], dtype="str"),
        "group": pd.Series([groups.get(frame, "") for frame in frames], dtype="str").take(codes).reset_index(drop=True),
    }
    table = pd.DataFrame(columns, columns=list(READER_COLUMNS))
    scores = _numbers(boxes, "score")
    table = table if np.isnan(scores).all() else table.assign(score=scores)
    further = {name: pd.Series([b.carried[n] for b in boxes], dtype="str") for n, name in enumerate(carried)}
    return table.assign(**further)


def _numbers(boxes: Sequence[Box], name: str) -> NDArray[np.float64]:
    """A column (N,) of the boxes."""
    return np.fromiter(map(attrgetter(name), boxes), np.float64, len(boxes))
