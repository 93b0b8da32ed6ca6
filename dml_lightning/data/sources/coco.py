"""COCO JSON, read tolerantly: published thermal sets depart from the format in small ways."""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.files import find_frame
from dml_lightning.data.sources.report import ReadReport

IMAGE_FOLDERS = ("", "images", "JPEGImages")


class CocoJson(Source):
    """Reads COCO boxes.

    Accepted beside the format itself: the keys `annotation` and `filename` (HIT-UAV), ids that are numbers
    here and strings there, boxes stored as strings. Segmentations are not read. Images without an annotation
    are background frames; crowd annotations are skipped and kept clear of background crops.

    Args:
        root: The data set's folder.
        annotations: JSON file or files, relative to the root. Default: the only *.json in the root or in
            root/annotations.
        images: Folder of the frames, relative to the root. Default: the root, the JSON file's folder,
            root/images and root/JPEGImages are tried.
        group_by: See `Source`.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str | list[str] | None = None,
        images: str | None = None,
        group_by: str = "parent",
    ) -> None:
        super().__init__(root, group_by)
        self.annotations = annotations
        self.images = images

    def scan(self, report: ReadReport) -> Scan:
        """Reads all JSON files; ids count within their own file."""
        frames: list[Path] = []
        boxes: list[Box] = []
        for file in self._files():
            content = _load(file)
            names = _categories(file, content)
            images = self._images(file, content, report)
            frames += [frame for frame, _ in images.values()]
            boxes += _boxes(file.name, content, names, images, report)
        return Scan(frames, boxes)

    def _files(self) -> list[Path]:
        if self.annotations is None:
            found = sorted([*self.root.glob("*.json"), *self.root.glob("annotations/*.json")])
            if len(found) != 1:
                names = [path.relative_to(self.root).as_posix() for path in found]
                raise ValueError(
                    f"{self.root} holds {len(found)} JSON files {names} at its top or in annotations/: "
                    "name those to read with the option annotations."
                )
            return found
        named = [self.annotations] if isinstance(self.annotations, str) else self.annotations
        return [self.root / name for name in named]

    def _images(
        self, file: Path, content: dict[str, Any], report: ReadReport
    ) -> dict[str, tuple[Path, tuple[int, int] | None]]:
        """Maps image id -> (frame, stated size)."""
        tried = [self.root / self.images] if self.images is not None else None
        folders = tried or [file.parent, *(self.root / name for name in IMAGE_FOLDERS)]
        images: dict[str, tuple[Path, tuple[int, int] | None]] = {}
        for number, image in enumerate(_entries(file, content, "images", "image")):
            where = f"{file.name} image {image.get('id', f'number {number}')}"
            name = image.get("file_name") or image.get("filename")
            if "id" not in image or not isinstance(name, str):
                report.skip("image without an id or file name", where)
            elif str(image["id"]) in images:
                report.skip("image id occurs twice", f"{where}: {name}")
            else:
                images[str(image["id"])] = find_frame(name, folders), _stated_size(image)
        return images


def _load(file: Path) -> dict[str, Any]:
    """Parses the file into its top-level object."""
    if not file.is_file():
        raise ValueError(f"There is no annotation file {file}: name it with the option annotations.")
    try:
        content = json.loads(file.read_text("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no valid JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{file} holds a {type(content).__name__} at its top: COCO JSON is an object with "
            "images, annotations and categories."
        )
    return content


def _entries(file: Path, content: dict[str, Any], *keys: str) -> list[dict[str, Any]]:
    """Returns the list below the first key that exists."""
    for key in keys:
        if isinstance(content.get(key), list):
            return [entry for entry in content[key] if isinstance(entry, dict)]
    raise ValueError(
        f"{file} has no list {keys[0]!r} but {sorted(content)}: COCO JSON has images, annotations and categories."
    )


def _categories(file: Path, content: dict[str, Any]) -> dict[str, str]:
    """Maps category id -> name."""
    names: dict[str, str] = {}
    for category in _entries(file, content, "categories", "category"):
        key = str(category.get("id"))
        name = str(category.get("name", "")).strip() or key
        if names.setdefault(key, name) != name:
            raise ValueError(f"{file} gives category id {key} two names, {names[key]!r} and {name!r}.")
    return names


def _stated_size(image: dict[str, Any]) -> tuple[int, int] | None:
    try:
        return int(image["width"]), int(image["height"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _boxes(
    file_name: str,
    content: dict[str, Any],
    names: dict[str, str],
    images: dict[str, tuple[Path, tuple[int, int] | None]],
    report: ReadReport,
) -> Iterable[Box]:
    """Yields one box per annotation that has an image."""
    seen: set[str] = set()
    for number, entry in enumerate(_entries(Path(file_name), content, "annotations", "annotation")):
        identity = str(entry.get("id", f"number {number}"))
        where = f"{file_name} annotation {identity}"
        if identity in seen:
            report.note("annotation id occurs twice", where)
        seen.add(identity)
        image, category = str(entry.get("image_id")), str(entry.get("category_id"))
        if image not in images:
            report.skip("annotation of an unknown image", f"{where}: image {image}")
            continue
        skip = ""
        if str(entry.get("iscrowd", 0)).strip().lower() in ("1", "1.0", "true"):
            skip = "iscrowd annotation"
        elif category not in names:
            skip = "annotation of an unknown category"
        frame, stated = images[image]
        sides = parse_box(entry.get("bbox"))
        yield Box(frame, *sides, names.get(category, ""), where, stated=stated, skip=skip)


def parse_box(value: Any) -> tuple[float, float, float, float]:
    """Reads four numbers from a list or a string such as "[1, 2, 3, 4]"; NaN where they are not that."""
    if isinstance(value, str):
        value = re.split(r"[\s,;]+", value.strip(" \t\n[](){}"))
    try:
        x, y, width, height = (float(number) for number in value)
    except (TypeError, ValueError):
        return (math.nan,) * 4
    return x, y, width, height
