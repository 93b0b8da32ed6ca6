"""Pascal VOC XML: one file per frame."""

import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from dml_lightning.data.frames import FRAME_SUFFIXES
from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.files import find_frame, list_frames
from dml_lightning.data.sources.report import ReadReport

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class PascalVoc(Source):
    """Reads Pascal VOC boxes; width is xmax - xmin, as published thermal sets mean it.

    A frame whose XML file has no object is a background frame; a frame without an XML file is reported and
    not used, because nobody said that it is empty.

    Args:
        root: The data set's folder.
        annotations: Folder of the XML files, relative to the root.
        images: Folder of the frames, relative to the root.
        group_by: See `Source`.
    """

    def __init__(
        self, root: str | Path, annotations: str = "Annotations", images: str = "JPEGImages", group_by: str = "parent"
    ) -> None:
        super().__init__(root, group_by)
        self.annotations = annotations
        self.images = images

    def scan(self, report: ReadReport) -> Scan:
        """Reads every XML file."""
        folder = self.root / self.annotations
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".xml" and p.is_file())
        if not files:
            raise ValueError(f"There is no XML file in {folder}: name the folder with annotations.")
        frames: list[Path] = []
        boxes: list[Box] = []
        for file in files:
            try:
                tree = ElementTree.fromstring(file.read_bytes())
            except ElementTree.ParseError as error:
                report.skip("XML file cannot be parsed", f"{file.name}: {error}")
                continue
            frame = self._frame(file, tree)
            frames.append(frame)
            boxes += _boxes(file.name, frame, tree)
        for unlabelled in sorted(set(list_frames(self.root / self.images)) - set(frames)):
            report.skip("frame without an XML file", unlabelled.name)
        return Scan(frames, boxes)

    def _frame(self, file: Path, tree: ElementTree.Element) -> Path:
        """Finds the frame by the stated name, else by the XML file's own name."""
        folders = [self.root / self.images, file.parent, self.root]
        named = find_frame((tree.findtext("filename") or "").strip() or file.stem, folders)
        if named.is_file():
            return named
        suffixes = sorted(FRAME_SUFFIXES)
        own = (find_frame(file.stem + suffix, folders) for suffix in suffixes)
        return next((frame for frame in own if frame.is_file()), named)


def _boxes(file_name: str, frame: Path, tree: ElementTree.Element) -> Iterator[Box]:
    stated = _number(tree.findtext("size/width")), _number(tree.findtext("size/height"))
    size = (int(stated[0]), int(stated[1])) if all(map(math.isfinite, stated)) else None
    for number, entry in enumerate(tree.iter("object"), start=1):
        left, top, right, bottom = (_number(entry.findtext(f"bndbox/{name}")) for name in CORNERS)
        label = (entry.findtext("name") or "").strip()
        yield Box(
            frame,
            left,
            top,
            right - left,
            bottom - top,
            label,
            f"{file_name} object {number}",
            stated=size,
            skip="" if label else "object without a name",
        )


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
