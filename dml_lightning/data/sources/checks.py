"""Checks of a whole data set: units and forms of boxes, scores, groups and copies of frames that leak."""

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.report import ReadReport

Sizes = dict[Path, tuple[int, int]]
BEYOND = 2.0  # px; a box that leaves its frame by more was not drawn on it
SUSPICIOUS = 20  # number of boxes that all resemble corners, from which on a warning is given
PREFIXES = {
    r"^[0-9a-f]{8}-(?![0-9a-f]{4}-)": "eight hexadecimal digits and a hyphen, as Label Studio adds them",
    r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}|^[0-9a-f]{32}": "a number that an upload has given each of them",
}


def check_forms(boxes: Iterable[Box], sizes: Sizes, report: ReadReport, advice: str = "") -> None:
    """Refuses boxes that are fractions in place of px, corners in place of sizes, or the other way round.

    It acts where most boxes are wrong; single wrong boxes are left to `usable_boxes`.

    Args:
        boxes: Boxes as the layout gives them.
        sizes: Frame -> (width, height) in px.
        report: Report that receives a warning where the fault is likely but not certain.
        advice: Advice for boxes in fractions, appended to the message.

    Raises:
        ValueError: Most boxes have another unit or form; the first of them is named.
    """
    finite = [box for box in boxes if box.frame in sizes and all(map(math.isfinite, box[1:5]))]
    in_px = [box for box in finite if not box.relative]
    relative = [box for box in finite if box.relative]
    _refuse_most(
        [box for box in in_px if max(box[1:5]) <= 1 and min(box[1:5]) >= 0 and min(sizes[box.frame]) > BEYOND],
        in_px,
        f"fractions of the frame and not px{advice}",
    )
    _refuse_most(
        [box for box in relative if max(map(abs, box[1:5])) > 2],
        relative,
        "px and not fractions of the frame",
    )
    _refuse_most(
        [box for box in finite if box.width < 0 or box.height < 0],
        finite,
        "sizes read as corners (a width or height is negative): choose the form in which the boxes are stored",
    )
    _check_corners(in_px, sizes, report)


def _refuse_most(wrong: Sequence[Box], boxes: Sequence[Box], what: str) -> None:
    if wrong and 2 * len(wrong) > len(boxes):
        first = wrong[0]
        raise ValueError(
            f"{first.where}: the box x {first.x:g}, y {first.y:g}, width {first.width:g}, height {first.height:g} and "
            f"{len(wrong) - 1} more of {len(boxes)} look like {what}."
        )


def _check_corners(boxes: Sequence[Box], sizes: Sizes, report: ReadReport) -> None:
    """Refuses corners that were read as sizes: boxes that lie in their frames as corners and leave them as sizes."""
    away = [box for box in boxes if box.x > 0 or box.y > 0]
    if not all(box.x < box.width <= sizes[box.frame][0] for box in away):
        return
    if not all(box.y < box.height <= sizes[box.frame][1] for box in away):
        return
    leaving = [
        box
        for box in away
        if box.x + box.width > sizes[box.frame][0] + BEYOND or box.y + box.height > sizes[box.frame][1] + BEYOND
    ]
    _refuse_most(leaving, leaving, "two corners and not a corner and a size: choose the form xyxy")
    if len(away) >= SUSPICIOUS:
        report.warn(
            f"each of {len(away)} boxes is wider than it is far from the frame's left edge, and higher than from its "
            "top: are these two corners, and not a corner and a size?"
        )


def warn_of_one_based(boxes: Sequence[Box], sizes: Sizes, report: ReadReport) -> None:
    """Warns where corners seem to count from 1.

    All are whole numbers above 0, and the least is 1, a box has no area, or one ends one px beyond its frame.
    """
    usable = [box for box in boxes if box.frame in sizes and all(map(math.isfinite, box[1:5]))]
    if not usable or not all(value.is_integer() for box in usable for value in box[1:5]):
        return
    low = min(min(box.x, box.y) for box in usable)
    thin = any(0 in (box.width, box.height) for box in usable)
    past = max(max(box.x + box.width - sizes[box.frame][0], box.y + box.height - sizes[box.frame][1]) for box in usable)
    if low == 1 or (low > 1 and (thin or past == 1)):
        report.warn("no corner is 0, as if pixels were counted from 1: if they are, set one_based.")


def cut_scores(boxes: Iterable[Box], min_score: float | None) -> list[Box]:
    """Marks boxes whose score is lower than min_score as skipped; boxes without a score stay.

    >>> boxes = [Box(Path("a.tif"), 0, 0, 9, 9, "bird", f"row {row}", score=row / 4) for row in (1, 3)]
    >>> [box.skip for box in cut_scores(boxes, 0.5)]
    ['score below 0.5', '']

    Raises:
        ValueError: A score or min_score is not between 0 and 1, or no box has a score to cut by.
    """
    boxes = list(boxes)
    for box in boxes:
        if not (math.isnan(box.score) or 0 <= box.score <= 1):
            raise ValueError(f"{box.where}: the score {box.score:g} is not between 0 and 1.")
    if min_score is None:
        return boxes
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score is {min_score:g}: scores lie between 0 and 1.")
    if boxes and all(math.isnan(box.score) for box in boxes):
        raise ValueError(f"min_score is {min_score:g}, but no box here has a score: leave it out.")
    reason = f"score below {min_score:g}"
    return [box._replace(skip=box.skip or reason) if box.score < min_score else box for box in boxes]


def warn_of_groups(groups: dict[Path, str], report: ReadReport) -> None:
    """Warns where no two frames share a group, so that groups keep nothing together, and names a likely cause."""
    if len(groups) < 3 or len(set(groups.values())) < len(groups):
        return
    cause = ""
    for pattern, what in PREFIXES.items():
        if all(re.match(pattern, path.name, re.IGNORECASE) for path in groups):
            cause = f" The file names begin with {what}: let group_by start after that."
    report.warn(
        f"each of the {len(groups)} frames is a group of its own, and frames of one flight may end on both sides of a "
        f"split: set group_by to what names a flight.{cause}"
    )


def identical_frames(groups: dict[Path, str]) -> list[tuple[Path, Path]]:
    """Pairs of frames with the same bytes in two groups: the first such frame with each of its copies elsewhere.

    Files are read only where their sizes agree, and wholly only where a sample of them agrees.
    """
    same = [list(groups)]
    for key in (_file_size, _sample_digest, _file_digest):
        same = [alike for files in same for alike in _alike(files, key) if len({groups[file] for file in alike}) > 1]
    return sorted((files[0], other) for files in same for other in files[1:] if groups[other] != groups[files[0]])


def _alike(files: Iterable[Path], key: object) -> list[list[Path]]:
    assert callable(key)
    parts: dict[object, list[Path]] = defaultdict(list)
    for file in files:
        parts[key(file)].append(file)
    return [part for part in parts.values() if len(part) > 1]


def _file_size(file: Path) -> int:
    return file.stat().st_size


def _sample_digest(file: Path) -> bytes:
    """Digest of the 4 kB in the middle of a file."""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size // 2 - 2048))
        return hashlib.sha256(stream.read(4096)).digest()


def _file_digest(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
