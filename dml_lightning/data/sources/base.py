"""What all readers share: from raw boxes to the crop table, with every loss counted and named."""

import math
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from dml_lightning.data.frames import FRAME_SUFFIXES, FrameError, frame_size
from dml_lightning.data.table import BOX_COLUMNS, READER_COLUMNS

EXAMPLES_KEPT = 3
CLIP_TOLERANCE = 0.01  # px; what six decimals of a relative coordinate lose is no reason to report
OnBadFrame = Literal["stop", "skip"]


class ReadReport:
    """Counts what a reader skipped or changed, by reason, with the first few examples.

    Attributes:
        frames: Frames read, including those without a box.
        boxes: Boxes kept.
        skipped: Reason -> how many entries were left out.
        changed: Reason -> how many were kept in another form or deserve a look.
        examples: Reason -> the first few places (file and row, or annotation id).
    """

    def __init__(self) -> None:
        self.frames = 0
        self.boxes = 0
        self.skipped: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def skip(self, reason: str, where: str) -> None:
        """Counts one entry that is left out."""
        self.skipped[reason] += 1
        self._remember(reason, where)

    def note(self, reason: str, where: str) -> None:
        """Counts one entry that is kept but changed or worth a look."""
        self.changed[reason] += 1
        self._remember(reason, where)

    def _remember(self, reason: str, where: str) -> None:
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES_KEPT:
            examples.append(where)

    def __str__(self) -> str:
        lines = [f"{self.boxes} boxes in {self.frames} frames"]
        for title, counts in (("skipped", self.skipped), ("noted", self.changed)):
            for reason, count in sorted(counts.items()):
                lines.append(f"  {title} {count}: {reason} (e.g. {'; '.join(self.examples[reason])})")
        return "\n".join(lines)


class Box(NamedTuple):
    """One entry of an annotation file, before any check."""

    frame: Path  # exists, or is reported as missing
    x: float  # left, px, or as a fraction of the frame's width if `relative`
    y: float  # top
    width: float
    height: float
    label: str
    where: str  # file and row or id, for the report
    relative: bool = False
    group: str | None = None  # replaces what group_by gives
    stated: tuple[int, int] | None = None  # frame width, height in px that the annotation claims
    skip: str = ""  # reason to leave the box out; background crops still keep away from it


class Scan(NamedTuple):
    """What a layout yields: all frames (also without boxes, missing ones included) and all boxes."""

    frames: Sequence[Path]
    boxes: Sequence[Box]
    groups: dict[Path, str] = {}  # noqa: RUF012  # groups that the layout itself states


def _no_obstacles() -> pd.DataFrame:
    return _boxes_frame([]).drop(columns=["label", "group"])


@dataclass
class Reading:
    """A data set as read.

    Attributes:
        table: One row per box, with the columns `READER_COLUMNS`, in the order of the frames.
        frames: Columns frame, group: every frame, including those without a box.
        report: What was skipped and why.
        obstacles: Columns frame, x, y, width, height: boxes that mark something but are no crops (crowds,
            unknown classes); background crops keep away from them.
    """

    table: pd.DataFrame
    frames: pd.DataFrame
    report: ReadReport
    obstacles: pd.DataFrame = field(default_factory=_no_obstacles)


class Source(ABC):
    """Reads one on-disk layout into the crop table.

    Args:
        root: The data set's folder.
        group_by: What stays together in a split. "parent": the frame's folder; "frame": each frame on its
            own (frames of one flight resemble each other, so this leaks where flights exist); anything
            else is a regular expression searched in the file name, whose first group, or the whole match
            without one, names the group.

    Raises:
        ValueError: group_by is neither keyword nor a regular expression.
    """

    def __init__(self, root: str | Path, group_by: str = "parent") -> None:
        self.root = Path(os.path.abspath(root))
        self.group_by = group_by
        try:
            self._pattern = None if group_by in ("parent", "frame") else re.compile(group_by)
        except re.error as error:
            raise ValueError(
                f"group_by {group_by!r} is no regular expression ({error}): "
                'give "parent", "frame" or an expression such as "^(\\d{8})".'
            ) from None

    @abstractmethod
    def scan(self, report: ReadReport) -> Scan:
        """Reads the annotation files of this layout."""

    def read(self, on_bad_frame: OnBadFrame = "stop") -> Reading:
        """Reads the whole data set; opens every frame's header, decodes no pixels.

        Args:
            on_bad_frame: Whether a frame with an unreadable header stops the reading or is skipped and
                counted.

        Returns:
            The table, all frames and the report.

        Raises:
            FrameError: A frame cannot be read and on_bad_frame is "stop".
            ValueError: The root or an annotation file is unreadable, a file name does not match group_by,
                or no usable box is left.
        """
        check_root(self.root)
        report = ReadReport()
        try:
            scan = self.scan(report)
        except OSError as error:
            raise ValueError(f"The data set in {self.root} cannot be read: {error}.") from error
        paths = sorted({*scan.frames, *(box.frame for box in scan.boxes)})
        sizes = _sizes(paths, on_bad_frame, report)
        groups = {path: scan.groups.get(path) or self.group_of(path) for path in sizes}
        kept, obstacles = _usable(scan.boxes, sizes, report)
        report.frames, report.boxes = len(sizes), len(kept)
        if not kept:
            raise ValueError(f"No usable box was found in {self.root}: {' '.join(str(report).split())}.")
        table = _boxes_frame(kept, groups)
        frames = pd.DataFrame(
            {"frame": [str(path) for path in sizes], "group": [groups[path] for path in sizes]}
        )
        return Reading(
            table, frames, report, _boxes_frame(obstacles, groups)[["frame", *BOX_COLUMNS]]
        )

    def group_of(self, frame: Path) -> str:
        """Returns the group of one frame.

        Raises:
            ValueError: The file name does not match the regular expression.
        """
        if self.group_by == "frame":
            return Path(os.path.relpath(frame, self.root)).as_posix()
        if self._pattern is None:
            parent = Path(os.path.relpath(frame.parent, self.root)).as_posix()
            return self.root.name if parent == "." else parent
        match = self._pattern.search(frame.name)
        group = match[1 if self._pattern.groups else 0] if match else None
        if not group:
            raise ValueError(
                f"The file name {frame.name} of {frame} gives no group by the expression "
                f'{self.group_by!r}: give one that matches every frame, "parent" or "frame".'
            )
        return group


