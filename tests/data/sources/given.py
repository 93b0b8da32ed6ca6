"""A source that yields the boxes that a test gives, over frames of 40x30 px."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dml_lightning.data.sources import Box, ReadReport, Scan, Source
from dml_lightning.data.sources.files import list_frames
from tests.data.sources import making

WIDTH, HEIGHT = 40, 30


def picture(path: Path) -> Path:
    """Writes a frame of 40x30 px."""
    return making.picture(path, (WIDTH, HEIGHT))


class Given(Source):
    """A layout that yields what the test gives."""

    def __init__(self, root: Path, boxes: Sequence[Box], **options: str) -> None:
        super().__init__(root, **options)
        self.boxes = boxes

    def scan(self, report: ReadReport) -> Scan:
        return Scan(list_frames(self.root), self.boxes)


def box(frame: Path, *sides: float, label: str = "duck", where: str = "row", **more: Any) -> Box:
    """A box of a duck, at (1, 2) and 3x4 px unless its sides are given."""
    x, y, width, height = sides or (1.0, 2.0, 3.0, 4.0)
    return Box(frame, x, y, width, height, label, where, **more)
