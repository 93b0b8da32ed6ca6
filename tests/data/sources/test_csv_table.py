"""CSV tables: each quirk that published sets have is handled or reported."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dml_lightning.data.sources import CsvTable
from tests.data.sources.making import BOX, picture, text


class TestCsv:
    def test_the_defaults(self, tmp_path: Path) -> None:
        picture(tmp_path / "f0" / "a.png")
        picture(tmp_path / "f1" / "b.png")
        rows = "label, frame ,x,y,width,height,note\nduck,f0/a.png,1,2,3,4,\n ,,,,,,\n,f1/b.png,,,,\n"
        text(tmp_path / "boxes.csv", "\ufeff" + rows)
        reading = CsvTable(tmp_path, "boxes.csv").read()
        assert reading.table.to_numpy().tolist() == [[str(tmp_path / "f0" / "a.png"), 1, 2, 3, 4, "duck", "f0"]]
        assert reading.frames["group"].tolist() == ["f0", "f1"]  # b has no box

    def test_deepforest(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        text(tmp_path / "b.csv", "image_path,xmin,ymin,xmax,ymax,label\na.png,1,2,4,6,Bird\n")
        source = CsvTable(tmp_path, "b.csv", box_format="xyxy", frame_column="image_path")
        assert source.read().table[BOX].to_numpy().tolist() == [[1, 2, 3, 4]]

    def test_birdsai(self, tmp_path: Path) -> None:
        """No header, numbered frames in one folder per video, codes for classes."""
        header = ["frame", "object", "x", "y", "width", "height", "class", "species", "occlusion", "noise"]
        for video in ("0058_00", "0059_00"):
            picture(tmp_path / "images" / video / f"{video}_0000000007.jpg")
            text(tmp_path / "annotations" / f"{video}.csv", "7,1,10,20,5,6,0,3,0,0\n")
        reading = CsvTable(
            tmp_path,
            "annotations/*.csv",
            header=header,
            label_column="class",
            frame_name="images/{file}/{file}_{frame:010d}.jpg",
            label_names={"0": "animal"},
        ).read()
        assert reading.table[[*BOX, "label", "group"]].to_numpy().tolist() == [
            [10, 20, 5, 6, "animal", "images/0058_00"],
            [10, 20, 5, 6, "animal", "images/0059_00"],
        ]

    def test_groups_delimiter_and_names_of_columns(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        text(tmp_path / "b.csv", "img;l;t;w;h;what;day\na.png;1;2;3;4;duck;monday\n")
        source = CsvTable(
            tmp_path,
            "b.csv",
            box_columns=["l", "t", "w", "h"],
            frame_column="img",
            label_column="what",
            group_column="day",
            delimiter=";",
        )
        reading = source.read()
        assert reading.table["group"].tolist() == reading.frames["group"].tolist() == ["monday"]

    def test_without_labels(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        text(tmp_path / "b.csv", "frame,x,y,width,height\na.png,1,2,3,4\n")
        reading = CsvTable(tmp_path, "b.csv", label_column=None).read()
        assert reading.table["label"].tolist() == ["unlabelled"]

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (",1,2,3,4,duck", "row without a frame"),
            ("a.png,9,2,3,4,", "row without a label"),
            ("a.png,9,2,3", "box is not four finite numbers"),
            ("a.png,9,2,3,,duck", "box is not four finite numbers"),
            ("a.png,9,2,three,4,duck", "box is not four finite numbers"),
            ("a.png,1,2,3,4,duck", "duplicate of another box"),
            ("no.png,1,2,3,4,duck", "box of a frame that is missing or cannot be read"),
        ],
    )
    def test_what_is_skipped(self, tmp_path: Path, row: str, reason: str) -> None:
        picture(tmp_path / "a.png")
        rows = f"frame,x,y,width,height,label\na.png,1,2,3,4,duck\n{row}\n"
        text(tmp_path / "b.csv", rows)
        reading = CsvTable(tmp_path, "b.csv").read()
        assert len(reading.table) == 1
        assert reading.report.skipped[reason] == 1
        assert reading.report.examples[reason] == ["b.csv row 3"]

    @pytest.mark.parametrize(
        ("content", "options", "message"),
        [
            ("frame,x\n", {}, r"has no column \['y', 'width', 'height', 'label'\], but \['frame'"),
            ("", {}, "has no column"),
            ("frame,x,y,width,height,label\n", {}, "No usable box"),
            ('frame,x,y,width,height,label\n"a', {"header": None}, "No usable box"),
            (
                "frame,x,y,width,height,label,g\na.png,1,2,3,4,d,m\na.png,5,2,3,4,d,t\n",
                {"group_column": "g"},
                r"b\.csv row 3: the frame .*a\.png has the group 't', an earlier row said 'm'",
            ),
            (
                "frame,x,y,width,height,label,g\na.png,1,2,3,4,d,\n",
                {"group_column": "g"},
                r"b\.csv row 2: the frame .* has an empty group",
            ),
            (
                "frame,x,y,width,height,label\na.png,1,2,3,4,d\n",
                {"frame_name": "{frame:06d}.png"},
                "the frame 'a.png' does not fit frame_name",
            ),
            (
                "frame,x,y,width,height,label\na.png,1,2,3,4,d\n",
                {"frame_name": "{video}.png"},
                r"does not fit frame_name '\{video\}\.png', which may use",
            ),
        ],
    )
    def test_errors(self, tmp_path: Path, content: str, options: dict[str, Any], message: str) -> None:
        picture(tmp_path / "a.png")
        text(tmp_path / "b.csv", content)
        with pytest.raises(ValueError, match=message):
            CsvTable(tmp_path, "b.csv", **options).read()

    def test_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "b.csv").write_bytes(b"frame\xff\xfe,x")
        with pytest.raises(ValueError, match=r"b\.csv is no CSV text"):
            CsvTable(tmp_path, "b.csv").read()
        text(tmp_path / "b.csv", "f" * (csv.field_size_limit() + 1))
        with pytest.raises(ValueError, match=r"b\.csv is no CSV text"):
            CsvTable(tmp_path, "b.csv").read()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"delimiter": ";;"}, "delimiter ';;' must be one character"),
            ({"box_columns": ["x", "y"]}, "must name four columns"),
            ({"box_format": "cxcywh"}, "box_format 'cxcywh' is unknown"),
            ({"file": "/b.csv"}, "relative to the root"),
            ({"file": ""}, "relative to the root"),
        ],
    )
    def test_options_are_checked(self, tmp_path: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            CsvTable(tmp_path, **{"file": "b.csv", **options})

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"There is no file b\.csv in"):
            CsvTable(tmp_path, "b.csv").read()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                "frame,x,y,width,height,label\na.png,1,5,2,3,4,duck\n",
                r"b\.csv row 2 has 7 fields .*decimal commas",
            ),
            ("frame,x,y,width,height,label\na.png,1,2,3,4,duck,,x\n", r"b\.csv row 2 has 8 fields for 6 columns"),
            ("frame,x,y,x,width,height,label\na.png,1,2,9,3,4,duck\n", r"b\.csv has more than one column 'x'"),
            ("frame,x,y,width,height,label, frame\na.png,1,2,3,4,d,b.png\n", r"more than one column 'frame'"),
            ("frame,x,y,width,height,label\na.png,0.1,0.2,0.03,0.04,duck\n", "look like fractions .*: set relative"),
            ("frame,x,y,width,height,label\na.png,60,50,70,57,duck\n", "look like two corners"),
        ],
    )
    def test_tables_that_would_be_misread(self, tmp_path: Path, content: str, message: str) -> None:
        picture(tmp_path / "a.png")
        text(tmp_path / "b.csv", content)
        with pytest.raises(ValueError, match=message):
            CsvTable(tmp_path, "b.csv").read()

    def test_what_is_no_surplus(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        text(tmp_path / "b.csv", "frame,x,y,width,height,label,note,note\na.png,1,2,3,4,duck,n,m,, \n")
        assert CsvTable(tmp_path, "b.csv").read().table[BOX].to_numpy().tolist() == [[1, 2, 3, 4]]

    def test_decimal_commas(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        text(tmp_path / "b.csv", "frame;x;y;width;height;label\na.png;1,5;2;3,25;4;duck\n")
        read = CsvTable(tmp_path, "b.csv", delimiter=";", decimal=",").read()
        assert read.table[BOX].to_numpy().tolist() == [[1.5, 2, 3.25, 4]]
        with pytest.raises(ValueError, match="box is not four finite numbers"):
            CsvTable(tmp_path, "b.csv", delimiter=";").read()

    @pytest.mark.parametrize(
        ("options", "sides", "expected"),
        [
            ({"relative": True}, "0.1,0.25,0.05,0.1", [10, 20, 5, 8]),
            ({"relative": True, "box_format": "xyxy"}, "0.1,0.25,0.15,0.5", [10, 20, 5, 20]),
            ({"one_based": True}, "1,2,3,4", [0, 1, 3, 4]),
            ({"one_based": True, "box_format": "xyxy"}, "1,2,3,4", [0, 1, 3, 3]),
        ],
    )
    def test_units_and_forms(self, tmp_path: Path, options: dict[str, Any], sides: str, expected: list[float]) -> None:
        picture(tmp_path / "a.png")
        columns = ["xmin", "ymin", "xmax", "ymax"]
        text(tmp_path / "b.csv", f"frame,{','.join(columns)},label\na.png,{sides},duck\n")
        table = CsvTable(tmp_path, "b.csv", box_columns=columns, **options).read().table
        np.testing.assert_allclose(table[BOX], [expected])

    def test_a_class_called_na(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        text(tmp_path / "b.csv", "frame,x,y,width,height,label\na.png,1,2,3,4,NA\na.png,5,2,3,4,null\n")
        assert CsvTable(tmp_path, "b.csv").read().table["label"].tolist() == ["NA", "null"]

    def test_frames_that_were_flown_and_have_no_row(self, tmp_path: Path) -> None:
        for name in ("f0/a.png", "f0/b.png", "f1/c.png"):
            picture(tmp_path / "night" / name)
        rows = "frame,x,y,width,height,label\nnight/f0/a.png,1,2,3,4,duck\n"
        text(tmp_path / "b.csv", rows)
        assert len(CsvTable(tmp_path, "b.csv").read().frames) == 1
        folder = CsvTable(tmp_path, "b.csv", frames="night").read()
        assert folder.frames["group"].tolist() == ["night/f0", "night/f0", "night/f1"]
        text(tmp_path / "flown.txt", "night/f0/a.png\n\nnight/f1/c.png\nnight/f1/gone.png\n")
        listed = CsvTable(tmp_path, "b.csv", frames="flown.txt").read()
        assert listed.frames["group"].tolist() == ["night/f0", "night/f1"]
        assert listed.unused["frame"].tolist() == [str(tmp_path / "night" / "f1" / "gone.png")]
        assert listed.unused["group"].tolist() == ["night/f1"]
        with pytest.raises(ValueError, match=r"frames names .*nowhere, which does not exist"):
            CsvTable(tmp_path, "b.csv", frames="nowhere").read()

    def test_scores_that_are_text(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        text(tmp_path / "b.csv", "frame,x,y,width,height,label,score\na.png,1,2,3,4,duck,high\n")
        with pytest.raises(ValueError, match=r"b\.csv row 2: the score 'high' is no number from 0 to 1"):
            CsvTable(tmp_path, "b.csv", score_column="score").read()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"decimal": ","}, "decimal ',' must be"),
            ({"decimal": ";"}, "decimal ';' must be"),
            ({"relative": True, "one_based": True}, "relative and one_based exclude each other"),
        ],
    )
    def test_new_options_are_checked(self, tmp_path: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            CsvTable(tmp_path, "b.csv", **options)
