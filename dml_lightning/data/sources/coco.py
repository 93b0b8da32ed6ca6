"""COCO JSON, read with tolerance for the small deviations of published thermal sets."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.files import FrameFinder
from dml_lightning.data.sources.parse import as_key, as_number, as_text, parse_json
from dml_lightning.data.sources.report import ReadReport

INSTANCES = "instances_"  # begins the names of COCO's own box files; the rest is the subset
EMPTY = ("empty", "blank")  # categories of camera-trap sets for images that show nothing
BoxFormat = Literal["xywh", "xyxy"]


class CocoImage(NamedTuple):
    """One entry of `images`."""

    frame: Path
    stated: tuple[int, int] | None  # width, height, px
    flight: str  # as `dml predict --write coco` states it, else empty
    gsd: float  # ground sampling distance, m per px; NaN where none is stated


class CocoJson(Source):
    """Reads COCO boxes.

    Accepted beyond the format itself are the keys `annotation` and `filename` (HIT-UAV), ids that are numbers in one
    place and strings in another, and boxes stored as strings. Segmentations are not read. Images without an annotation
    are background frames. Crowd annotations are skipped, and background crops keep away from them; an annotation
    without a box marks the whole of its frame in the same way, unless its category is "empty" or "blank". A `score`
    beside a box is kept. The `flight` of an image, which `dml predict --write coco` states, is its group, unless
    group_by says otherwise. The `gsd` of an image is its ground sampling distance in metres per px.

    Args:
        root: The data set's folder.
        annotations: JSON file or files, relative to the root. Default: all `instances_*.json` of the root or
            root/annotations, else the only *.json there.
        images: Folder of the frames, relative to the root. Default: the root, the JSON file's folder and the one
            above it are tried, each with `images` and `JPEGImages` in it; for `instances_<subset>.json` the folders
            `images/<subset>` and `<subset>` come first.
        group_by: See `Source`.
        box_format: "xywh", as COCO defines it, or "xyxy" where the boxes are two corners.
        relative: Whether boxes are fractions of the frame and not px.
        min_score: Smallest score of the boxes to keep; None keeps all.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str | list[str] | None = None,
        images: str | None = None,
        group_by: str = "parent",
        box_format: BoxFormat = "xywh",
        relative: bool = False,
        min_score: float | None = None,
    ) -> None:
        super().__init__(root, group_by)
        if box_format not in ("xywh", "xyxy"):
            raise ValueError(f'box_format {box_format!r} is unknown: give "xywh" or "xyxy".')
        self.annotations = annotations
        self.images = images
        self.box_format = box_format
        self.relative = relative
        self.min_score = min_score

    def scan(self, report: ReadReport) -> Scan:
        """Reads all JSON files; ids are unique within a file only."""
        frames: list[Path] = []
        boxes: list[Box] = []
        groups: dict[Path, str] = {}
        gsd: dict[Path, float] = {}
        finder = FrameFinder()
        for file in self._files():
            content = load_coco(file)
            names = read_categories(file, content)
            images = read_images(self.root, self.images, file, content, finder, report)
            frames += [image.frame for image in images.values()]
            if self.group_by == "parent":
                groups |= {image.frame: image.flight for image in images.values() if image.flight}
            gsd |= {image.frame: image.gsd for image in images.values() if 0 < image.gsd < math.inf}
            entries = _entries(file, content, "annotations", "annotation")
            content.clear()
            boxes += self._boxes(file, entries, names, images, report)
        return Scan(frames, boxes, groups, gsd=gsd)

    def _files(self) -> list[Path]:
        if self.annotations is not None:
            named = [self.annotations] if isinstance(self.annotations, str) else self.annotations
            return [self.root / name for name in named]
        files = sorted([*self.root.glob("*.json"), *self.root.glob("annotations/*.json")])
        if instances := [path for path in files if path.name.startswith(INSTANCES)]:
            return instances
        if len(files) != 1:
            names = [path.relative_to(self.root).as_posix() for path in files]
            raise ValueError(
                f"{self.root} holds {len(files)} JSON files {names} at its top or in annotations/: "
                "name those to read with the option annotations."
            )
        return files

    def _boxes(
        self,
        file: Path,
        entries: list[dict[str, Any]],
        names: dict[str, str],
        images: dict[str, CocoImage],
        report: ReadReport,
    ) -> Iterator[Box]:
        """Yields one box per annotation that has an image, and empties the list: a million entries take a gigabyte."""
        seen: set[str] = set()
        start = f"{file.name} annotation"
        entries.reverse()
        for number in range(len(entries)):
            entry = entries.pop()
            identity = as_key(entry.get("id")) or f"number {number}"
            where = f"{start} {identity}"
            if identity in seen:
                report.note("annotation id occurs twice", where)
            seen.add(identity)
            image, category = as_key(entry.get("image_id")), as_key(entry.get("category_id"))
            listed = images.get(image)
            if listed is None:
                reason = "annotation of an unknown image" if image else "annotation without an image (no image_id)"
                report.skip(reason, f"{where}: image {image}" if image else where)
                continue
            skip = ""
            if (crowd := entry.get("iscrowd")) and str(crowd).strip().lower() in ("1", "1.0", "true"):
                skip = "iscrowd annotation"
            elif category not in names:
                skip = "annotation of an unknown category" if category else "annotation without a category"
            if "bbox" not in entry and not skip:
                if names[category].casefold() in EMPTY:
                    continue  # states that the image shows nothing, as do its frames without a box
                yield Box(
                    listed.frame, 0, 0, 1, 1, names[category], where, relative=True, skip="annotation of a whole image"
                )
                continue
            sides = parse_box(entry.get("bbox"), self.box_format)
            label, score = names.get(category, ""), as_number(entry.get("score"))
            yield Box(listed.frame, *sides, label, where, self.relative, listed.stated, skip, score)


