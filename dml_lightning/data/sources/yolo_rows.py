"""One row of a YOLO label file: class number and box, polygon, turned box or pose, perhaps with score and track."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

TURNED = 8  # values of a box as four corners
EDGE = 0.001  # fractions are rounded; a polygon leaves its frame by no more
BOX, TRACKED_BOX, TRACKED_TURNED = 4, 6, 10  # numbers of values after the class


class Row(NamedTuple):
    """Box of one row, in fractions of the frame, with its score and a note on how it was read."""

    x: float  # left
    y: float  # top
    width: float
    height: float
    score: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class RowForms:
    """Meaning of the rows whose number of values is ambiguous; decided once for a data set.

    A fifth value is a score or a track's number; six values are a box with both, or a triangle; ten are a turned box
    with both, or a pentagon. Tracks are counted 1, 2, 3, ..., so that a value above 1 settles it.

    >>> forms = RowForms.of([(0.5, 0.5, 0.25, 0.5)])
    >>> forms.read((0.5, 0.5, 0.25, 0.5))[:4]
    (0.375, 0.25, 0.25, 0.5)
    >>> forms.read((0.5, 0.5))
    'label line has the wrong number of values'

    Attributes:
        keypoints: Number of values of a pose after its box; 0 where the set has no poses.
        tracked: Numbers of values of those rows whose last value is a track's number.
        polygons: Whether some row is certainly a polygon.
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
        """Reads the values after the class number; returns the reason as a text where they cannot be read."""
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
        """Returns the value after the first `at`, unless it is the number of a track; NaN without one."""
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
