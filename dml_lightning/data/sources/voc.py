"""Pascal VOC XML: one file per frame."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element

from dml_lightning.data.sources.base import NOT_ANNOTATED, Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.checks import warn_of_one_based
from dml_lightning.data.sources.files import FrameFinder, frame_names, list_frames
from dml_lightning.data.sources.parse import XmlError, as_number, read_xml
from dml_lightning.data.sources.report import ReadReport

CORNER_TAGS = ("xmin", "ymin", "xmax", "ymax")
Unlabelled = Literal["skip", "empty"]


class PascalVoc(Source):
    """Reads Pascal VOC boxes; by default the width is xmax - xmin, as in published thermal sets.

    A frame whose XML file has no object is a background frame, as is one without an XML file that a list below
    ImageSets names. Any other frame without an XML file is reported and not used, because it may show
    animals.

    Args:
        root: The data set's folder.
        annotations: Folder of the XML files, relative to the root.
        images: Folder of the frames, relative to the root.
        group_by: See `Source`.
        one_based: Whether corners count pixels from 1, as PASCAL's own and supervision's do.
        inclusive: Whether xmax and ymax are the last pixel of the box, and not the edge behind it, so that the width
            is xmax - xmin + 1. By default the same as one_based.
        unlabelled: Whether frames without an XML file that are in no list are left out ("skip") or count as background
            ("empty").
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str = "Annotations",
        images: str = "JPEGImages",
        group_by: str = "parent",
        one_based: bool = False,
        inclusive: bool | None = None,
        unlabelled: Unlabelled = "skip",
    ) -> None:
        super().__init__(root, group_by)
        self.annotations = annotations
        self.images = images
        self.one_based = one_based
        self.inclusive = one_based if inclusive is None else inclusive
        self.unlabelled = unlabelled

    def scan(self, report: ReadReport) -> Scan:
        """Reads every XML file."""
        folder = self.root / self.annotations
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".xml" and p.is_file())
        if not files:
            raise ValueError(f"There is no XML file in {folder}: name the folder with annotations.")
        finder = FrameFinder()
        frames: list[Path] = []
        boxes: list[Box] = []
        for file in files:
            try:
                tree = read_xml(file)
            except XmlError as error:
                report.skip("XML file cannot be parsed", str(error))
                continue
            frame = self._frame(file, tree, finder)
            frames.append(frame)
            boxes += self._boxes(file.name, frame, tree)
        frames += self._listed(set(frames))
        rest = sorted(set(list_frames(self.root / self.images)) - set(frames))
        if self.unlabelled == "empty":
            return Scan([*frames, *rest], boxes)
        return Scan(frames, boxes, unused=dict.fromkeys(rest, NOT_ANNOTATED))

    def check_boxes(self, boxes: Sequence[Box], sizes: dict[Path, tuple[int, int]], report: ReadReport) -> None:
        """Warns where corners seem to count from 1."""
        super().check_boxes(boxes, sizes, report)
        if not self.one_based:
            warn_of_one_based(boxes, sizes, report)

    def _frame(self, file: Path, tree: Element, finder: FrameFinder) -> Path:
        """Finds the frame by the stated name, else by the XML file's; in the XML file's own sub-folder first."""
        below = file.parent.relative_to(self.root / self.annotations)
        own = [self.root / self.images / below, file.parent] if below.parts else []
        folders = [self.root / self.images, file.parent, self.root]
        stems = [str(below / file.stem), file.stem] if below.parts else [file.stem]
        also = [name for stem in stems for name in frame_names(stem)]
        name = (tree.findtext("filename") or "").strip() or file.stem
        return finder.find(name, folders, file.name, own=own, also=also, once=True)

    def _listed(self, annotated: set[Path]) -> Iterator[Path]:
        """Yields frames that the lists of ImageSets/Main name and that have no XML file."""
        finder, stems = FrameFinder(), {frame.stem for frame in annotated}
        for file in sorted((self.root / "ImageSets" / "Main").glob("*.txt")):
            for number, line in enumerate(file.read_text("utf-8-sig", "replace").splitlines(), start=1):
                fields = line.split()
                marked = len(fields) > 1 and fields[-1] in ("-1", "0", "1")  # whether the frame shows a class
                name = line.strip().rsplit(maxsplit=1)[0] if marked else line.strip()
                if not name or Path(name).name in stems:
                    continue
                frame = finder.find(
                    name, [self.root / self.images], f"{file.name} line {number}", also=frame_names(name)
                )
                if frame not in annotated:
                    yield frame

    def _boxes(self, file_name: str, frame: Path, tree: Element) -> Iterator[Box]:
        stated = as_number(tree.findtext("size/width")), as_number(tree.findtext("size/height"))
        size = (int(stated[0]), int(stated[1])) if all(map(math.isfinite, stated)) else None
        first, last = float(self.one_based), float(self.inclusive)
        for number, entry in enumerate(tree.iter("object"), start=1):
            left, top, right, bottom = (as_number(entry.findtext(f"bndbox/{name}")) for name in CORNER_TAGS)
            label = (entry.findtext("name") or "").strip()
            yield Box(
                frame,
                left - first,
                top - first,
                right - left + last,
                bottom - top + last,
                label,
                f"{file_name} object {number}",
                stated=size,
                skip="" if label else "object without a name",
            )
