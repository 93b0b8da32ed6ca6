"""LabelMe JSON: one file beside each frame."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from dml_lightning.data.sources.base import NOT_ANNOTATED, Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.files import FrameFinder, frame_names, list_frames
from dml_lightning.data.sources.parse import as_number, as_size, as_text, parse_json
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.data.sources.shapes import NO_BOX, Sides, around, around_circle

CORNERS = {"rectangle": 2, "polygon": 3, "oriented_rectangle": 4, "rotation": 4}  # shape -> least number of points


class LabelMe(Source):
    """Reads LabelMe's boxes: rectangles, and the boxes around polygons, turned rectangles and circles.

    The frame is `imagePath`, never the 8-bit copy in `imageData`. A frame whose file has no shapes is a background
    frame; a frame without a file is reported and not used, because it may show animals. The `flight` that `dml predict
    --write labelme` states is the group, unless group_by says otherwise.

    Args:
        root: The data set's folder, whose JSON files lie beside the frames.
        images: Folder of the frames where they lie elsewhere, relative to the root.
        group_by: See `Source`.
        unlabelled: Whether frames without a JSON file are left out ("skip") or count as background ("empty").
        min_score: Smallest `score` of the shapes to keep, which tools that draw by a model add; None keeps all.
    """

    def __init__(
        self,
        root: str | Path,
        images: str | None = None,
        group_by: str = "parent",
        unlabelled: Literal["skip", "empty"] = "skip",
        min_score: float | None = None,
    ) -> None:
        super().__init__(root, group_by)
        self.images = images
        self.unlabelled = unlabelled
        self.min_score = min_score

    def scan(self, report: ReadReport) -> Scan:
        """Reads every JSON file with shapes."""
        files = sorted(path for path in self.root.rglob("*.json") if not path.name.startswith("."))
        finder = FrameFinder()
        frames: list[Path] = []
        boxes: list[Box] = []
        groups: dict[Path, str] = {}
        for file in files:
            content = parse_json(file)
            if not is_labelme(content):
                report.skip("JSON file without LabelMe's shapes", str(file.relative_to(self.root)))
                continue
            frame = self._frame(file, content, finder)
            frames.append(frame)
            if self.group_by == "parent" and (flight := as_text(content.get("flight"))):
                groups[frame] = flight
            boxes += _boxes(file.name, frame, content)
        if not frames:
            raise ValueError(f"There is no JSON file of LabelMe in {self.root}: it has shapes and imagePath.")
        rest = sorted(set(list_frames(self.root / (self.images or "."))) - set(frames))
        if self.unlabelled == "empty":
            return Scan([*frames, *rest], boxes, groups)
        return Scan(frames, boxes, groups, dict.fromkeys(rest, NOT_ANNOTATED))

    def _frame(self, file: Path, content: dict[str, Any], finder: FrameFinder) -> Path:
        folders = [file.parent] if self.images is None else [self.root / self.images]
        name = as_text(content.get("imagePath")) or file.stem
        return finder.find(name, folders, file.name, also=frame_names(file.stem), once=True)


def is_labelme(content: Any) -> bool:
    """Whether parsed JSON is a file of LabelMe.

    >>> is_labelme({"shapes": [], "imagePath": "a.tif"})
    True
    """
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def _boxes(file_name: str, frame: Path, content: dict[str, Any]) -> Iterator[Box]:
    stated = as_size(content.get("imageWidth"), content.get("imageHeight"))
    for number, shape in enumerate(content["shapes"], start=1):
        where = f"{file_name} shape {number}"
        if not isinstance(shape, dict):
            shape = {}
        kind = as_text(shape.get("shape_type")) or "polygon"  # files from before shape types hold polygons
        label = as_text(shape.get("label"))
        sides, bounds = _sides(kind, shape.get("points"))
        skip = "" if label else "shape without a label"
        if not bounds:
            skip = f"shape that is no box: {kind}"
        yield Box(frame, *sides, label, where, stated=stated, skip=skip, score=_score(shape))


def _score(shape: dict[str, Any]) -> float:
    """Returns the score that tools that draw by a model add: `score`, or `conf` from MegaDetector's converter."""
    return as_number(shape.get("score", shape.get("conf")))


def _sides(kind: str, points: Any) -> tuple[Sides, bool]:
    """Returns the box around a shape, and whether shapes of this kind bound an animal."""
    try:
        pairs = [(as_number(x), as_number(y)) for x, y in points]
    except (TypeError, ValueError):
        return NO_BOX, kind in CORNERS
    if kind == "circle" and len(pairs) == 2:
        (x, y), (rim_x, rim_y) = pairs
        radius = ((rim_x - x) ** 2 + (rim_y - y) ** 2) ** 0.5
        return around_circle(x, y, radius, radius), True
    enough = len(pairs) >= CORNERS.get(kind, 1)
    return around(pairs) if enough else NO_BOX, kind in CORNERS or kind == "circle"