def check_root(root: Path) -> None:
    """Raises ValueError unless the root is a folder that can be listed."""
    if not os.path.exists(root):  # Path.exists raises where a parent cannot be entered
        raise ValueError(f"There is no folder {root}: give the folder that holds the data set.")
    if not os.path.isdir(root):
        raise ValueError(f"{root} is no folder: give the folder that holds the data set.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise ValueError(f"The folder {root} cannot be read: check its permissions.")


def list_frames(folder: Path, recursive: bool = True) -> list[Path]:
    """Lists pictures by suffix, whatever its case; hidden files are left out."""
    found = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path
        for path in found
        if path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def find_frame(name: str, folders: Iterable[Path]) -> Path:
    """Finds the frame that an annotation names.

    Tries each folder in turn: the name as given (with either slash), with its suffix in another case, and its
    last part alone.

    Returns:
        The path found, or where it should have been: below the first folder.
    """
    folders = list(folders)
    name = name.replace("\\", "/")
    for folder in folders:
        for candidate in (folder / name, folder / Path(name).name):
            if candidate.is_file():
                return _absolute(candidate)
            for suffix in (candidate.suffix.lower(), candidate.suffix.upper()):
                if (other := candidate.with_suffix(suffix)).is_file():
                    return _absolute(other)
    return _absolute(folders[0] / name)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _sizes(
    paths: Iterable[Path], on_bad_frame: OnBadFrame, report: ReadReport
) -> dict[Path, tuple[int, int]]:
    """Reads (width, height) of each frame that exists."""
    sizes = {}
    for path in paths:
        if not path.is_file():
            report.skip("frame file is missing", str(path))
            continue
        try:
            sizes[path] = frame_size(path)
        except FrameError as error:
            if on_bad_frame == "stop":
                raise
            report.skip("frame cannot be read", str(error))
    return sizes


def _usable(
    boxes: Iterable[Box], sizes: dict[Path, tuple[int, int]], report: ReadReport
) -> tuple[list[Box], list[Box]]:
    """Clips, skips and deduplicates: boxes in px for the table, and obstacles."""
    kept: dict[tuple[object, ...], Box] = {}
    obstacles: list[Box] = []
    for raw in boxes:
        box = _placed(raw, sizes, report)
        if box is None:
            continue
        key = (box.frame, box.x, box.y, box.width, box.height, box.label)
        if box.skip:
            report.skip(box.skip, box.where)
            obstacles.append(box)
        elif key in kept:
            report.skip("duplicate of another box", box.where)
        else:
            kept[key] = box
    order = sorted(kept.values(), key=lambda box: box.frame)  # stable: keeps the file's order
    _note_contradictions(order, report)
    return order, obstacles


def _placed(box: Box, sizes: dict[Path, tuple[int, int]], report: ReadReport) -> Box | None:
    """Returns the box in px, inside its frame, or None after counting why not."""
    if box.frame not in sizes:
        report.skip("box of a frame that is missing or cannot be read", box.where)
        return None
    width, height = sizes[box.frame]
    if box.stated and all(box.stated) and sorted(box.stated) != sorted((width, height)):
        stated = f"{box.where}: {box.stated[0]}x{box.stated[1]}, file {width}x{height}"
        report.skip("stated frame size differs from the file's", stated)
        return None
    across, down = (width, height) if box.relative else (1, 1)
    x, y, w, h = box.x * across, box.y * down, box.width * across, box.height * down
    if not all(map(math.isfinite, (x, y, w, h))):
        report.skip("box is not four finite numbers", box.where)
        return None
    if w <= 0 or h <= 0:
        report.skip("box has no area", box.where)
        return None
    beyond = max(-x, -y, x + w - width, y + h - height)
    if beyond > CLIP_TOLERANCE:
        outside = x >= width or y >= height or x + w <= 0 or y + h <= 0
        if outside:
            report.skip("box lies outside the frame", box.where)
            return None
        report.note("box clipped at the frame's edge", box.where)
    if beyond > 0:
        left, top = max(x, 0.0), max(y, 0.0)
        x, y, w, h = left, top, min(x + w, width) - left, min(y + h, height) - top
    return box._replace(x=x, y=y, width=w, height=h, relative=False)


def _note_contradictions(boxes: Iterable[Box], report: ReadReport) -> None:
    """Notes identical boxes that carry different labels; both stay."""
    first: dict[tuple[object, ...], Box] = {}
    for box in boxes:
        other = first.setdefault((box.frame, *box[1:5]), box)
        if other is not box:
            report.note("same box with two labels", f"{box.where}: {other.label}, {box.label}")


def _boxes_frame(boxes: Sequence[Box], groups: dict[Path, str] | None = None) -> pd.DataFrame:
    """Builds the reader's table."""
    groups = groups or {}
    rows = [(str(b.frame), *b[1:5], b.label, groups.get(b.frame, "")) for b in boxes]
    table = pd.DataFrame(rows, columns=list(READER_COLUMNS))
    kinds = dict.fromkeys(READER_COLUMNS, "str") | dict.fromkeys(BOX_COLUMNS, "float64")
    return table.astype(kinds)
