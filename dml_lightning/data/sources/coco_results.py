"""COCO results: the list of boxes with scores that a detector writes."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.coco import BoxFormat, load_coco, parse_box, read_categories, read_images
from dml_lightning.data.sources.files import FrameFinder, list_frames
from dml_lightning.data.sources.parse import as_key, as_number, as_text, parse_json
from dml_lightning.data.sources.report import ReadReport


class CocoResults(Source):
    """Reads a list of detections: `image_id` or `file_name`, `category_id`, `bbox`, `score`.

    Frames and names of classes come from the COCO JSON that the detector was run on. Without it every frame of the
    folder counts as flown, `image_id` must be the stem of one of them (or the number that it writes, as ultralytics
    turns "0012" into 12), and the name of a class is `category_name` or "category <id>".

    Args:
        root: The data set's folder.
        file: The JSON file with the list, relative to the root.
        annotations: COCO JSON with `images` and `categories`, relative to the root.
        images: Folder of the frames, relative to the root; see `CocoJson`.
        group_by: See `Source`.
        min_score: Smallest score of the boxes to keep; None keeps all.
        box_format: "xywh" (top-left corner and size) or "xyxy" (two corners).
        relative: Whether boxes are fractions of the frame and not px.
    """

    def __init__(
        self,
        root: str | Path,
        file: str = "predictions.json",
        annotations: str | None = None,
        images: str | None = None,
        group_by: str = "parent",
        min_score: float | None = None,
        box_format: BoxFormat = "xywh",
        relative: bool = False,
    ) -> None:
        super().__init__(root, group_by)
        self.file, self.annotations, self.images = file, annotations, images
        self.min_score, self.box_format, self.relative = min_score, box_format, relative

    def scan(self, report: ReadReport) -> Scan:
        """Reads the list of detections."""
        file = self.root / self.file
        entries = parse_json(file)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{file} is no list of objects: COCO results are a list of detections.")
        finder = FrameFinder()
        names: dict[str, str] = {}
        gsd: dict[Path, float] = {}
        if self.annotations is not None:
            content = load_coco(self.root / self.annotations)
            images = read_images(self.root, self.images, self.root / self.annotations, content, finder, report)
            names = read_categories(self.root / self.annotations, content)
            gsd = {image.frame: image.gsd for image in images.values() if 0 < image.gsd < math.inf}
            by_id, frames = {key: image.frame for key, image in images.items()}, [i.frame for i in images.values()]
        else:
            frames = list_frames(self.root / (self.images or "."))
            by_id = _by_stem(frames)
        return Scan(frames, list(self._boxes(file.name, entries, by_id, names, finder, report)), gsd=gsd)

    def _boxes(
        self,
        file_name: str,
        entries: list[dict[str, Any]],
        by_id: dict[str, Path],
        names: dict[str, str],
        finder: FrameFinder,
        report: ReadReport,
    ) -> Iterator[Box]:
        folder = [self.root / (self.images or "."), self.root]
        for number, entry in enumerate(entries):
            where = f"{file_name} entry {number}"
            key, name = as_key(entry.get("image_id")), entry.get("file_name")
            frame = by_id.get(key)
            if frame is None and isinstance(name, str) and name:
                frame = finder.find(name, folder, where)
            if frame is None:
                report.skip("detection in an unknown image", f"{where}: image_id {key!r}")
                continue
            category = as_key(entry.get("category_id"))
            label = names.get(category) or as_text(entry.get("category_name"))
            if not label and category and not names:
                label = f"category {category}"
            skip = "" if label else "detection of an unknown category"
            sides = parse_box(entry.get("bbox"), self.box_format)
            yield Box(frame, *sides, label, where, self.relative, skip=skip, score=as_number(entry.get("score")))


def _by_stem(frames: list[Path]) -> dict[str, Path]:
    """Maps the stems of frames, and the numbers that stems stand for, to frames.

    Raises:
        ValueError: Two frames have the same stem or number.
    """
    stems: dict[str, Path] = {}
    for frame in frames:
        keys = {frame.stem, *([str(int(frame.stem))] if frame.stem.isdecimal() else [])}
        for key in keys:
            if (other := stems.setdefault(key, frame)) != frame:
                raise ValueError(
                    f"{frame} and {other} are both called {key}, so that an image_id does not tell them apart: name "
                    "the COCO JSON with their ids with the option annotations."
                )
    return stems
