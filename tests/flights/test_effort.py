"""The table of frames beside predictions: every frame once, and the same boxes in both tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from dml_lightning.data.frames import FrameError
from dml_lightning.data.sources.recognise import read_source
from dml_lightning.flights.effort import check_same, frames_path, frames_table, open_frames, read_frames

LINES = ["frame,x,y,width,height,flight", "a.tiff,1,1,8,8,dawn", "a.tiff,9,9,8,8,dawn", "b.tiff,,,,,dusk"]


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Frames of two flights: two boxes, none, and one that is missing."""
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tiff", np.full((40, 40), 9, np.uint16))
    (tmp_path / "boxes.csv").write_text("\n".join([*LINES, "c.tiff,1,1,8,8,dusk"]))
    reading = read_source(tmp_path / "boxes.csv", "skip", allow_empty=True)
    return frames_table(reading, {str(tmp_path / "a.tiff"): 2}, {}, "A", "0123-0")


def test_every_frame_stands_in_it_once(table: pd.DataFrame, tmp_path: Path) -> None:
    rows = [(Path(row.frame).name, row.group, row.boxes, row.used, row.reason) for row in table.itertuples()]
    assert rows == [
        ("a.tiff", "dawn", 2, True, ""),
        ("b.tiff", "dusk", 0, True, ""),
        ("c.tiff", "dusk", 0, False, "frame file is missing"),
    ]
    predictions = tmp_path / "p.csv"
    assert read_frames(predictions) is None
    table.to_csv(frames_path(predictions), index=False)
    found = read_frames(predictions)
    assert found is not None
    pd.testing.assert_frame_equal(found, table, check_dtype=False)


def test_a_frame_that_cannot_be_read_is_no_frame_without_a_bird(tmp_path: Path) -> None:
    good, cut = tmp_path / "good.tiff", tmp_path / "cut.tiff"
    for path in (good, cut):
        tifffile.imwrite(path, np.full((40, 40), 9, np.uint16))
    cut.write_bytes(cut.read_bytes()[:1000])
    bad: dict[str, str] = {}
    open_frames([str(good), str(cut)], "skip", bad)
    assert list(bad) == [str(cut)]
    assert "truncated" in bad[str(cut)]
    with pytest.raises(FrameError, match="truncated"):
        open_frames([str(cut)], "stop", bad)


def test_boxes_that_differ_between_the_tables_are_refused(table: pd.DataFrame, tmp_path: Path) -> None:
    frame = str(tmp_path / "a.tiff")
    boxes = pd.DataFrame({"frame": [frame, frame], "group": "dawn", "rule": "A", "gallery": "0123-0"})
    check_same(tmp_path / "p.csv", boxes, table)
    check_same(tmp_path / "p.csv", boxes[:0], table.assign(boxes=0))
    for wrong in (boxes[:1], pd.concat([boxes, boxes[:1]]), boxes[:0]):
        with pytest.raises(ValueError, match=f"has {len(wrong)} boxes of {frame} and p.frames.csv 2"):
            check_same(tmp_path / "p.csv", wrong, table)
    with pytest.raises(ValueError, match=r"has 2 boxes of elsewhere\.tiff and p\.frames\.csv 0"):
        check_same(tmp_path / "p.csv", boxes.assign(frame="elsewhere.tiff"), table.assign(boxes=0))
    for name, value in (("rule", "B"), ("gallery", "0123-1")):
        with pytest.raises(ValueError, match=f"differ in {name}, {value} and"):
            check_same(tmp_path / "p.csv", boxes.assign(**{name: value}), table)


def test_a_box_never_changes_its_flight_or_lies_in_a_frame_that_was_not_used(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    frame = str(tmp_path / "a.tiff")
    boxes = pd.DataFrame({"frame": [frame, frame], "group": "dawn", "rule": "A", "gallery": "0123-0"})
    with pytest.raises(ValueError, match=rf"has {frame} in the flight noon, and p\.frames\.csv in dawn: give"):
        check_same(tmp_path / "p.csv", boxes.assign(group=["dawn", "noon"]), table)
    both = {"dawn": "noon"}
    check_same(tmp_path / "p.csv", boxes.replace({"group": both}), table.replace({"group": both}))
    with pytest.raises(ValueError, match=rf"has 2 boxes of {frame} and p\.frames\.csv 0"):
        check_same(tmp_path / "p.csv", boxes, table.assign(used=False))
    with pytest.raises(ValueError, match="it lacks frame"):
        check_same(tmp_path / "p.csv", boxes.drop(columns="frame"), table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="used"), "lacks used"),
        (lambda table: table[:0], "has no rows"),
        (lambda table: table.assign(used="yes"), "used must be True or False"),
        (lambda table: table.assign(boxes=0.5), "boxes a whole number"),
        (lambda table: table.assign(group=["dawn", "", "dusk"]), "row 3 has no group: it must be the name of a flight"),
        (lambda table: table.assign(min_score="low"), "min_score must be a number or empty"),
        (lambda table: pd.concat([table, table[1:2]]), r"row 5 lists .*b\.tiff once more"),
    ],
)
def test_other_tables_are_refused(table: pd.DataFrame, tmp_path: Path, change: object, message: str) -> None:
    assert callable(change)
    change(table).to_csv(tmp_path / "p.frames.csv", index=False)
    with pytest.raises(ValueError, match=message):
        read_frames(tmp_path / "p.csv")
