"""Label Studio's JSON export: a list of tasks with annotations in percent of the picture."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dml_lightning.data.frames import FRAME_SUFFIXES
from dml_lightning.data.sources.base import NOT_ANNOTATED, Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.files import FrameFinder
from dml_lightning.data.sources.parse import as_number, as_size, as_text, parse_json
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.data.sources.shapes import NO_BOX, Sides, around, around_circle, around_turned, turned_radii

PREFIX = re.compile(r"^[0-9a-f]{8}-")  # that an upload puts before the name of a file
LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")  # keys of a region's classes
SHAPES = ("rectangle", "polygon", "ellipse")


class LabelStudio(Source):
    """Reads Label Studio's regions: rectangles, and the boxes around polygons and ellipses.

    Where a task has several annotations, the newest one that is not cancelled is used. A task whose annotation has no
    region is a background frame; a task without an annotation is reported and not used.

    Args:
        root: The data set's folder.
        file: The JSON file, relative to the root.
        images: Folder of the frames, relative to the root. Default: the root, root/images and the JSON file's
            folder. Frames may have their own names or those of the upload, with eight hexadecimal digits before.
        group_by: See `Source`.
        image_key: The key of a task's `data` that holds the frame.
        min_score: Smallest score of the regions to keep; None keeps all.
    """

    def __init__(
        self,
        root: str | Path,
        file: str,
        images: str | None = None,
        group_by: str = "parent",
        image_key: str = "image",
        min_score: float | None = None,
    ) -> None:
        super().__init__(root, group_by)
        self.file, self.images, self.image_key, self.min_score = file, images, image_key, min_score

    def scan(self, report: ReadReport) -> Scan:
        """Reads the JSON file."""
        file = self.root / self.file
        tasks = parse_json(file)
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise ValueError(f"{file} is no list of tasks: export the project as JSON.")
        finder = FrameFinder()
        frames: list[Path] = []
        boxes: list[Box] = []
        unannotated: dict[Path, str] = {}
        for number, task in enumerate(tasks):
            where = f"{file.name} task {task.get('id', f'number {number}')}"
            frame = self._frame(file, task, finder, where)
            annotation = _newest(task, where, report)
            if annotation is None:
                unannotated[frame] = NOT_ANNOTATED
                continue
            frames.append(frame)
            boxes += _regions(frame, annotation, where)
        return Scan(frames, boxes, unused=unannotated)

    def _frame(self, file: Path, task: dict[str, Any], finder: FrameFinder, where: str) -> Path:
        data = task.get("data")
        address = data.get(self.image_key) if isinstance(data, dict) else None
        if not isinstance(address, str) or not address:
            keys = sorted(data) if isinstance(data, dict) else []
            raise ValueError(
                f"{where} has no text data.{self.image_key} but {keys}: name the key of the frame with image_key, and "
                "export as JSON (not JSON-MIN)."
            )
        name = file_of_address(address)
        last = PurePosixPath(name).name
        also = [name.removesuffix(last) + PREFIX.sub("", last), last, PREFIX.sub("", last)]
        folders = (
            [self.root / self.images] if self.images is not None else [self.root, self.root / "images", file.parent]
        )
        return finder.find(name, list(dict.fromkeys(folders)), where, also=also, once=True)


def file_of_address(address: str) -> str:
    """Returns the file that a task's address names, as a path below a folder of frames.

    >>> file_of_address("/data/upload/1/0a1b2c3d-DJI_0001.tif")
    'data/upload/1/0a1b2c3d-DJI_0001.tif'
    >>> file_of_address("/data/local-files/?d=flight%201/DJI_0001.tif")
    'flight 1/DJI_0001.tif'
    """
    parts = urlsplit(address.replace("\\", "/"))
    query = parse_qs(parts.query)
    if "d" in query:
        return query["d"][0].lstrip("/")
    path = unquote(parts.path if Path(parts.path).suffix.lower() in FRAME_SUFFIXES else address)
    return path.lstrip("/")


def _newest(task: dict[str, Any], where: str, report: ReadReport) -> dict[str, Any] | None:
    """Returns the newest annotation that is not cancelled; None where there is none."""
    given = [each for each in task.get("annotations") or task.get("completions") or () if isinstance(each, dict)]
    valid = [each for each in given if not each.get("was_cancelled")]
    if not valid:
        return None
    valid.sort(key=lambda each: as_text(each.get("updated_at") or each.get("created_at")))
    if len(valid) > 1:
        report.note("older annotation of a task, not used", f"{where}: {len(valid) - 1}")
    return valid[-1]


def _regions(frame: Path, annotation: dict[str, Any], where: str) -> Iterator[Box]:
    """Yields one box for each region; the parts of a region share an id."""
    parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number, part in enumerate(annotation.get("result") or ()):
        if isinstance(part, dict) and part.get("type") != "relation" and isinstance(part.get("value"), dict):
            parts[as_text(part.get("id")) or f"number {number}"].append(part)
    for identity, region in parts.items():
        shape = next((part for part in region if "original_width" in part), None)
        if shape is None or all("choices" in part["value"] for part in region):
            continue  # an answer about the whole picture
        yield _box(frame, region, shape, f"{where} region {identity}")


def _box(frame: Path, region: list[dict[str, Any]], shape: dict[str, Any], where: str) -> Box:
    values: dict[str, Any] = {}
    for part in region:
        values |= part["value"]
    lists = [given for key in LABELS if isinstance(given := values.get(key), list)]
    labels = dict.fromkeys(as_text(label) for given in lists for label in given)
    labels.pop("", None)
    kind = str(shape.get("type")).removesuffix("labels")
    skip = "" if len(labels) == 1 else "region with several labels" if labels else "region without a label"
    if kind not in SHAPES:
        skip = f"region that is no box: {kind}"
    elif as_number(shape.get("image_rotation") or 0) != 0:
        skip = "region of a picture that was turned in Label Studio"
    size = shape.get("original_width"), shape.get("original_height")
    scores = [as_number(part.get("score")) for part in region]
    score = next((value for value in scores if value == value), float("nan"))
    sides = _sides(kind, values, *map(as_number, size))
    return Box(frame, *sides, next(iter(labels), ""), where, stated=as_size(*size), skip=skip, score=score)


def _sides(kind: str, values: dict[str, Any], width: float, height: float) -> Sides:
    """Returns the upright box in px; percent become px before the rotation, which is one in px."""
    turn = as_number(values.get("rotation") or 0)
    x, y = as_number(values.get("x")) * width / 100, as_number(values.get("y")) * height / 100
    if kind == "rectangle":
        across, down = as_number(values.get("width")) * width / 100, as_number(values.get("height")) * height / 100
        return around_turned((x, y, across, down), turn, (x, y))
    if kind == "ellipse":
        radii = as_number(values.get("radiusX")) * width / 100, as_number(values.get("radiusY")) * height / 100
        return around_circle(x, y, *turned_radii(*radii, turn))
    try:
        return around((as_number(x) * width / 100, as_number(y) * height / 100) for x, y in values.get("points") or ())
    except (TypeError, ValueError):
        return NO_BOX
