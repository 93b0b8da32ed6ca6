"""CSV with named columns: one row per box."""

import contextlib
import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.files import find_frame
from dml_lightning.data.sources.report import ReadReport

UNLABELLED = "unlabelled"
BOX_FORMATS = {"xywh": ("x", "y", "width", "height"), "xyxy": ("xmin", "ymin", "xmax", "ymax")}


class CsvTable(Source):
    """Reads boxes from CSV.

    A row whose four box fields are empty names a background frame. DeepForest: `frame_column="image_path",
    box_format="xyxy"`. BIRDSAI and MOT, which have no header and number their frames:
    `header=["frame", "object", "x", "y", "width", "height", "label", ...]`,
    `frame_name="{file}/{file}_{frame:010d}.jpg"`.

    Args:
        root: The data set's folder; frames are given relative to it.
        file: CSV file relative to the root; may hold wildcards (`annotations/*.csv`).
        box_format: "xywh" (top-left corner and size) or "xyxy" (two corners), in px.
        box_columns: Names of the four box columns; by default x, y, width, height or xmin, ymin, xmax, ymax.
        frame_column: Column that names the frame.
        label_column: Column that names the class; None where there is none, and every label is "unlabelled".
        group_column: Column that names the group, in place of group_by.
        delimiter: One character.
        header: Column names of a file without a header row.
        frame_name: File name built from the column's text `{frame}` (a number where a number is formatted)
            and the CSV file's name without suffix `{file}`.
        label_names: Renames label codes, e.g. {"0": "animal"}; others stay as they are.
        group_by: See `Source`.

    Raises:
        ValueError: The file, the delimiter, the box columns or group_by cannot be used.
    """

    def __init__(
        self,
        root: str | Path,
        file: str,
        box_format: Literal["xywh", "xyxy"] = "xywh",
        box_columns: list[str] | None = None,
        frame_column: str = "frame",
        label_column: str | None = "label",
        group_column: str | None = None,
        delimiter: str = ",",
        header: list[str] | None = None,
        frame_name: str = "{frame}",
        label_names: dict[str, str] | None = None,
        group_by: str = "parent",
    ) -> None:
        super().__init__(root, group_by)
        if box_format not in BOX_FORMATS:
            raise ValueError(f"box_format {box_format!r} is unknown: give one of {list(BOX_FORMATS)}.")
        if len(delimiter) != 1:
            raise ValueError(f"The delimiter {delimiter!r} must be one character.")
        if box_columns is not None and len(box_columns) != 4:
            raise ValueError(f"box_columns {box_columns} must name four columns.")
        if not file or Path(file).is_absolute():
            raise ValueError(f"The file {file!r} must be given relative to the root.")
        self.file = file
        self.box_format = box_format
        self.box_columns = box_columns or list(BOX_FORMATS[box_format])
        self.frame_column = frame_column
        self.label_column = label_column
        self.group_column = group_column
        self.delimiter = delimiter
        self.header = header
        self.frame_name = frame_name
        self.label_names = label_names or {}

    def scan(self, report: ReadReport) -> Scan:
        """Reads all rows of all files."""
        files = sorted(self.root.glob(self.file))
        if not files:
            raise ValueError(f"There is no file {self.file} in {self.root}.")
        frames: dict[Path, None] = {}
        boxes: list[Box] = []
        groups: dict[Path, str] = {}
        for file in files:
            for number, row in read_rows(file, self._needed(), self.delimiter, self.header):
                where = f"{file.name} row {number}"
                if not row[self.frame_column]:
                    report.skip("row without a frame", where)
                    continue
                frame = find_frame(self._name(file, row[self.frame_column], where), [self.root])
                frames[frame] = None
                if self.group_column is not None:
                    _set_group(groups, frame, row[self.group_column], where)
                if any(row[name] for name in self.box_columns):
                    boxes.append(self._box(frame, row, where))
        return Scan(list(frames), boxes, groups)

    def _needed(self) -> list[str]:
        optional = [name for name in (self.label_column, self.group_column) if name is not None]
        return [self.frame_column, *self.box_columns, *optional]

    def _name(self, file: Path, text: str, where: str) -> str:
        """Fills the frame_name template."""
        number = to_float(text)
        values = [text, int(number)] if number.is_integer() else [text]
        for value in values:  # {frame} takes the text, {frame:06d} a number
            with contextlib.suppress(ValueError, KeyError, IndexError):
                return self.frame_name.format(frame=value, file=file.stem)
        raise ValueError(
            f"{where}: the frame {text!r} does not fit frame_name {self.frame_name!r}, which may use "
            "{frame}, {frame:06d} for a number, and {file}."
        )

    def _box(self, frame: Path, row: dict[str, str], where: str) -> Box:
        x, y, width, height = (to_float(row[name]) for name in self.box_columns)
        if self.box_format == "xyxy":
            width, height = width - x, height - y
        code = UNLABELLED if self.label_column is None else row[self.label_column]
        label = self.label_names.get(code, code)
        return Box(frame, x, y, width, height, label, where, skip="" if label else "row without a label")


def read_rows(
    file: Path, needed: Sequence[str], delimiter: str = ",", header: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, column -> text without outer blanks) of a CSV file; missing fields are "".

    Args:
        file: The CSV file.
        needed: Columns that must exist.
        delimiter: One character.
        header: Column names where the file has no header row.

    Raises:
        ValueError: A column is missing, or the file is no CSV text.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, delimiter=delimiter)
            names = [name.strip() for name in (header if header is not None else next(rows, []))]
            missing = [name for name in needed if name not in names]
            if missing:
                raise ValueError(f"{file} has no column {missing}, but {names}: name the columns to read.")
            for fields in rows:
                texts = [field.strip() for field in fields]
                if any(texts):
                    padded = texts + [""] * (len(names) - len(texts))
                    yield rows.line_num, dict(zip(names, padded, strict=False))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is no CSV text ({error}).") from error


def to_float(text: str) -> float:
    """Reads a number; NaN where there is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _set_group(groups: dict[Path, str], frame: Path, group: str, where: str) -> None:
    """Remembers the group of a frame.

    Raises:
        ValueError: The group is empty or contradicts an earlier row.
    """
    if not group:
        raise ValueError(f"{where}: the frame {frame} has an empty group.")
    if groups.setdefault(frame, group) != group:
        raise ValueError(f"{where}: the frame {frame} has the group {group!r}, an earlier row said {groups[frame]!r}.")
