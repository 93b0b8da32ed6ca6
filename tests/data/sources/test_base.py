"""What all readers share: groups, frames, roots, and readings without a usable box."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.data.frames import FrameError
from dml_lightning.data.sources import CropFolders, ReadReport, Scan
from dml_lightning.data.table import READER_COLUMNS
from tests.data.sources.given import Given, box, picture


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
