"""The base class of all readers: turns raw boxes into the crop table and counts by reason what is left out."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from dml_lightning.data.ground import check_gsd
from dml_lightning.data.sources.boxes import Box, boxes_table, usable_boxes
from dml_lightning.data.sources.checks import check_forms, cut_scores, identical_frames, warn_of_groups
from dml_lightning.data.sources.files import absolute, check_root, frame_sizes
from dml_lightning.data.sources.parse import uncollected
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.types import OnBadFrame


class Scan(NamedTuple):
    """Content of the annotation files: all frames, also those without boxes or missing on disk, and all boxes."""

    frames: Sequence[Path]
    boxes: Sequence[Box]
    groups: Mapping[Path, str] = MappingProxyType({})  # frame -> group, where the layout states it
    unused: Mapping[Path, str] = MappingProxyType({})  # frame on disk that is not used -> reason
    gsd: Mapping[Path, float] = MappingProxyType({})  # frame -> ground sampling distance in m per px, where stated


NOT_ANNOTATED = "frame that nobody has annotated"
SAME_BYTES = "frame with the same bytes as one of another group"


def _no_obstacles() -> pd.DataFrame:
    return boxes_table([]).drop(columns=["label", "group"])


def _no_frames() -> pd.DataFrame:
    return pd.DataFrame({"frame": [], "group": [], "reason": []}, dtype="str")


@dataclass
class Reading:
    """A data set as read.

    Attributes:
        table: Table with one row per box and the columns `READER_COLUMNS`, in the order of the frames; with a column
            `score` where a detector has given scores, NaN for a box without one; and with a column `gsd` where
            ground sampling distances are stated, NaN for a frame without one.
        frames: Table with the columns frame and group: every frame that was annotated, including those without a box.
        report: Report of what was skipped or changed.
        obstacles: Table with the columns frame, x, y, width, height: boxes that mark something but are no crops
            (crowds, unknown classes, low scores); background crops keep away from them.
        unused: Table with the columns frame, group and reason: frames that are listed or on disk and cannot be used;
            whether they show an animal is not known.
        identical: Pairs of frames with the same bytes in two groups.
        min_score: Smallest score of the boxes that were kept; None where all were.
        root: Folder of the data set.
        carried: Names of the table's columns that `Source.carried` named.
        gsd: Ground sampling distance of each frame that has one, m per px.
    """

    table: pd.DataFrame
    frames: pd.DataFrame
    report: ReadReport
    obstacles: pd.DataFrame = field(default_factory=_no_obstacles)
    unused: pd.DataFrame = field(default_factory=_no_frames)
    identical: Sequence[tuple[Path, Path]] = ()
    min_score: float | None = None
    root: Path = Path()
    carried: Sequence[str] = ()
    gsd: Mapping[str, float] = field(default_factory=dict)


class Source(ABC):
    """Reads one on-disk layout into the crop table.

    Args:
        root: The data set's folder.
        group_by: Rule by which frames form the groups that a split keeps together. "parent": the frame's folder;
            "frame": each frame on its own (frames of one flight resemble each other, so this leaks where flights
            exist); anything else is a regular expression searched in the file name, whose first group, or the whole
            match without one, names the group.

    Raises:
        ValueError: The group_by is neither of these words nor a regular expression.
    """

    min_score: float | None = None  # an option of readers whose layout may have scores
    carried: Sequence[str] = ()  # names of further columns to read, where the layout is a table

    def __init__(self, root: str | Path, group_by: str = "parent") -> None:
        self.root = absolute(root)
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
        """Reads the annotation files of this layout, and counts in the report what it skips."""

    @uncollected()
    def read(
        self,
        on_bad_frame: OnBadFrame = "stop",
        min_score: float | None = None,
        allow_empty: bool = False,
        gsd: float | None = None,
    ) -> Reading:
        """Reads the whole data set; opens every frame's header, decodes no pixels.

        Args:
            on_bad_frame: Whether a frame with an unreadable header raises ("stop") or is skipped and counted ("skip").
            min_score: Smallest score of the boxes to keep, in place of the reader's own option.
            allow_empty: Whether a data set of frames without any box may be read; one whose boxes were all skipped may
                not.
            gsd: Ground sampling distance of the frames for which the data set states none, m per px.

        Returns:
            The table of boxes, all frames and the report.

        Raises:
            FrameError: A frame cannot be read and on_bad_frame is "stop".
            ValueError: The root or an annotation file is unreadable, a file name does not match group_by,
                boxes are of another form than stated, or no usable box is left.
        """
        check_root(self.root)
        check_gsd(gsd)
        report = ReadReport()
        try:
            scan = self.scan(report)
        except OSError as error:
            raise ValueError(f"The data set in {self.root} cannot be read: {error}.") from error
        for path, reason in scan.unused.items():
            report.skip(reason, os.path.relpath(path, self.root))
        paths = sorted({*scan.frames, *(box.frame for box in scan.boxes)} - scan.unused.keys())
        sizes, unused = frame_sizes(paths, on_bad_frame, report)
        groups = {path: scan.groups.get(path) or self.group_of(path) for path in sizes}
        self.check_boxes(scan.boxes, sizes, report)
        lowest = self.min_score if min_score is None else min_score
        boxes = cut_scores(scan.boxes, lowest)
        kept, obstacles = usable_boxes(boxes, sizes, report)
        report.frames, report.boxes = len(sizes), len(kept)
        expected = [box for box in boxes if not box.skip] if allow_empty and sizes else True
        if not kept and expected:
            raise ValueError(f"No usable box was found in {self.root}: {' '.join(str(report).split())}.")
        if self.group_by != "frame":
            warn_of_groups(groups, report)
        identical = identical_frames(groups)
        for pair in identical:
            names = " and ".join(os.path.relpath(path, self.root) for path in pair)
            report.note(SAME_BYTES, names)
        distances = {str(path): distance for path in sizes if (distance := scan.gsd.get(path, gsd)) is not None}
        table = boxes_table(kept, groups, self.carried)
        return Reading(
            table.assign(gsd=table["frame"].map(distances).astype(float)) if distances else table,
            pd.DataFrame(
                {"frame": [str(path) for path in sizes], "group": [groups[path] for path in sizes]}, dtype="str"
            ),
            report,
            boxes_table(obstacles, groups)[["frame", *BOX_COLUMNS]],
            self._unused({**scan.unused, **unused}, scan.groups),
            identical,
            lowest,
            self.root,
            self.carried,
            distances,
        )

    def check_boxes(self, boxes: Sequence[Box], sizes: dict[Path, tuple[int, int]], report: ReadReport) -> None:
        """Refuses boxes of another unit or form than the reader expects; readers add their own checks."""
        check_forms(boxes, sizes, report, ": set relative" if hasattr(self, "relative") else "")

    def _unused(self, reasons: Mapping[Path, str], groups: Mapping[Path, str]) -> pd.DataFrame:
        rows = []
        for path, reason in sorted(reasons.items()):
            try:
                group = groups.get(path) or self.group_of(path)
            except ValueError:  # a name that gives no group is no obstacle for a frame that is not used
                group = ""
            rows.append((str(path), group, reason))
        return pd.DataFrame(rows, columns=["frame", "group", "reason"], dtype="str")

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