def load_coco(file: Path) -> dict[str, Any]:
    """Parses a COCO JSON file into its top-level object.

    Raises:
        ValueError: The file is missing, no valid JSON, or holds something else than an object.
    """
    content = parse_json(file)
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


def read_categories(file: Path, content: dict[str, Any]) -> dict[str, str]:
    """Maps category id -> name."""
    names: dict[str, str] = {}
    for category in _entries(file, content, "categories", "category"):
        key = as_key(category.get("id"))
        name = as_text(category.get("name")) or key
        if not key:
            raise ValueError(f"{file} has a category {name!r} without an id: give it one.")
        if names.setdefault(key, name) != name:
            raise ValueError(f"{file} gives category id {key} two names, {names[key]!r} and {name!r}.")
    return names


def read_images(
    root: Path, folder: str | None, file: Path, content: dict[str, Any], finder: FrameFinder, report: ReadReport
) -> dict[str, CocoImage]:
    """Maps image id -> frame and stated size.

    Raises:
        ValueError: A frame is listed twice, or its name fits several files.
    """
    own, places = ([], [root / folder]) if folder is not None else _folders(root, file)
    images: dict[str, CocoImage] = {}
    for number, image in enumerate(_entries(file, content, "images", "image")):
        key = as_key(image.get("id"))
        where = f"{file.name} image {key or f'number {number}'}"
        name = image.get("file_name") or image.get("filename")
        if not key or not isinstance(name, str):
            report.skip("image without an id or file name", where)
        elif key in images:
            report.skip("image id occurs twice", f"{where}: {name}")
        else:
            frame = finder.find(name, places, where, own=own, once=True)
            images[key] = CocoImage(
                frame, _stated_size(image), as_text(image.get("flight")), as_number(image.get("gsd"))
            )
    return images


def _folders(root: Path, file: Path) -> tuple[list[Path], list[Path]]:
    """Returns folders in which frames may lie: those of the subset, which come first, and the general ones."""
    bases = dict.fromkeys([file.parent, root, *([file.parent.parent] if file.parent != root else [])])
    subset = file.stem.removeprefix(INSTANCES) if file.stem.startswith(INSTANCES) else ""
    own = [base / part / subset for base in bases for part in ("images", "")] if subset else []
    return own, [base / part for base in bases for part in ("", "images", "JPEGImages")]


def _stated_size(image: dict[str, Any]) -> tuple[int, int] | None:
    try:
        return int(image["width"]), int(image["height"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def parse_box(value: Any, form: BoxFormat = "xywh") -> tuple[float, float, float, float]:
    """Reads four numbers from a list or a string such as "[1, 2, 3, 4]"; NaN for anything else.

    >>> parse_box("[1, 2, 30, 40]"), parse_box([1, 2, 31, 42], "xyxy")
    ((1.0, 2.0, 30.0, 40.0), (1.0, 2.0, 30.0, 40.0))

    Returns:
        Left, top, width, height.
    """
    if isinstance(value, str):
        value = re.split(r"[\s,;]+", value.strip(" \t\n[](){}"))
    try:
        x, y, width, height = map(float, value)
    except (TypeError, ValueError):
        return (math.nan,) * 4
    return (x, y, width - x, height - y) if form == "xyxy" else (x, y, width, height)
