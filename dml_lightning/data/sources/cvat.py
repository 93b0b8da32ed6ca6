"""CVAT XML 1.1, for images and for video."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.files import FrameFinder, frame_names, list_frames
from dml_lightning.data.sources.parse import as_number, as_size, as_text, read_xml
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.data.sources.shapes import NO_BOX, Sides, around, around_circle, around_turned, turned_radii

KINDS = ("box", "polygon", "ellipse", "mask")  # of shapes that bound an animal
OTHERS = ("polyline", "points", "cuboid", "skeleton")


class CvatXml(Source):
    """Reads the boxes of "CVAT for images 1.1" and the tracks of "CVAT for video 1.1".

    A turned box, polygon, ellipse or mask is read as the upright box around it; other shapes are counted and skipped.
    Boxes of a track that are `outside` are left out. Every image that the XML file lists is a frame, and so is every
    frame file of a video that lies in the folder; those without a box are background.

    Args:
        root: The data set's folder.
        annotations: XML file, relative to the root; or files of images, as datumaro writes one for each subset.
        images: Folder of the frames, relative to the root. Default: the root, root/images and the XML file's folder.
        group_by: See `Source`.
        frame_name: Name of a video's frames without suffix, with `{frame}` for the number.

    Raises:
        ValueError: The frame_name cannot be filled in.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str | list[str] = "annotations.xml",
        images: str | None = None,
        group_by: str = "parent",
        frame_name: str = "frame_{frame:06d}",
    ) -> None:
        super().__init__(root, group_by)
        self.annotations, self.images, self.frame_name = annotations, images, frame_name
        try:
            frame_name.format(frame=1)
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(f"frame_name {frame_name!r} may use {{frame}} or {{frame:06d}} alone ({error}).") from None

    def scan(self, report: ReadReport) -> Scan:
        """Reads the XML files."""
        named = [self.annotations] if isinstance(self.annotations, str) else self.annotations
        finder = FrameFinder()
        frames: list[Path] = []
        boxes: list[Box] = []
        for file in (self.root / name for name in named):
            scan = self._scan_file(file, finder, report, alone=len(named) == 1)
            frames += scan.frames
            boxes += scan.boxes
        return Scan(frames, boxes)

    def _scan_file(self, file: Path, finder: FrameFinder, report: ReadReport, alone: bool) -> Scan:
        if not file.is_file():
            raise ValueError(f"There is no {file}: name the XML file with the option annotations.")
        tree = read_xml(file)
        if tree.tag != "annotations":
            raise ValueError(f"{file} begins with <{tree.tag}>: CVAT's XML begins with <annotations>.")
        images, tracks = tree.findall("image"), tree.findall("track")
        if images and tracks:
            raise ValueError(f"{file} has images and tracks: export a task as either, not both.")
        if tracks or (not images and tree.findtext("meta//mode") == "interpolation"):
            if not alone:
                raise ValueError(f"{file} is about a video, whose frames have numbers and no names: read it alone.")
            return self._video(file, tracks, finder, report)
        return self._pictures(file, images, finder)

    def _folders(self, file: Path) -> list[Path]:
        if self.images is not None:
            return [self.root / self.images]
        base = file.parent
        return list(dict.fromkeys([base, base / "images", self.root, self.root / "images"]))

    def _pictures(self, file: Path, images: list[Element], finder: FrameFinder) -> Scan:
        folders = self._folders(file)
        frames: list[Path] = []
        boxes: list[Box] = []
        for image in images:
            where = f"{file.name} image {image.get('id', '?')}"
            name = as_text(image.get("name"))
            if not name:
                raise ValueError(f"{where} has no name.")
            subset = [folder / image.get("subset", "") for folder in folders] if image.get("subset") else []
            frame = finder.find(name, folders, where, own=subset, once=True)
            stated = as_size(image.get("width"), image.get("height"))
            frames.append(frame)
            for number, shape in enumerate(shape for shape in image if shape.tag in (*KINDS, *OTHERS)):
                boxes.append(_box(frame, shape, as_text(shape.get("label")), f"{where} shape {number + 1}", stated))
        return Scan(frames, boxes)

    def _video(self, file: Path, tracks: list[Element], finder: FrameFinder, report: ReadReport) -> Scan:
        folders = [folder for folder in self._folders(file) if folder.is_dir()]
        pictures = [frame for folder in folders for frame in list_frames(folder, recursive=False)]
        flown = [frame for frame in pictures if self._is_named(frame)]
        boxes = [box for track in tracks for box in self._track(file, track, finder, report)]
        return Scan(flown, boxes)

    def _is_named(self, frame: Path) -> bool:
        """Whether the name of a picture follows frame_name."""
        number = re.search(r"\d+(?=\D*$)", frame.stem)
        return number is not None and self.frame_name.format(frame=int(number[0])) == frame.stem

    def _track(self, file: Path, track: Element, finder: FrameFinder, report: ReadReport) -> Iterator[Box]:
        where, label = f"{file.name} track {track.get('id', '?')}", as_text(track.get("label"))
        last: int | None = None  # number of the previous frame; None while the animal is outside of the picture
        for shape in (shape for shape in track if shape.tag in (*KINDS, *OTHERS)):
            number = as_number(shape.get("frame"))
            if not number.is_integer():
                raise ValueError(f"{where} has a shape without the number of its frame.")
            place = f"{where} frame {number:.0f}"
            if last is not None and number > last + 1:
                report.note("frames inside of a track that have no box of it: interpolate before export", place)
            last = None if shape.get("outside") == "1" else int(number)
            if last is not None:
                stem = self.frame_name.format(frame=last)
                also = frame_names(stem)
                yield _box(finder.find(stem, self._folders(file), place, also=also), shape, label, place)


def _box(frame: Path, shape: Element, label: str, where: str, stated: tuple[int, int] | None = None) -> Box:
    skip = "" if label else "shape without a label"
    if shape.tag in OTHERS:
        skip = f"shape that is no box: {shape.tag}"
    return Box(frame, *_sides(shape), label, where, stated=stated, skip=skip)


def _sides(shape: Element) -> Sides:
    """Returns the upright box around a shape; rotations are clockwise about its centre."""
    turn = as_number(shape.get("rotation", "0"))
    if shape.tag == "box":
        left, top, right, bottom = (as_number(shape.get(name)) for name in ("xtl", "ytl", "xbr", "ybr"))
        return around_turned((left, top, right - left, bottom - top), turn, ((left + right) / 2, (top + bottom) / 2))
    if shape.tag == "ellipse":
        x, y, across, down = (as_number(shape.get(name)) for name in ("cx", "cy", "rx", "ry"))
        return around_circle(x, y, *turned_radii(across, down, turn))
    if shape.tag == "mask":
        left, top, width, height = (as_number(shape.get(name)) for name in ("left", "top", "width", "height"))
        return left, top, width, height
    try:
        pairs = [part.split(",") for part in (shape.get("points") or "").split(";")]
        return around((as_number(x), as_number(y)) for x, y in pairs)
    except ValueError:
        return NO_BOX
