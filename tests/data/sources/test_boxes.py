"""Boxes on their way into the crop table: placed in px, clipped, skipped for a reason, deduplicated."""

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.data.sources import Box, ReadReport
from dml_lightning.data.sources.boxes import boxes_table, usable_boxes
from dml_lightning.data.table import READER_COLUMNS
from tests.data.sources.given import HEIGHT, WIDTH, Given, box, picture

FRAME = Path("/f0/a.png")
SIZES = {FRAME: (WIDTH, HEIGHT)}


def test_boxes_are_clipped_skipped_and_counted(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    sides = {
        "inside": (0.0, 0.0, 40.0, 30.0),
        "left": (-3.0, 5.0, 10.0, 4.0),
        "corner": (35.0, 28.0, 10.0, 10.0),
        "rounding": (30.005, 1.0, 10.0, 4.0),
        "beside": (40.0, 5.0, 3.0, 3.0),
        "above": (5.0, -9.0, 3.0, 9.0),
        "flat": (5.0, 5.0, 0.0, 3.0),
        "negative": (5.0, 5.0, 4.0, -3.0),
        "nan": (5.0, np.nan, 4.0, 3.0),
        "infinite": (5.0, 5.0, np.inf, 3.0),
        "twin": (0.0, 0.0, 40.0, 30.0),
    }
    reading = Given(tmp_path, [box(path, *s, where=name) for name, s in sides.items()]).read()
    np.testing.assert_allclose(
        reading.table[["x", "y", "width", "height"]].to_numpy(),
        [[0, 0, 40, 30], [0, 5, 7, 4], [35, 28, 5, 2], [30.005, 1, 9.995, 4]],
    )
    assert reading.report.skipped == {
        "box lies outside the frame": 2,
        "box has no area": 2,
        "box is not four finite numbers": 2,
        "duplicate of another box": 1,
    }
    assert reading.report.changed == {"box clipped at the frame's edge": 2}
    assert reading.report.examples["box has no area"] == ["flat", "negative"]
    text = str(reading.report)
    assert "skipped 2: box has no area (e.g. flat; negative)" in text
    assert "noted 2: box clipped at the frame's edge (e.g. left; corner)" in text


@settings(max_examples=200, deadline=None)
@given(sides=st.tuples(*[st.floats(-60, 60, allow_nan=False)] * 2, *[st.floats(-5, 90, allow_nan=False)] * 2))
def test_a_kept_box_is_the_overlap_with_its_frame(sides: tuple[float, ...]) -> None:
    report = ReadReport()
    kept, _ = usable_boxes([box(FRAME, *sides)], SIZES, report)
    x, y, width, height = sides
    across = min(x + width, WIDTH) - max(x, 0)
    down = min(y + height, HEIGHT) - max(y, 0)
    if kept:
        np.testing.assert_allclose(kept[0][1:5], (max(x, 0), max(y, 0), across, down), atol=1e-9, rtol=1e-12)
        assert min(kept[0].width, kept[0].height) > 0
    else:
        assert min(width, height, across, down) <= 1e-9
        assert sum(report.skipped.values()) == 1


def test_a_box_inside_keeps_its_exact_numbers(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    table = Given(tmp_path, [box(path, 1.1, 0.2, 0.7, 0.3)]).read().table
    assert table.iloc[0, 1:5].tolist() == [1.1, 0.2, 0.7, 0.3]


def test_relative_boxes_are_fractions_of_the_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    table = Given(tmp_path, [box(path, 0.25, 0.5, 0.5, 0.1, relative=True)]).read().table
    np.testing.assert_allclose(table.iloc[0, 1:5].tolist(), [10, 15, 20, 3])


def test_a_stated_size_must_be_that_of_the_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    stated = [(WIDTH, HEIGHT), (HEIGHT, WIDTH), (0, 0), (80, 60)]  # swapped and absent are common
    boxes = [box(path, n, 1.0, 2.0, 2.0, stated=s) for n, s in enumerate(stated)]
    reading = Given(tmp_path, boxes).read()
    assert reading.table["x"].tolist() == [0, 1, 2]
    reason = "stated frame size differs from the file's"
    assert reading.report.examples[reason] == ["row: 80x60, file 40x30"]


def test_a_box_on_the_stored_pixels_of_a_turned_frame_is_left_out(tmp_path: Path) -> None:
    """Of a frame that a tag turns onto its side the stored size is the swapped one, and a box there lies elsewhere."""
    path, turned = tmp_path / "a.tif", tmp_path / "b.tif"
    for frame, tag in ((path, 3), (turned, 6)):
        tifffile.imwrite(frame, np.zeros((30, 40), np.uint16), extratags=[(274, 3, 1, tag, False)])
    stored, upright = (40, 30), (30, 40)
    given = [(path, 1.0, upright), (turned, 2.0, upright), (turned, 3.0, stored)]
    boxes = [box(frame, x, 2.0, 3.0, 4.0, stated=size) for frame, x, size in given]
    reading = Given(tmp_path, boxes).read()
    assert reading.table["x"].tolist() == [1, 2]
    reason = "box was drawn on the stored pixels, which the frame's orientation tag turns"
    assert reading.report.examples[reason] == ["row: 40x30, file 30x40"]


def test_one_box_with_two_labels_is_noted_and_kept(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    reading = Given(tmp_path, [box(path), box(path, label="teal", where="row 2")]).read()
    assert reading.table["label"].tolist() == ["duck", "teal"]
    assert reading.report.examples["same box with two labels"] == ["row 2: duck, teal"]


def test_boxes_with_a_reason_to_skip_become_obstacles(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    crowd = box(path, 30.0, 20.0, 20.0, 20.0, where="crowd", skip="iscrowd annotation")
    reading = Given(tmp_path, [box(path), crowd]).read()
    assert len(reading.table) == 1
    assert reading.report.skipped["iscrowd annotation"] == 1
    assert reading.obstacles.to_numpy().tolist() == [[str(path), 30.0, 20.0, 10.0, 10.0]]


def test_a_box_that_is_given_twice_keeps_its_higher_score() -> None:
    scores = [math.nan, 0.2, 0.9, 0.4, math.nan]
    report = ReadReport()
    kept, _ = usable_boxes([box(FRAME, score=score) for score in scores], SIZES, report)
    assert [each.score for each in kept] == [0.9]
    assert report.skipped == {"duplicate of another box": 4}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (box(Path("/f0/b.png")), "box of a frame that is missing or cannot be read"),
        (box(FRAME, 12.0, 5.0, 8.0, 8.0, relative=True), "box is not given in fractions of its frame"),
    ],
)
def test_a_box_without_a_place_is_neither_kept_nor_an_obstacle(given: Box, reason: str) -> None:
    report = ReadReport()
    assert usable_boxes([given], SIZES, report) == ([], [])
    assert report.examples == {reason: ["row"]}


def test_boxes_come_in_the_order_of_their_frames_and_then_of_the_file() -> None:
    first, second = Path("/f0/a.png"), Path("/f0/b.png")
    given = [box(second, 9.0, 1.0, 2.0, 2.0), box(first, 5.0, 1.0, 2.0, 2.0), box(first, 3.0, 1.0, 2.0, 2.0)]
    kept, _ = usable_boxes(given, dict.fromkeys((first, second), (WIDTH, HEIGHT)), ReadReport())
    assert [each.x for each in kept] == [5.0, 3.0, 9.0]


def test_the_table_has_a_score_only_where_a_box_has_one() -> None:
    plain = boxes_table([box(FRAME)], {FRAME: "f0"})
    assert list(plain.columns) == list(READER_COLUMNS)
    assert plain.to_numpy().tolist() == [[str(FRAME), 1.0, 2.0, 3.0, 4.0, "duck", "f0"]]
    scored = boxes_table([box(FRAME), box(FRAME, 5, 6, 7, 8, score=0.5)])
    assert scored[["x", "y", "width", "height"]].dtypes.eq(np.float64).all()
    np.testing.assert_equal(scored["score"].tolist(), [np.nan, 0.5])
    empty = boxes_table([])
    assert (list(empty.columns), len(empty)) == (list(READER_COLUMNS), 0)
