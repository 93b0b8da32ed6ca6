"""Background crops: away from everything that is marked, the same for a frame whatever else is there."""

from pathlib import Path

import pandas as pd
import pytest

from dml_lightning.data.background import BACKGROUND, background_sides, sample_background
from dml_lightning.data.sources import Reading, ReadReport
from dml_lightning.data.table import READER_COLUMNS
from tests.data.making import boxes_in, gap, make_frames

BOX = ["x", "y", "width", "height"]


def test_background_keeps_away_from_every_box(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, 8)
    boxes = boxes_in(frames)
    rows, missing = sample_background(frames, boxes, 4, seed=1, margin=6.0)
    assert list(rows.columns) == list(READER_COLUMNS)
    assert len(rows) + missing == 32
    assert len(rows) > 16
    assert set(rows["label"]) == {BACKGROUND}
    groups = dict(zip(frames["frame"], frames["group"], strict=True))
    for _, row in rows.iterrows():
        assert row.width == row.height
        assert min(row.x, row.y) >= 0
        assert row.x + row.width <= 120
        assert row.y + row.height <= 100
        assert row.group == groups[row.frame]
        for _, box in boxes[boxes["frame"] == row.frame].iterrows():
            assert gap(row, box) >= 6.0 + row.width / 4 - 1e-9
    for _, crops in rows.groupby("frame"):
        for i in range(len(crops)):
            for j in range(i):
                assert gap(crops.iloc[i], crops.iloc[j]) >= 0


def test_what_a_background_crop_shows_around_its_box_holds_no_object(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, 20)
    boxes = boxes_in(frames)
    for context, min_side in ((0.0, 40.0), (6.0, 0.0)):
        rows = sample_background(frames, boxes, 2, sides=[6.0], context=context, min_side=min_side).rows
        assert len(rows)
        shown = max(6 * (1 + context), min_side)
        for _, row in rows.iterrows():
            for _, box in boxes[boxes["frame"] == row.frame].iterrows():
                assert gap(row, box) >= (shown - 6) / 2


def test_background_keeps_as_far_as_a_crop_in_metres_shows_in_its_frame(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, 20)
    boxes, shown = boxes_in(frames), {frame: 20.0 + n for n, frame in enumerate(frames["frame"])}
    rows = sample_background(frames, boxes, 2, sides=[6.0], shown_sides_of=shown).rows
    assert len(rows)
    for _, row in rows.iterrows():
        for _, box in boxes[boxes["frame"] == row.frame].iterrows():
            assert gap(row, box) >= (shown[row.frame] - 6) / 2


def test_background_sides_come_from_the_boxes(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, 8)
    boxes = boxes_in(frames)
    rows = sample_background(frames, boxes, 4).rows
    longer = set(boxes[["width", "height"]].max(axis=1))
    assert set(rows["width"]) <= longer
    assert rows["width"].nunique() > 8
    fixed = sample_background(frames, boxes, 4, sides=[7.0]).rows
    assert set(fixed["width"]) == {7.0}


def test_background_of_a_frame_does_not_depend_on_the_others(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, 8)
    boxes = boxes_in(frames)
    whole = sample_background(frames, boxes, 3, sides=[8.0], seed=5).rows
    shuffled = sample_background(frames.sample(frac=1, random_state=0), boxes.iloc[::-1], 3, sides=[8.0], seed=5).rows
    order = ["frame", "x", "y"]
    pd.testing.assert_frame_equal(
        whole.sort_values(order, ignore_index=True), shuffled.sort_values(order, ignore_index=True)
    )
    alone = sample_background(frames.iloc[[2]], boxes, 3, sides=[8.0], seed=5).rows
    pd.testing.assert_frame_equal(alone, whole[whole["frame"] == frames["frame"][2]].reset_index(drop=True))
    other = sample_background(frames, boxes, 3, sides=[8.0], seed=6).rows
    assert not other[["x", "y"]].equals(whole[["x", "y"]])


def test_background_survives_moving_the_data(tmp_path: Path) -> None:
    results = []
    for name in ("one", "two"):
        frames = make_frames(tmp_path / name, 4)
        results.append(sample_background(frames, boxes_in(frames), 3, seed=5).rows[BOX])
    pd.testing.assert_frame_equal(*results)


def test_frames_of_the_same_size_get_different_places(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, 4)
    rows = sample_background(frames, boxes_in(frames).iloc[:0], 1, sides=[8.0]).rows
    assert rows[["x", "y"]].drop_duplicates().shape[0] == 4


def test_background_covers_the_whole_frame(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, 60, size=(20, 10))
    rows = sample_background(frames, boxes_in(frames).iloc[:0], 1, sides=[8.0]).rows
    assert (rows["x"].min(), rows["x"].max()) == (0, 12)
    assert (rows["y"].min(), rows["y"].max()) == (0, 2)


def test_no_room_gives_fewer_and_counts_them(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, 2, size=(20, 20))
    boxes = boxes_in(frames).iloc[:0]
    full = boxes_in(frames).iloc[[0]].assign(x=0.0, y=0.0, width=20.0, height=20.0)
    assert full["frame"].iloc[0] == frames["frame"][0]
    rows, missing = sample_background(frames, full, 2, sides=[8.0])
    assert len(rows) + missing == 4
    assert set(rows["frame"]) == {frames["frame"][1]}
    rows, missing = sample_background(frames, boxes, 2, sides=[21.0])
    assert (len(rows), missing) == (0, 4)
    assert list(rows.columns) == list(READER_COLUMNS)
    assert sample_background(frames, boxes, 0, sides=[8.0]).missing == 0


@pytest.mark.parametrize(
    "options", [{"per_frame": -1}, {"seed": -1}, {"margin": -1.0}, {"sides": []}, {"sides": [0.0]}]
)
def test_background_checks_its_numbers(tmp_path: Path, options: dict[str, object]) -> None:
    frames = make_frames(tmp_path, 1)
    with pytest.raises(ValueError, match=r"must be at least 0|need sides of more than 0 px"):
        sample_background(frames, boxes_in(frames), **{"per_frame": 1, **options})


def test_sides_are_those_of_the_known_boxes_or_drawn_from_a_range() -> None:
    sides = {"width": [4.0, 9.0, 30.0], "height": [6.0, 3.0, 30.0]}
    reading = Reading(pd.DataFrame({**sides, "label": ["duck", "duck", "stone"]}), pd.DataFrame(), ReadReport())
    place = {"duck": "known", "stone": "ood_test"}
    assert background_sides(reading, place, None) == [6.0, 9.0]
    assert set(background_sides(reading, place, 7.0)) == {7.0}
    drawn = background_sides(reading, place, (5.0, 15.0))
    assert (drawn[0], drawn[1], drawn[-1]) == pytest.approx((5.0, 5.1, 15.0))
    for wrong in (0.0, (9.0, 5.0)):
        with pytest.raises(ValueError, match=r"background_side .* must be px above 0"):
            background_sides(reading, place, wrong)
