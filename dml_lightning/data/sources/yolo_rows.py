"""One row of a YOLO label file: class number and box, polygon, turned box or pose, perhaps with score and track."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

TURNED = 8  # values of a box as four corners
EDGE = 0.001  # fractions are rounded; a polygon leaves its frame by no more
BOX, TRACKED_BOX, TRACKED_TURNED = 4, 6, 10  # numbers of values after the class


class Row(NamedTuple):
    """What one row says, in fractions of the frame."""

    x: float  # left
    y: float  # top
    width: float
    height: float
    score: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class RowForms:
    """How rows are read whose number of values has two meanings; decided once for a data set.

    A fifth value is a score or a track's number; six values are a box with both, or a triangle; ten are a turned box
    with both, or a pentagon. Tracks are counted 1, 2, 3, ..., so that a value above 1 settles it.

    Attributes:
        keypoints: Values of a pose after the box; 0 where the set has none.
        tracked: Numbers of values whose last one is a track's number.
        polygons: Whether some row is a polygon beyond doubt.
    """

    keypoints: int = 0
    tracked: frozenset[int] = frozenset()
    polygons: bool = False

    @staticmethod
    def of(rows: Iterable[Sequence[float]], keypoints: int = 0) -> "RowForms":
        """Looks at all rows (values after the class number) of a data set."""
        tracked: set[int] = set()
        polygons = False
        for values in rows:
            extra = len(values) - keypoints
            if extra in (BOX + 1, TRACKED_BOX, TRACKED_TURNED) and values[-1] > 1 and values[-1].is_integer():
                tracked.add(extra)
            polygons |= not keypoints and len(values) > TURNED and _is_polygon(values)
        return RowForms(keypoints, frozenset(tracked), polygons)

    def read(self, values: Sequence[float]) -> Row | str:
        """Reads the values after the class number; a text says why they cannot be read."""
        if self.keypoints:
            extra = [*values[:BOX], *values[BOX + self.keypoints :]]
            if len(values) < BOX + self.keypoints or len(extra) > TRACKED_BOX:
                return "label line has not the number of values that kpt_shape asks for"
            return self._box(extra)
        if len(values) in (BOX, BOX + 1):
            return self._box(values)
        if len(values) == TRACKED_BOX and self._has_track(values):
            return self._box(values)
        if len(values) in (TURNED, TURNED + 1):
            return self._turned(values)
        if len(values) == TRACKED_TURNED and self._has_track(values):
            return self._turned(values)
        if len(values) < TRACKED_BOX or len(values) % 2:
            return "label line has the wrong number of values"
        if not all(math.isfinite(value) for value in values):
            return "box is not four finite numbers"
        if not _is_polygon(values):
            return "polygon has a corner outside of its frame"
        if values[-1] == 1 and len(values) == TRACKED_BOX and not self.polygons:
            return "label line is either a triangle or a box with score and track 1"
        return _bounding(values)

    def _has_track(self, values: Sequence[float]) -> bool:
        return len(values) in self.tracked and values[-1].is_integer()

    def _score(self, values: Sequence[float], at: int) -> float:
        """The value after a box's own, unless it is the number of a track."""
        if len(values) == at or (len(values) == at + 1 and at == BOX and at + 1 in self.tracked):
            return math.nan
        return values[at]

    def _box(self, values: Sequence[float]) -> Row | str:
        x, y, width, height = values[:BOX]
        score = self._score(values, BOX)
        if score > 1 or score < 0:
            return "score is not between 0 and 1"
        return Row(x - width / 2, y - height / 2, width, height, score)

    def _turned(self, values: Sequence[float]) -> Row | str:
        score = self._score(values, TURNED)
        if score > 1 or score < 0:
            return "score is not between 0 and 1"
        return _bounding(values[:TURNED])._replace(score=score)


def _is_polygon(values: Sequence[float]) -> bool:
    return len(values) >= 6 and len(values) % 2 == 0 and min(values) >= -EDGE and max(values) <= 1 + EDGE


def _bounding(values: Sequence[float]) -> Row:
    left, top = min(values[0::2]), min(values[1::2])
    sides = max(values[0::2]) - left, max(values[1::2]) - top
    return Row(left, top, *sides, note="polygon read as its bounding box")
