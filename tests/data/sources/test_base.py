"""What all readers share: groups, frames, clipping, skipping, the report."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.data.frames import FrameError
from dml_lightning.data.sources import Box, CropFolders, ReadReport, Scan, Source
from dml_lightning.data.sources.boxes import usable_boxes
from dml_lightning.data.sources.files import list_frames
from dml_lightning.data.table import READER_COLUMNS
from tests.data.sources import making

WIDTH, HEIGHT = 40, 30


def picture(path: Path) -> Path:
    return making.picture(path, (WIDTH, HEIGHT))


class Given(Source):
    """A layout that yields what the test gives."""

    def __init__(self, root: Path, boxes: Sequence[Box], **options: str) -> None:
        super().__init__(root, **options)
        self.boxes = boxes

    def scan(self, report: ReadReport) -> Scan:
        return Scan(list_frames(self.root), self.boxes)


def box(frame: Path, *sides: float, label: str = "duck", where: str = "row", **more: object) -> Box:
    return Box(frame, *(sides or (1.0, 2.0, 3.0, 4.0)), label, where, **more)


def test_a_reading_has_table_frames_and_report(tmp_path: Path) -> None:
    a, b = picture(tmp_path / "f1" / "a.png"), picture(tmp_path / "f0" / "b.PNG")
    empty = picture(tmp_path / "f0" / "empty.png")
    (tmp_path / "f0" / "._b.png").write_bytes(b"left by an archive")
    reading = Given(tmp_path, [box(a), box(b, 5.0, 6.0, 7.0, 8.0)]).read()
    assert list(reading.table.columns) == list(READER_COLUMNS)
    assert reading.table.index.equals(pd.RangeIndex(2))
    assert reading.table.to_numpy().tolist() == [
        [str(b), 5.0, 6.0, 7.0, 8.0, "duck", "f0"],
        [str(a), 1.0, 2.0, 3.0, 4.0, "duck", "f1"],
    ]
    assert reading.table.dtypes[["x", "y", "width", "height"]].eq(np.float64).all()
    assert reading.frames.to_numpy().tolist() == [[str(b), "f0"], [str(empty), "f0"], [str(a), "f1"]]
    assert str(reading.report) == "2 boxes in 3 frames"
    assert list(reading.obstacles.columns) == ["frame", "x", "y", "width", "height"]
    assert reading.obstacles.empty


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        ("parent", ["north/f0", "north/f1", "root"]),
        ("frame", ["north/f0/20180322_1.png", "north/f1/20180323_1.png", "20180322_2.png"]),
        (r"^\d{8}", ["20180322", "20180323", "20180322"]),
        (r"_(\d)\.png$", ["1", "1", "2"]),
        (r"20180(?P<day>\d+)", ["322", "323", "322"]),
    ],
)
def test_groups(tmp_path: Path, group_by: str, expected: list[str]) -> None:
    root = tmp_path / "root"
    names = ["north/f0/20180322_1.png", "north/f1/20180323_1.png", "20180322_2.png"]
    paths = [picture(root / name) for name in names]
    reading = Given(root, [box(path) for path in paths], group_by=group_by).read()
    groups = dict(zip(reading.table["frame"], reading.table["group"], strict=True))
    assert [groups[str(path)] for path in paths] == expected


@pytest.mark.parametrize("group_by", [r"^\d{8}", r"^(\d*)", r"^(\d{8})?"])
def test_a_file_name_that_gives_no_group_is_named(tmp_path: Path, group_by: str) -> None:
    path = picture(tmp_path / "duck.png")
    with pytest.raises(ValueError, match=r"The file name duck\.png .* gives no group"):
        Given(tmp_path, [box(path)], group_by=group_by).read()


def test_an_invalid_expression_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"group_by '\(' is no regular expression"):
        CropFolders(tmp_path, group_by="(")


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
    report, path = ReadReport(), Path("/a.png")
    kept, _ = usable_boxes([box(path, *sides)], {path: (WIDTH, HEIGHT)}, report)
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


def test_only_three_examples_are_kept() -> None:
    report = ReadReport()
    for number in range(9):
        report.skip("reason", f"row {number}")
    assert report.skipped["reason"] == 9
    assert report.examples["reason"] == ["row 0", "row 1", "row 2"]


def test_missing_frames_are_counted(tmp_path: Path) -> None:
    boxes = [box(picture(tmp_path / "a.png")), box(tmp_path / "b.png", where="row 7")]
    reading = Given(tmp_path, [*boxes, box(tmp_path / "b.png", where="row 8")]).read()
    assert len(reading.table) == 1
    assert reading.frames["frame"].tolist() == [str(tmp_path / "a.png")]
    assert reading.report.skipped["frame file is missing"] == 1
    reason = "box of a frame that is missing or cannot be read"
    assert reading.report.examples[reason] == ["row 7", "row 8"]


def test_nothing_usable_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"No usable box .*skipped 1: frame file is missing") as error:
        Given(tmp_path, [box(tmp_path / "b.png")]).read()
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="No usable box was found"):
        Given(tmp_path, []).read()


def test_a_bad_frame_stops_or_is_skipped(tmp_path: Path) -> None:
    good, bad = picture(tmp_path / "a.png"), tmp_path / "b.png"
    bad.write_bytes(b"")
    source = Given(tmp_path, [box(good), box(bad)])
    with pytest.raises(FrameError, match=r"b\.png: the file is empty"):
        source.read()
    reading = source.read(on_bad_frame="skip")
    assert reading.frames["frame"].tolist() == [str(good)]
    assert reading.report.skipped["frame cannot be read"] == 1


def test_unreadable_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist: give the folder"):
        CropFolders(tmp_path / "nowhere").read()
    file = picture(tmp_path / "duck" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is no folder"):
        CropFolders(file).read()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"cannot be read \(permissions\)"):
        CropFolders(tmp_path).read()

    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(ValueError, match="permissions of a folder above it"):
        CropFolders(tmp_path).read()


def test_an_annotation_file_that_cannot_be_opened(tmp_path: Path) -> None:
    class Locked(Given):
        def scan(self, report: ReadReport) -> Scan:
            raise PermissionError(13, "Permission denied", "labels.csv")

    with pytest.raises(ValueError, match=r"The data set in .* cannot be read: .*labels\.csv"):
        Locked(tmp_path, []).read()


def test_relative_roots_and_links_give_the_paths_that_the_user_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "data" / "duck" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    table = CropFolders("./link/../link").read().table
    assert table["frame"].tolist() == [str(tmp_path / "link" / "duck" / "a.png")]


def test_crop_folders(tmp_path: Path) -> None:
    picture(tmp_path / "duck" / "f1" / "a.png")
    picture(tmp_path / "teal" / "f1" / "deep" / "b.JPG")
    picture(tmp_path / "teal" / "c.tif")
    picture(tmp_path / "loose.png")
    reading = CropFolders(tmp_path).read()
    assert reading.table.drop(columns="frame").to_numpy().tolist() == [
        [0, 0, WIDTH, HEIGHT, "duck", "f1"],
        [0, 0, WIDTH, HEIGHT, "teal", tmp_path.name],
        [0, 0, WIDTH, HEIGHT, "teal", "f1/deep"],
    ]
    assert reading.report.examples["picture outside a class folder"] == ["loose.png"]
    by_frame = CropFolders(tmp_path, group_by="frame").read()
    assert by_frame.table["group"].tolist()[0] == "duck/f1/a.png"


def test_effort_without_a_bird(tmp_path: Path) -> None:
    for flight in ("f0", "f1"):
        picture(tmp_path / flight / "a.png")
    source = Given(tmp_path, [])
    with pytest.raises(ValueError, match="No usable box"):
        source.read()
    reading = source.read(allow_empty=True)
    assert reading.table.empty
    assert list(reading.table.columns) == list(READER_COLUMNS)
    assert reading.frames["group"].tolist() == ["f0", "f1"]
    cut = Given(tmp_path, [box(tmp_path / "f0" / "a.png", score=0.1)]).read(min_score=0.5, allow_empty=True)
    assert cut.table.empty


def test_boxes_that_were_lost_are_no_empty_frames(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    for lost in (box(tmp_path / "gone.png"), box(path, 90.0, 1.0, 2.0, 2.0)):
        with pytest.raises(ValueError, match="No usable box"):
            Given(tmp_path, [lost]).read(allow_empty=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="No usable box"):  # no frame was flown
        Given(tmp_path / "empty", []).read(allow_empty=True)


def test_frames_that_could_not_be_used_are_told_apart(tmp_path: Path) -> None:
    good, bad = picture(tmp_path / "f0" / "a.png"), tmp_path / "f1" / "b.png"
    bad.parent.mkdir()
    bad.write_bytes(b"")
    boxes = [box(good), box(tmp_path / "f2" / "c.png")]
    reading = Given(tmp_path, boxes).read(on_bad_frame="skip")
    assert reading.frames["group"].tolist() == ["f0"]
    assert reading.unused[["group", "reason"]].to_numpy().tolist() == [
        ["f1", "frame cannot be read"],
        ["f2", "frame file is missing"],
    ]
    named = Given(tmp_path, boxes, group_by="^([a])").read(on_bad_frame="skip")
    assert named.unused["group"].tolist() == ["", ""]  # a name without a group is no obstacle here
