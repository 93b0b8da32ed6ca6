"""Folders of crops: the class is the name of one or more folders, the whole picture is the box."""

from pathlib import Path

import pytest

from dml_lightning.data.sources import CropFolders
from tests.data.sources.given import HEIGHT, WIDTH, picture


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


def test_two_levels_make_a_class_of_two_names(tmp_path: Path) -> None:
    picture(tmp_path / "Latin" / "a" / "1.png")
    picture(tmp_path / "Latin" / "b" / "f1" / "2.png")
    picture(tmp_path / "Greek" / "a" / "3.png")
    picture(tmp_path / "Greek" / "loose.png")
    reading = CropFolders(tmp_path, levels=2).read()
    classes = zip(reading.table["label"], reading.table["group"], strict=True)
    assert list(classes) == [("Greek/a", tmp_path.name), ("Latin/a", tmp_path.name), ("Latin/b", "f1")]
    assert reading.report.skipped == {"picture outside a class folder": 1}


def test_a_class_needs_the_name_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="levels is 0; the name of at least one folder makes a class"):
        CropFolders(tmp_path, levels=0)
