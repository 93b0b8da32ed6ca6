"""YOLO text labels with a data.yaml, as Ultralytics and Roboflow write them."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from dml_lightning.data.frames import FRAME_SUFFIXES
from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.files import absolute, find_frame, list_frames
from dml_lightning.data.sources.report import ReadReport

SPLIT_KEYS = ("train", "val", "valid", "test")


class Yolo(Source):
    """Reads YOLO boxes; all splits are read as one, because splits here are made by group.

    The label of `a/images/b.jpg` is `a/labels/b.txt`, else `b.txt` beside the frame. A frame without a
    label file, or with an empty one, is a background frame. A polygon is read as its bounding box.

    Args:
        root: Folder with the data.yaml.
        config: Name of the YAML file below the root.
        group_by: See `Source`.
    """

    def __init__(self, root: str | Path, config: str = "data.yaml", group_by: str = "parent") -> None:
        super().__init__(root, group_by)
        self.config = config

    def scan(self, report: ReadReport) -> Scan:
        """Reads every label file and reports those that belong to no frame."""
        content = self._load()
        names = _class_names(self.root / self.config, content)
        frames = self._frames(content, report)
        labels = {frame: _label_file(frame) for frame in frames}
        boxes = [
            box for frame, file in labels.items() if file.is_file() for box in self._boxes(frame, file, names, report)
        ]
        folders = {folder for frame in frames for folder in _label_folders(frame)}
        used = set(labels.values())
        for orphan in sorted(p for folder in folders for p in folder.glob("*.txt")):
            if orphan not in used:
                report.skip("label file without a frame", self._short(orphan))
        return Scan(frames, boxes)

    def _load(self) -> dict[str, Any]:
        file = self.root / self.config
        if not file.is_file():
            found = sorted(path.name for path in self.root.glob("*.y*ml"))
            raise ValueError(f"There is no {file}: name the YAML file with the option config, of {found}.")
        try:
            content = yaml.safe_load(file.read_text("utf-8-sig"))
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"{file} is no valid YAML ({' '.join(str(error).split())}).") from error
        if not isinstance(content, dict):
            raise ValueError(f"{file} holds no keys: it must name the classes under names.")
        return content

    def _frames(self, content: dict[str, Any], report: ReadReport) -> list[Path]:
        """Lists the frames of all splits; of the whole root where no split folder is named or found."""
        frames: set[Path] = set()
        for key in SPLIT_KEYS:
            entries = content.get(key) or []
            for entry in [entries] if isinstance(entries, str) else entries:
                place = self._locate(str(entry), content)
                if place is None:
                    report.note("split named in the YAML file does not exist", f"{key}: {entry}")
                elif place.is_dir():
                    frames.update(list_frames(place))
                else:
                    frames.update(_listed(place, self.root))
        return sorted(frames) or list_frames(self.root)

    def _locate(self, entry: str, content: dict[str, Any]) -> Path | None:
        """Finds a split's folder or list; Roboflow writes ../train/images for train/images."""
        entry = entry.replace("\\", "/").rstrip("/")
        stripped = entry
        while stripped.startswith(("../", "./")):
            stripped = stripped.split("/", 1)[1]
        base = self.root / str(content.get("path") or "")
        candidates = (base / entry, base / stripped, self.root / entry, self.root / stripped)
        return next((absolute(path) for path in candidates if path.exists()), None)

    def _boxes(self, frame: Path, file: Path, names: dict[int, str], report: ReadReport) -> Iterator[Box]:
        for number, line in enumerate(file.read_text("utf-8-sig", "replace").splitlines(), start=1):
            if fields := line.split():
                where = f"{self._short(file)} line {number}"
                if (box := _parse(frame, fields, names, where, report)) is not None:
                    yield box

    def _short(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def _parse(frame: Path, fields: list[str], names: dict[int, str], where: str, report: ReadReport) -> Box | None:
    """Reads one line: class and centre box, perhaps with a confidence, or class and polygon."""
    try:
        number, *values = map(float, fields)
    except ValueError:
        report.skip("label line is not numbers", where)
        return None
    if len(values) >= 6 and len(values) % 2 == 0:
        report.note("polygon read as its bounding box", where)
        left, top = min(values[0::2]), min(values[1::2])
        sides = left, top, max(values[0::2]) - left, max(values[1::2]) - top
    elif len(values) in (4, 5):
        if len(values) == 5:
            report.note("confidence after the box ignored", where)
        x, y, width, height = values[:4]
        sides = x - width / 2, y - height / 2, width, height
    else:
        report.skip("label line has the wrong number of values", f"{where}: {len(fields)}")
        return None
    label = names.get(int(number)) if math.isfinite(number) and number == int(number) else None
    skip = "" if label is not None else "class number is not in the YAML file"
    return Box(frame, *sides, label or "", where, relative=True, skip=skip)


def _class_names(file: Path, content: dict[str, Any]) -> dict[int, str]:
    """Maps class number -> name, from a list or a dictionary."""
    names = content.get("names")
    if isinstance(names, dict) and names:
        try:
            return {int(key): str(name) for key, name in names.items()}
        except ValueError as error:
            raise ValueError(f"{file} has a class number that is none ({error}).") from None
    if isinstance(names, list) and names:
        return {number: str(name) for number, name in enumerate(names)}
    raise ValueError(f"{file} gives names as {names!r}: it must be a list or a dictionary of class names.")


def _label_file(frame: Path) -> Path:
    """Returns the label file of a frame, or where it would be."""
    candidates = [folder / f"{frame.stem}.txt" for folder in _label_folders(frame)]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _label_folders(frame: Path) -> list[Path]:
    """Returns where labels of a frame may lie: the last `images` of its path as `labels`, or beside it."""
    parts = frame.parent.parts
    if "images" not in parts:
        return [frame.parent]
    last = len(parts) - 1 - parts[::-1].index("images")
    return [Path(*parts[:last], "labels", *parts[last + 1 :]), frame.parent]


def _listed(file: Path, root: Path) -> Iterable[Path]:
    """Reads a split given as a text file of frame paths, relative to its own folder or the root."""
    for line in file.read_text("utf-8-sig", "replace").splitlines():
        if Path(line.strip()).suffix.lower() in FRAME_SUFFIXES:
            yield find_frame(line.strip(), [file.parent, root])
