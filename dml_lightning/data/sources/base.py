"""What all readers share: from raw boxes to the crop table, with every loss counted and named."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from dml_lightning.data.sources.boxes import Box, boxes_table, usable_boxes
from dml_lightning.data.sources.files import OnBadFrame, absolute, check_root, frame_sizes
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.data.table import BOX_COLUMNS


class Scan(NamedTuple):
    """What a layout yields: all frames (also without boxes, missing ones included) and all boxes."""

    frames: Sequence[Path]
    boxes: Sequence[Box]
    groups: Mapping[Path, str] = MappingProxyType({})  # groups that the layout itself states


def _no_obstacles() -> pd.DataFrame:
    return boxes_table([]).drop(columns=["label", "group"])


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
        sizes = frame_sizes(paths, on_bad_frame, report)
        groups = {path: scan.groups.get(path) or self.group_of(path) for path in sizes}
        kept, obstacles = usable_boxes(scan.boxes, sizes, report)
        report.frames, report.boxes = len(sizes), len(kept)
        if not kept:
            raise ValueError(f"No usable box was found in {self.root}: {' '.join(str(report).split())}.")
        table = boxes_table(kept, groups)
        frames = pd.DataFrame({"frame": [str(path) for path in sizes], "group": [groups[path] for path in sizes]})
        return Reading(table, frames, report, boxes_table(obstacles, groups)[["frame", *BOX_COLUMNS]])

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
