"""Rows of YOLO label files of every length, and those whose meaning is not sure."""

import math

import numpy as np
import pytest

from dml_lightning.data.sources.yolo_rows import Row, RowForms

POLYGON = [0.1, 0.2, 0.3, 0.2, 0.3, 0.4, 0.1, 0.4, 0.2, 0.3, 0.2, 0.2]


def values(row: str) -> list[float]:
    return [float(value) for value in row.split()]


def read_set(*rows: str) -> list[Row | str]:
    """Reads rows as those of one data set."""
    numbers = [values(row) for row in rows]
    forms = RowForms.of(numbers)
    return [forms.read(row) for row in numbers]


@pytest.mark.parametrize(
    ("rows", "boxes", "scores"),
    [
        ([".5 .5 .1 .2"], [[0.45, 0.4, 0.1, 0.2]], [math.nan]),
        ([".5 .5 .1 .2 .87"], [[0.45, 0.4, 0.1, 0.2]], [0.87]),
        ([".5 .5 .1 .2 12"], [[0.45, 0.4, 0.1, 0.2]], [math.nan]),  # a track
        ([".5 .5 .1 .2 1", ".3 .5 .1 .2 2"], [[0.45, 0.4, 0.1, 0.2], [0.25, 0.4, 0.1, 0.2]], [math.nan] * 2),
        ([".5 .5 .1 .2 .87 7"], [[0.45, 0.4, 0.1, 0.2]], [0.87]),
        ([".5 .5 .1 .2 .87 1", ".3 .5 .1 .2 .5 2"], [[0.45, 0.4, 0.1, 0.2], [0.25, 0.4, 0.1, 0.2]], [0.87, 0.5]),
        ([".1 .2 .3 .2 .3 .4 .1 .4"], [[0.1, 0.2, 0.2, 0.2]], [math.nan]),  # turned, or a polygon of four corners
        ([".1 .2 .3 .2 .3 .4 .1 .4 .87"], [[0.1, 0.2, 0.2, 0.2]], [0.87]),
        ([".1 .2 .3 .2 .3 .4 .1 .4 .87 5"], [[0.1, 0.2, 0.2, 0.2]], [0.87]),
        ([".1 .2 .3 .2 .3 .4 .1 .4 .2 .3"], [[0.1, 0.2, 0.2, 0.2]], [math.nan]),  # five corners
        ([".1 .2 .3 .2 .2 .4"], [[0.1, 0.2, 0.2, 0.2]], [math.nan]),  # three corners
        ([".95 .2 1.05 .2 1.05 .4 .95 .4"], [[0.95, 0.2, 0.1, 0.2]], [math.nan]),  # turned beyond the edge
    ],
)
def test_rows_of_every_length(rows: list[str], boxes: list[list[float]], scores: list[float]) -> None:
    read = read_set(*rows)
    assert all(isinstance(row, Row) for row in read)
    np.testing.assert_allclose([row[:4] for row in read], boxes)
    np.testing.assert_equal([row.score for row in read], scores)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (".5 .5 .1", "label line has the wrong number of values"),
        (".1 .2 .3 .2 .3 1.4", "polygon has a corner outside of its frame"),
        (".1 .2 .3 .2 .3 1", "label line is either a triangle or a box with score and track 1"),
        (".5 .5 .1 .2 1.3", "score is not between 0 and 1"),
        (".5 .5 .1 .2 -.1", "score is not between 0 and 1"),
        (".5 .5 .1 .2 7.5 9", "score is not between 0 and 1"),
        (".1 .2 .3 .2 .3 .4 .1 .4 7.5", "score is not between 0 and 1"),
        (".1 .2 .3 .2 .3 nan", "box is not four finite numbers"),
        (".1 .2 .3 .2 .3 .4 .5", "label line has the wrong number of values"),
    ],
)
def test_rows_that_mean_nothing_sure(row: str, reason: str) -> None:
    assert read_set(".5 .5 .1 .1", row)[1] == reason


def test_what_is_read_as_its_bounding_box_has_a_note() -> None:
    rows = read_set(".5 .5 .1 .2 .87", ".1 .2 .3 .2 .3 .4 .1 .4", ".1 .2 .3 .2 .2 .4")
    assert [row.note for row in rows] == ["", *["polygon read as its bounding box"] * 2]


def test_a_triangle_at_the_edge_is_one_where_other_polygons_are() -> None:
    triangle = [0.5, 0.6, 0.7, 0.6, 0.7, 1.0]
    forms = RowForms.of([POLYGON, triangle])
    assert forms == RowForms(polygons=True)
    row = forms.read(triangle)
    assert isinstance(row, Row)
    assert row[:4] == pytest.approx((0.5, 0.6, 0.2, 0.4))


def test_a_pose_is_its_box_and_what_follows_the_points() -> None:
    points = [0.45, 0.5, 2, 0.55, 0.5, 0]
    box = [0.5, 0.5, 0.1, 0.2]
    forms = RowForms.of([[*box, *points, 0.9, 4.0]], keypoints=6)
    assert forms == RowForms(keypoints=6, tracked=frozenset({6}))
    expected = (pytest.approx(0.45), pytest.approx(0.4), 0.1, 0.2)
    np.testing.assert_equal(forms.read([*box, *points]).score, math.nan)
    for end in ([0.9], [0.9, 4.0]):
        assert forms.read([*box, *points, *end])[:5] == (*expected, 0.9)
    for wrong in ([*box, *points[:3]], [*box, *points, 0.9, 4.0, 1.0]):
        assert forms.read(wrong) == "label line has not the number of values that kpt_shape asks for"
