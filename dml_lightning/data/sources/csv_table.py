"""CSV with named columns: one row per box."""

import contextlib
import csv
import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.checks import warn_of_one_based
from dml_lightning.data.sources.files import FrameFinder, list_frames
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
        delimiter: Character between fields.
        header: Column names of a file without a header row.
        frame_name: File name built from the column's text `{frame}` (a number where a number is formatted)
            and the CSV file's name without suffix `{file}`.
        label_names: Renames label codes, e.g. {"0": "animal"}; others stay as they are.
        group_by: See `Source`.
        score_column: Column of a detector's confidence, from 0 to 1; None where there is none.
        min_score: Smallest score of the boxes to keep; None keeps all.
        relative: Whether boxes are fractions of the frame and not px.
        one_based: Whether pixels are counted from 1; with two corners the second one is then the box's last pixel.
        decimal: Decimal separator of the numbers, "." or ","; a comma needs another delimiter.
        frames: Folder of all frames that were flown, or text file with one frame per line, so that frames without a
            row count as background.
        gsd_column: Column of the frame's ground sampling distance, metres per px; None where there is none.

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
        score_column: str | None = None,
        min_score: float | None = None,
        relative: bool = False,
        one_based: bool = False,
        decimal: Literal[".", ","] = ".",
        frames: str | None = None,
        gsd_column: str | None = None,
    ) -> None:
        super().__init__(root, group_by)
        if box_format not in BOX_FORMATS:
            raise ValueError(f"box_format {box_format!r} is unknown: give one of {list(BOX_FORMATS)}.")
        if len(delimiter) != 1:
            raise ValueError(f"The delimiter {delimiter!r} must be one character.")
        if decimal not in (".", ",") or decimal == delimiter:
            raise ValueError(f'decimal {decimal!r} must be "." or "," and not the delimiter {delimiter!r}.')
        if relative and one_based:
            raise ValueError("relative and one_based exclude each other: fractions count no pixels.")
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
        self.score_column, self.min_score = score_column, min_score
        self.relative, self.one_based = relative, one_based
        self.decimal = decimal
        self.frames = frames
        self.gsd_column = gsd_column

    def scan(self, report: ReadReport) -> Scan:
        """Reads all rows of all files."""
        finder = FrameFinder()
        frames: dict[Path, None] = {}
        boxes: list[Box] = []
        groups: dict[Path, str] = {}
        distances: dict[Path, str] = {}
        for stem, where, row in self._rows():
            if not row[self.frame_column]:
                report.skip("row without a frame", where)
                continue
            frame = finder.find(self._name(stem, row[self.frame_column], where), [self.root], where)
            frames[frame] = None
            if self.group_column is not None:
                _set_once(groups, frame, row[self.group_column], "group", where)
            if self.gsd_column is not None and 0 < self._number(row[self.gsd_column]) < math.inf:
                _set_once(distances, frame, row[self.gsd_column], "ground sampling distance", where)
            if any(row[name] for name in self.box_columns):
                boxes.append(self._box(frame, row, where))
        gsd = {frame: self._number(text) for frame, text in distances.items()}
        return Scan([*frames, *self._flown(finder)], boxes, groups, gsd=gsd)

    def check_boxes(self, boxes: Sequence[Box], sizes: dict[Path, tuple[int, int]], report: ReadReport) -> None:
        """Warns where corners seem to count from 1."""
        super().check_boxes(boxes, sizes, report)
        if self.box_format == "xyxy" and not (self.one_based or self.relative):
            warn_of_one_based(boxes, sizes, report)

    def carry(self, reserved: Collection[str]) -> None:
        """Has further columns read, as texts: all but those of the boxes, reserved ones and names that occur twice."""
        headers = [self.header] if self.header else [read_header(each, self.delimiter) for each in self._files()]
        names = dict.fromkeys(name for header in headers for name in header if header.count(name) == 1)
        self.carried = [name for name in names if name and name not in {*self._needed(), *reserved}]

    def _rows(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Yields the file's name without suffix, the place for messages, and the texts by column of every row."""
        files = self._files()
        if not files:
            raise ValueError(f"There is no file {self.file} in {self.root}.")
        for file in files:
            for number, row in read_rows(file, self._needed(), self.delimiter, self.header):
                yield file.stem, f"{file.name} row {number}", row

    def _files(self) -> list[Path]:
        return sorted(self.root.glob(self.file))

    def _needed(self) -> list[str]:
        optional = (self.label_column, self.group_column, self.score_column, self.gsd_column)
        return [self.frame_column, *self.box_columns, *(name for name in optional if name is not None)]

    def _flown(self, finder: FrameFinder) -> list[Path]:
        """Returns the frames that the option frames names."""
        if self.frames is None:
            return []
        place = self.root / self.frames
        if place.is_dir():
            return list_frames(place)
        if not place.is_file():
            raise ValueError(f"frames names {place}, which does not exist: give a folder of frames or a text file.")
        names = [line.strip() for line in place.read_text("utf-8-sig", "replace").splitlines()]
        where = f"{place.name} line"
        return [finder.find(name, [self.root], f"{where} {n}") for n, name in enumerate(names, start=1) if name]

    def _name(self, stem: str, text: str, where: str) -> str:
        """Fills the frame_name template."""
        number = to_float(text)
        values = [text, int(number)] if number.is_integer() else [text]
        for value in values:  # {frame} takes the text, {frame:06d} a number
            with contextlib.suppress(ValueError, KeyError, IndexError):
                return self.frame_name.format(frame=value, file=stem)
        raise ValueError(
            f"{where}: the frame {text!r} does not fit frame_name {self.frame_name!r}, which may use "
            "{frame}, {frame:06d} for a number, and {file}."
        )

    def _box(self, frame: Path, row: dict[str, str], where: str) -> Box:
        x, y, width, height = (self._number(row[name]) for name in self.box_columns)
        first = float(self.one_based)
        if self.box_format == "xyxy":
            width, height = width - x + first, height - y + first
        code = UNLABELLED if self.label_column is None else row[self.label_column]
        label = self.label_names.get(code, code)
        skip = "" if label or not all(map(math.isfinite, (x, y, width, height))) else "row without a label"
        score = math.nan if self.score_column is None else self._score(row[self.score_column], where)
        carried = tuple(row.get(name, "") for name in self.carried)
        box = Box(frame, x - first, y - first, width, height, label, where, self.relative, skip=skip, score=score)
        return box._replace(carried=carried) if carried else box

    def _number(self, text: str) -> float:
        return to_float(text if self.decimal == "." else text.replace(self.decimal, "."))

    def _score(self, text: str, where: str) -> float:
        score = self._number(text)
        if text and math.isnan(score) and text.lower() not in ("nan", "na", "null", "none"):
            raise ValueError(f"{where}: the score {text!r} is no number from 0 to 1.")
        return score


def read_rows(
    file: Path, needed: Sequence[str], delimiter: str = ",", header: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, column -> text without outer blanks) of a CSV file; missing fields are "".

    Args:
        file: The CSV file.
        needed: Columns that must exist, once each.
        delimiter: Character between fields.
        header: Column names where the file has no header row.

    Raises:
        ValueError: A needed column is missing or occurs twice, a row has more fields than columns, or the file is no
            CSV text.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, delimiter=delimiter)
            names = [name.strip() for name in (header if header is not None else next(rows, []))]
            missing = [name for name in needed if name not in names]
            if missing:
                raise ValueError(f"{file} has no column {missing}, but {names}: name the columns to read.")
            if twice := [name for name in needed if names.count(name) > 1]:
                raise ValueError(f"{file} has more than one column {twice[0]!r}: rename all but one.")
            for fields in rows:
                texts = [field.strip() for field in fields]
                if any(texts[len(names) :]):
                    raise ValueError(
                        f"{file} row {rows.line_num} has {len(texts)} fields for {len(names)} columns: quote texts and "
                        "numbers that hold the delimiter (decimal commas?), or name all columns."
                    )
                if any(texts):
                    padded = texts + [""] * (len(names) - len(texts))
                    yield rows.line_num, dict(zip(names, padded, strict=False))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is no CSV text in UTF-8 ({error}).") from error


def read_header(file: Path, delimiter: str = ",") -> list[str]:
    """Returns the fields of the first row, without outer blanks.

    Raises:
        ValueError: The file is no CSV text.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return [name.strip() for name in next(csv.reader(stream, delimiter=delimiter), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is no CSV text in UTF-8 ({error}).") from error


def to_float(text: str) -> float:
    """Reads a number; NaN for any other text.

    >>> to_float("2.5"), to_float("")
    (2.5, nan)
    """
    try:
        return float(text)
    except ValueError:
        return math.nan


def _set_once(values: dict[Path, str], frame: Path, value: str, what: str, where: str) -> None:
    """Adds the group of a frame, or what else a row says of its frame, to the values.

    Raises:
        ValueError: The value is empty or contradicts an earlier row.
    """
    if not value:
        raise ValueError(f"{where}: the frame {frame} has an empty {what}.")
    if values.setdefault(frame, value) != value:
        raise ValueError(f"{where}: the frame {frame} has the {what} {value!r}, an earlier row said {values[frame]!r}.")
