"""The JSON file of MegaDetector and its successors: detections in fractions of the frame, with a confidence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dml_lightning.data.frames import FRAME_SUFFIXES
from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.coco import parse_box
from dml_lightning.data.sources.files import FrameFinder
from dml_lightning.data.sources.parse import as_key, as_number, as_text, parse_json
from dml_lightning.data.sources.report import ReadReport

FAILED = "frame that the detector could not read"


class MegaDetector(Source):
    """Reads MegaDetector's output.

    A frame without a detection is a background frame; one that the detector could not read (`failure`, or no list of
    detections) is left out and reported, because it was never searched.

    Args:
        root: The data set's folder.
        file: The JSON file, relative to the root.
        images: Folder that the names of the frames are relative to, itself relative to the root. Default: the JSON
            file's folder or the root.
        group_by: See `Source`.
        min_score: Smallest confidence of the boxes to keep; None keeps all.
        classifications: Whether the label of a box is its best classification, where it has one, in place of the
            detector's category (animal, person, vehicle).
    """

    def __init__(
        self,
        root: str | Path,
        file: str,
        images: str | None = None,
        group_by: str = "parent",
        min_score: float | None = None,
        classifications: bool = False,
    ) -> None:
        super().__init__(root, group_by)
        self.file, self.images = file, images
        self.min_score, self.classifications = min_score, classifications

    def scan(self, report: ReadReport) -> Scan:
        """Reads the JSON file."""
        file = self.root / self.file
        content = parse_json(file)
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            raise ValueError(f"{file} has no list images: it is not what MegaDetector writes.")
        names, species = (_names(file, content, key) for key in ("detection_categories", "classification_categories"))
        folders = [self.root / self.images] if self.images is not None else [file.parent, self.root]
        finder = FrameFinder()
        frames: list[Path] = []
        boxes: list[Box] = []
        failed: dict[Path, str] = {}
        for number, image in enumerate(content["images"]):
            where = f"{file.name} image {number}"
            name = image.get("file") if isinstance(image, dict) else None
            if not isinstance(name, str) or not name:
                report.skip("image without a file name", where)
                continue
            if Path(name).suffix.lower() not in FRAME_SUFFIXES:
                report.skip("file that is no frame, such as a video", f"{where}: {name}")
                continue
            frame = finder.find(name, folders, where, once=True)
            if image.get("failure") or not isinstance(image.get("detections"), list):
                failed[frame] = FAILED
                continue
            frames.append(frame)
            boxes += self._boxes(frame, where, image["detections"], names, species)
        return Scan(frames, boxes, unused=failed)

    def _boxes(
        self, frame: Path, where: str, detections: list[Any], names: dict[str, str], species: dict[str, str]
    ) -> Iterator[Box]:
        for number, entry in enumerate(detections):
            if not isinstance(entry, dict):
                entry = {}
            category = as_key(entry.get("category"))
            label = self._species(entry, species) or names.get(category, "")
            skip = "" if label else "detection of an unknown category"
            sides, score = parse_box(entry.get("bbox")), as_number(entry.get("conf"))
            yield Box(frame, *sides, label, f"{where} detection {number}", relative=True, skip=skip, score=score)

    def _species(self, entry: dict[str, Any], species: dict[str, str]) -> str:
        """Returns the name of the classification with the highest confidence; "" without one."""
        given = entry.get("classifications") if self.classifications else None
        pairs = [pair for pair in given or () if isinstance(pair, list) and len(pair) == 2]
        best = max(pairs, key=lambda pair: as_number(pair[1]), default=[None, 0.0])
        return species.get(as_key(best[0]), "")


def _names(file: Path, content: dict[str, Any], key: str) -> dict[str, str]:
    names = content.get(key) or {}
    if not isinstance(names, dict):
        raise ValueError(f"{file} gives {key} as {type(names).__name__}: it must map numbers to names.")
    return {as_key(number): as_text(name) for number, name in names.items()}
