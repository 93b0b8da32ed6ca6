"""YOLO text labels with the class names of a data.yaml, a classes.txt or an obj.names."""

import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from dml_lightning.data.frames import FRAME_SUFFIXES
from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.files import FrameFinder, absolute, list_frames
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.data.sources.yolo_rows import RowForms
from dml_lightning.yaml_files import read_yaml

SPLIT_KEYS = ("train", "val", "valid", "test")
NAME_FILES = ("classes.txt", "labels/classes.txt", "obj.names", "data/obj.names", "predefined_classes.txt")
NO_LABELS = {"classes.txt", "predefined_classes.txt", *(f"{key}.txt" for key in SPLIT_KEYS)}


class Yolo(Source):
    """Reads YOLO boxes; all splits are read as one, because splits here are made by group.

    The label of `a/images/b.jpg` is `a/labels/b.txt`, else `b.txt` beside the frame. A frame without a
    label file, or with an empty one, is a background frame. A polygon or turned box is read as its bounding box; of a
    pose (`kpt_shape` in the YAML file) the box is read. Scores are kept; the numbers of tracks are dropped.

    Args:
        root: Folder with the data.yaml, or with the names of the classes, one in each line, as Label Studio and
            labelImg (classes.txt) and CVAT and datumaro (obj.names) write them.
        config: Path of the YAML file, or of the list of names, below the root. Where it is left out and there is no
            data.yaml, the usual lists are tried.
        group_by: See `Source`.
        min_score: Smallest score of the boxes to keep; None keeps all.
    """

    def __init__(
        self, root: str | Path, config: str = "data.yaml", group_by: str = "parent", min_score: float | None = None
    ) -> None:
        super().__init__(root, group_by)
        self.config = config
        self.min_score = min_score

    def scan(self, report: ReadReport) -> Scan:
        """Reads every label file and reports those that belong to no frame."""
        content = self._content()
        names = _class_names(self._config_file, content)
        frames = self._frames(content, report)
        labels = {frame: _label_file(frame) for frame in frames}
        _refuse_shared(labels)
        rows = [row for frame, file in labels.items() if file.is_file() for row in self._rows(frame, file, report)]
        forms = RowForms.of((values for _, _, _, values in rows), _keypoints(self._config_file, content))
        boxes = [box for row in rows if (box := _box(*row, forms, names, report)) is not None]
        self._report_orphans(frames, report)
        return Scan(frames, boxes)

    @cached_property
    def _config_file(self) -> Path:
        """The YAML file or list of class names.

        Raises:
            ValueError: There is none.
        """
        files = [self.root / self.config]
        if self.config == "data.yaml":
            files += [self.root / name for name in NAME_FILES]
        for file in files:
            if file.is_file():
                return file
        others = sorted(path.name for path in self.root.glob("*.y*ml"))
        raise ValueError(
            f"There is no {files[0]}: name the YAML file with the option config, of {others}, or a list of class names "
            "such as classes.txt or obj.names."
        )

    def _content(self) -> dict[str, Any]:
        file = self._config_file
        if file.suffix.lower() not in (".yaml", ".yml"):
            lines = file.read_text("utf-8-sig", "replace").splitlines()
            lists = {key: f"{key}.txt" for key in SPLIT_KEYS if (self.root / f"{key}.txt").is_file()}
            return {"names": [line.strip() for line in _without_blank_end(lines)], "lists": lists}
        content = read_yaml(file, texts=["names"])
        if not isinstance(content, dict):
            raise ValueError(f"{file} holds no keys: it must name the classes under names.")
        return content

    def _frames(self, content: dict[str, Any], report: ReadReport) -> list[Path]:
        """Lists the frames of all splits, or of the whole root where no split has frames."""
        frames: set[Path] = set()
        finder = FrameFinder()
        for key in SPLIT_KEYS:
            entries = content.get(key) or []
            for entry in [entries] if isinstance(entries, str) else entries:
                place = self._locate(str(entry), content)
                if place is None:
                    report.note("split named in the YAML file does not exist", f"{key}: {entry}")
                elif place.is_dir():
                    frames.update(list_frames(place))
                else:
                    frames.update(self._listed(place, finder))
        for name in content.get("lists", {}).values():
            frames.update(self._listed(self.root / name, finder))
        if "lists" in content:
            frames.update(list_frames(self.root))
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

    def _listed(self, file: Path, finder: FrameFinder) -> Iterator[Path]:
        """Reads a split given as a text file of frame paths, relative to its own folder or the root."""
        for number, line in enumerate(file.read_text("utf-8-sig", "replace").splitlines(), start=1):
            if Path(line.strip()).suffix.lower() in FRAME_SUFFIXES:
                yield finder.find(line.strip(), [self.root], f"{file.name} line {number}", own=[file.parent])

    def _rows(
        self, frame: Path, file: Path, report: ReadReport
    ) -> Iterator[tuple[Path, str, float, tuple[float, ...]]]:
        """Yields frame, place in the file, class number and other values of every line that consists of numbers."""
        for number, line in enumerate(file.read_text("utf-8-sig", "replace").splitlines(), start=1):
            if fields := line.split():
                where = f"{self._short(file)} line {number}"
                try:
                    category, *values = map(float, fields)
                except ValueError:
                    report.skip("label line is not numbers", where)
                else:
                    yield frame, where, category, tuple(values)

    def _report_orphans(self, frames: Iterable[Path], report: ReadReport) -> None:
        """Counts label files without a frame, and frames in the folders of the set that no list names."""
        used = set(frames)
        others = {
            frame
            for folder in {frame.parent for frame in used}
            if folder.is_dir()
            for frame in list_frames(folder, recursive=False)
        } - used
        for frame in sorted(others):
            report.skip("frame in a folder of the set that no list names", self._short(frame))
        labels = {_label_file(frame) for frame in used | others}
        folders = {folder for frame in used for folder in _label_folders(frame)}
        for orphan in sorted({path for folder in folders for path in folder.glob("*.txt")} - labels):
            if orphan.name not in NO_LABELS and _is_label(orphan):
                report.skip("label file without a frame", self._short(orphan))

    def _short(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def _box(
    frame: Path,
    where: str,
    category: float,
    values: tuple[float, ...],
    forms: RowForms,
    names: dict[int, str],
    report: ReadReport,
) -> Box | None:
    row = forms.read(values)
    if isinstance(row, str):
        report.skip(row, f"{where}: {len(values) + 1} values")
        return None
    if row.note:
        report.note(row.note, where)
    label = names.get(int(category)) if math.isfinite(category) and category.is_integer() else None
    skip = "" if label else "class number is not in the YAML file" if label is None else "class has an empty name"
    return Box(frame, *row[:4], label or "", where, relative=True, skip=skip, score=row.score)


def _class_names(file: Path, content: dict[str, Any]) -> dict[int, str]:
    """Maps class number -> name, from a list or a dictionary."""
    names = content.get("names")
    if isinstance(names, dict) and names:
        try:
            return {int(str(key)): str(name).strip() for key, name in names.items()}
        except ValueError as error:
            raise ValueError(f"{file} has a class number that is none ({error}).") from None
    if isinstance(names, list) and names:
        return {number: str(name).strip() for number, name in enumerate(names)}
    raise ValueError(f"{file} gives names as {names!r}: it must be a list or a dictionary of class names.")


def _keypoints(file: Path, content: dict[str, Any]) -> int:
    """Number of values that a pose has after its box."""
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    try:
        points, each = map(int, shape)
    except (TypeError, ValueError):
        raise ValueError(f"{file} gives kpt_shape as {shape!r}: it must be two numbers, such as [17, 3].") from None
    return points * each


def _without_blank_end(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def _label_file(frame: Path) -> Path:
    """Returns the label file of a frame, or where it would be."""
    candidates = [folder / f"{frame.stem}.txt" for folder in _label_folders(frame)]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _refuse_shared(labels: dict[Path, Path]) -> None:
    """Refuses two frames with one label file, such as a.jpg and a.tif: every animal would be there twice."""
    owner: dict[Path, Path] = {}
    for frame, file in labels.items():
        other = owner.setdefault(file, frame)
        if other != frame and file.is_file() and file.stat().st_size:
            raise ValueError(f"{file} is the label file of {other} and of {frame}: keep one of these frames.")


def _label_folders(frame: Path) -> list[Path]:
    """Returns where labels of a frame may lie: the last `images` of its path as `labels`, or beside it."""
    parts = frame.parent.parts
    if "images" not in parts:
        return [frame.parent]
    last = len(parts) - 1 - parts[::-1].index("images")
    return [Path(*parts[:last], "labels", *parts[last + 1 :]), frame.parent]


def _is_label(file: Path) -> bool:
    """Whether the first line that is not blank begins with a number; lists and notes do not."""
    for line in file.read_text("utf-8-sig", "replace").splitlines():
        if line.strip():
            return line.split()[0].lstrip("-").replace(".", "", 1).isdigit()
    return True
