"""The layouts: each quirk that published sets have is handled or reported."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dml_lightning.data.sources import CocoJson, CsvTable, HuWaterfowl, PascalVoc, Yolo

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
BOX = ["x", "y", "width", "height"]


def picture(path: Path, size: tuple[int, int] = (100, 80)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def needs(name: str) -> Path:
    if not (path := SHARED / name).exists():
        pytest.skip(f"the real data set {name} is not on this machine")
    return path


class TestCoco:
    @staticmethod
    def content(**changes: Any) -> dict[str, Any]:
        whole = {
            "images": [
                {"id": 0, "file_name": "a.png", "width": 100, "height": 80},
                {"id": 1, "file_name": "b.png", "width": 100, "height": 80},
            ],
            "annotations": [{"id": 0, "image_id": 0, "category_id": 0, "bbox": [1, 2, 3, 4]}],
            "categories": [{"id": 0, "name": "duck"}, {"id": 1, "name": "teal"}],
        }
        return whole | changes

    @staticmethod
    def save(root: Path, content: object, name: str = "annotations.json") -> Path:
        for frame in ("a.png", "b.png"):
            picture(root / frame)
        return text(root / name, json.dumps(content))

    def annotate(self, root: Path, *annotations: dict[str, Any]) -> CocoJson:
        base = {"id": 0, "image_id": 0, "category_id": 0, "bbox": [1, 2, 3, 4]}
        entries = [base, *({**base, "id": n, **a} for n, a in enumerate(annotations, start=1))]
        self.save(root, self.content(annotations=entries))
        return CocoJson(root)

    def test_the_format_itself(self, tmp_path: Path) -> None:
        self.save(tmp_path, self.content())
        reading = CocoJson(tmp_path).read()
        assert reading.table.to_numpy().tolist() == [[str(tmp_path / "a.png"), 1, 2, 3, 4, "duck", tmp_path.name]]
        assert len(reading.frames) == 2  # b.png is a background frame

    def test_keys_of_hit_uav(self, tmp_path: Path) -> None:
        content = self.content()
        content["annotation"] = content.pop("annotations")
        for image in content["images"]:
            image["filename"] = image.pop("file_name")
        self.save(tmp_path, content)
        assert len(CocoJson(tmp_path).read().table) == 1

    @pytest.mark.parametrize(
        "value", ["[1, 2, 3, 4]", "1 2 3 4", "1,2,3,4", "(1; 2; 3; 4)", ["1", "2", "3", "4"], [1, 2, 3, 4.0]]
    )
    def test_boxes_as_text(self, tmp_path: Path, value: object) -> None:
        source = self.annotate(tmp_path, {"image_id": 1, "bbox": value})
        assert source.read().table[BOX].to_numpy().tolist() == [[1, 2, 3, 4]] * 2

    @pytest.mark.parametrize("value", [None, [], [1, 2, 3], "1 2 x 4", 7, {"x": 1}, [1, 2, 3, None]])
    def test_boxes_that_are_none(self, tmp_path: Path, value: object) -> None:
        reading = self.annotate(tmp_path, {"bbox": value}).read()
        assert len(reading.table) == 1
        assert reading.report.examples["box is not four finite numbers"] == ["annotations.json annotation 1"]

    def test_ids_as_text_and_number(self, tmp_path: Path) -> None:
        reading = self.annotate(tmp_path, {"image_id": "1", "category_id": "1"}).read()
        assert reading.table["label"].tolist() == ["duck", "teal"]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"iscrowd": 1}, "iscrowd annotation"),
            ({"iscrowd": "1"}, "iscrowd annotation"),
            ({"category_id": 9}, "annotation of an unknown category"),
            ({"image_id": 9}, "annotation of an unknown image"),
            ({}, "duplicate of another box"),
        ],
    )
    def test_what_is_skipped(self, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
        reading = self.annotate(tmp_path, change).read()
        assert len(reading.table) == 1
        assert reading.report.skipped == {reason: 1}
        assert reading.report.examples[reason][0].startswith("annotations.json annotation 1")
        marks = reason in ("iscrowd annotation", "annotation of an unknown category")
        assert len(reading.obstacles) == marks

    def test_iscrowd_zero_is_kept(self, tmp_path: Path) -> None:
        assert len(self.annotate(tmp_path, {"iscrowd": 0, "bbox": [9, 9, 9, 9]}).read().table) == 2

    def test_duplicate_ids(self, tmp_path: Path) -> None:
        images = self.content()["images"]
        content = self.content(
            images=[*images, {"id": 1, "file_name": "c.png"}, {"id": 5}],
            annotations=[
                {"id": 3, "image_id": 0, "category_id": 0, "bbox": [1, 2, 3, 4]},
                {"id": 3, "image_id": 1, "category_id": 0, "bbox": [1, 2, 3, 4]},
            ],
        )
        self.save(tmp_path, content)
        reading = CocoJson(tmp_path).read()
        assert len(reading.table) == 2
        assert reading.report.skipped == {"image id occurs twice": 1, "image without an id or file name": 1}
        assert reading.report.changed == {"annotation id occurs twice": 1}

    def test_images_folder(self, tmp_path: Path) -> None:
        file = self.save(tmp_path / "pictures", self.content())
        (tmp_path / "labels").mkdir()
        file.rename(tmp_path / "labels" / "x.json")
        reading = CocoJson(tmp_path, "labels/x.json", "pictures").read()
        assert reading.table["group"].tolist() == ["pictures"]
        with pytest.raises(ValueError, match="frame file is missing"):
            CocoJson(tmp_path, "labels/x.json", "elsewhere").read()

    @pytest.mark.parametrize("folder", ["images", "JPEGImages", "annotations", "."])
    def test_usual_folders_are_tried(self, tmp_path: Path, folder: str) -> None:
        file = self.save(tmp_path / folder, self.content())
        (tmp_path / "annotations").mkdir(exist_ok=True)
        file.rename(tmp_path / "annotations" / "instances.json")
        assert len(CocoJson(tmp_path).read().table) == 1

    def test_several_files_with_their_own_ids(self, tmp_path: Path) -> None:
        self.save(tmp_path, self.content(), "train.json")
        content = self.content(categories=[{"id": 0, "name": "goose"}])
        content["images"][0]["file_name"] = "b.png"
        self.save(tmp_path, content, "val.json")
        reading = CocoJson(tmp_path, ["train.json", "val.json"]).read()
        assert reading.table["label"].tolist() == ["duck", "goose"]
        with pytest.raises(ValueError, match=r"holds 2 JSON files \['train.json', 'val.json'\]"):
            CocoJson(tmp_path).read()

    def test_a_folder_per_flight(self, tmp_path: Path) -> None:
        """The same file name in two folders is two frames."""
        content = self.content()
        for number, image in enumerate(content["images"]):
            image["file_name"] = f"flight_{number}/frame.png"
            picture(tmp_path / image["file_name"])
        text(tmp_path / "annotations.json", json.dumps(content))
        reading = CocoJson(tmp_path).read()
        assert reading.frames["group"].tolist() == ["flight_0", "flight_1"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", r"annotations\.json is no valid JSON"),
            ("[1]", "holds a list at its top"),
            ('{"images": []}', r"has no list 'categories' but \['images'\]"),
            ('{"images": [], "categories": []}', "has no list 'annotations'"),
            ('{"images": [], "categories": [], "annotations": []}', "No usable box"),
            (
                '{"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
                "gives category id 1 two names, 'a' and 'b'",
            ),
        ],
    )
    def test_errors(self, tmp_path: Path, content: str, message: str) -> None:
        text(tmp_path / "annotations.json", content)
        with pytest.raises(ValueError, match=message):
            CocoJson(tmp_path).read()

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"There is no annotation file .*no\.json"):
            CocoJson(tmp_path, "no.json").read()
        with pytest.raises(ValueError, match="holds 0 JSON files"):
            CocoJson(tmp_path).read()


class TestYolo:
    @staticmethod
    def save(root: Path, labels: dict[str, str], config: str = "names: [duck, teal]\n") -> Yolo:
        text(root / "data.yaml", config)
        for name, content in labels.items():
            picture(root / "train" / "images" / f"{name}.jpg")
            text(root / "train" / "labels" / f"{name}.txt", content)
        return Yolo(root)

    def test_the_format_itself(self, tmp_path: Path) -> None:
        source = self.save(tmp_path, {"a": "0 0.5 0.5 0.2 0.1\n\n1 0.25 0.25 0.1 0.1\n"})
        table = source.read().table
        np.testing.assert_allclose(table[BOX], [[40, 36, 20, 8], [20, 16, 10, 8]])
        assert table["label"].tolist() == ["duck", "teal"]
        assert table["group"].tolist() == ["train/images"] * 2

    def test_frames_without_labels_are_background(self, tmp_path: Path) -> None:
        source = self.save(tmp_path, {"a": "0 .5 .5 .1 .1", "empty": ""})
        picture(tmp_path / "train" / "images" / "unlabelled one.png")
        reading = source.read()
        assert len(reading.frames) == 3
        assert len(reading.table) == 1
        assert not reading.report.skipped

    def test_blanks_in_names_caches_and_labels_without_a_frame(self, tmp_path: Path) -> None:
        source = self.save(tmp_path, {"a b c": "0 .5 .5 .1 .1"})
        text(tmp_path / "train" / "labels.cache", "binary")
        text(tmp_path / "train" / "labels" / "x.cache", "binary")
        text(tmp_path / "train" / "labels" / "gone.txt", "0 .5 .5 .1 .1")
        reading = source.read()
        assert len(reading.table) == 1
        assert reading.report.skipped == {"label file without a frame": 1}
        assert reading.report.examples["label file without a frame"] == ["train/labels/gone.txt"]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("0 .5 .5 .1 .1", "duplicate of another box"),
            ("0 .5 .5 0 .1", "box has no area"),
            ("0 .5 .5 .1 nan", "box is not four finite numbers"),
            ("0 1.5 .5 .1 .1", "box lies outside the frame"),
            ("2 .5 .5 .1 .1", "class number is not in the YAML file"),
            ("-1 .5 .5 .1 .1", "class number is not in the YAML file"),
            ("0.5 .5 .5 .1 .1", "class number is not in the YAML file"),
            ("nan .5 .5 .1 .1", "class number is not in the YAML file"),
            ("duck .5 .5 .1 .1", "label line is not numbers"),
            ("0 .5 .5 .1", "label line has the wrong number of values"),
            ("0", "label line has the wrong number of values"),
            ("0 .1 .1 .2 .2 .3 .3 .4", "label line has the wrong number of values"),
        ],
    )
    def test_what_is_skipped(self, tmp_path: Path, line: str, reason: str) -> None:
        reading = self.save(tmp_path, {"a": f"0 .5 .5 .1 .1\n{line}\n"}).read()
        assert len(reading.table) == 1
        assert reading.report.skipped == {reason: 1}
        assert reading.report.examples[reason][0].startswith("train/labels/a.txt line 2")

    def test_an_unknown_class_keeps_background_away(self, tmp_path: Path) -> None:
        reading = self.save(tmp_path, {"a": "0 .5 .5 .1 .1\n7 .2 .2 .1 .1"}).read()
        np.testing.assert_allclose(reading.obstacles[BOX], [[15, 12, 10, 8]])

    def test_polygons_and_confidences(self, tmp_path: Path) -> None:
        lines = "0 .1 .2 .4 .3 .2 .6\n1.0 .5 .5 .1 .1 .87\n"
        reading = self.save(tmp_path, {"a": lines}).read()
        np.testing.assert_allclose(reading.table[BOX], [[10, 16, 30, 32], [45, 36, 10, 8]])
        assert reading.report.changed == {"polygon read as its bounding box": 1, "confidence after the box ignored": 1}

    @pytest.mark.parametrize(
        "names", ["[duck, teal]", "{0: duck, 1: teal}", "{'1': teal, '0': duck}", "\n- duck\n- teal"]
    )
    def test_names(self, tmp_path: Path, names: str) -> None:
        labels = {"a": "0 .5 .5 .1 .1\n1 .2 .2 .1 .1"}
        table = self.save(tmp_path, labels, f"names: {names}\n").read().table
        assert table["label"].tolist() == ["duck", "teal"]

    @pytest.mark.parametrize(
        "config",
        [
            "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n",  # Roboflow
            "path: .\ntrain: train/images\nval: [valid/images, test/images]\n",
            "path: /nowhere\ntrain: ./train\nval: ./valid\ntest: ./test\n",
            "train: train/images/\nvalid: valid\\images\ntest: test\n",
            "",
        ],
    )
    def test_splits_are_read_as_one(self, tmp_path: Path, config: str) -> None:
        root = tmp_path / "root"
        text(root / "data.yaml", config + "names: [duck]\n")
        for split in ("train", "valid", "test"):
            picture(root / split / "images" / "a.jpg")
            text(root / split / "labels" / "a.txt", "0 .5 .5 .1 .1")
        reading = Yolo(root).read()
        assert reading.table["group"].tolist() == ["test/images", "train/images", "valid/images"]
        assert str(reading.report) == "3 boxes in 3 frames"

    def test_folders_by_kind_then_split(self, tmp_path: Path) -> None:
        text(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: [duck]\n")
        for split in ("train", "val"):
            picture(tmp_path / "images" / split / "a.jpg")
            text(tmp_path / "labels" / split / "a.txt", "0 .5 .5 .1 .1")
        assert len(Yolo(tmp_path).read().table) == 2

    def test_labels_beside_frames(self, tmp_path: Path) -> None:
        text(tmp_path / "data.yaml", "train: pictures\nnames: [duck]\n")
        picture(tmp_path / "pictures" / "a.jpg")
        text(tmp_path / "pictures" / "a.txt", "0 .5 .5 .1 .1")
        assert len(Yolo(tmp_path).read().table) == 1

    def test_a_split_as_a_list_of_frames(self, tmp_path: Path) -> None:
        source = self.save(
            tmp_path, {"a": "0 .5 .5 .1 .1", "b": "0 .5 .5 .1 .1"}, "train: lists/train.txt\nnames: [duck]\n"
        )
        text(tmp_path / "lists" / "train.txt", "\n../train/images/a.jpg\ntrain/images/no.jpg\n")
        reading = source.read()
        assert reading.table["frame"].tolist() == [str(tmp_path / "train" / "images" / "a.jpg")]
        assert reading.report.skipped["frame file is missing"] == 1

    def test_a_split_that_does_not_exist_is_noted(self, tmp_path: Path) -> None:
        config = "train: train/images\nval: gone/images\nnames: [duck]\n"
        reading = self.save(tmp_path, {"a": "0 .5 .5 .1 .1"}, config).read()
        reason = "split named in the YAML file does not exist"
        assert reading.report.examples[reason] == ["val: gone/images"]

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ("names: [", "is no valid YAML"),
            ("- duck", "holds no keys"),
            ("nc: 2", "gives names as None"),
            ("names: duck", "gives names as 'duck'"),
            ("names: {a: duck}", "has a class number that is none"),
        ],
    )
    def test_errors(self, tmp_path: Path, config: str, message: str) -> None:
        with pytest.raises(ValueError, match=message) as error:
            self.save(tmp_path, {"a": "0 .5 .5 .1 .1"}, config).read()
        assert "\n" not in str(error.value)

    def test_missing_config_names_what_is_there(self, tmp_path: Path) -> None:
        text(tmp_path / "birds.yml", "names: [duck]")
        with pytest.raises(ValueError, match=r"There is no .*data\.yaml: .* of \['birds.yml'\]"):
            Yolo(tmp_path).read()
        picture(tmp_path / "a.png")
        text(tmp_path / "a.txt", "0 .5 .5 .1 .1")
        assert len(Yolo(tmp_path, config="birds.yml").read().table) == 1


class TestVoc:
    @staticmethod
    def xml(name: str | None, objects: str, size: str = "") -> str:
        filename = "" if name is None else f"<filename>{name}</filename>"
        return f"<annotation>{filename}{size}{objects}</annotation>"

    @staticmethod
    def entry(label: str, xmin: object, ymin: object, xmax: object, ymax: object) -> str:
        corners = {"ymin": ymin, "xmin": xmin, "ymax": ymax, "xmax": xmax}
        inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
        return f"<object><name>{label}</name><bndbox>{inner}</bndbox></object>"

    def save(self, root: Path, content: str, name: str = "a") -> PascalVoc:
        picture(root / "JPEGImages" / f"{name}.png")
        text(root / "Annotations" / f"{name}.xml", content)
        return PascalVoc(root)

    def test_the_format_itself(self, tmp_path: Path) -> None:
        size = "<size><width>100</width><height>80</height></size>"
        objects = self.entry("duck", 1, 2, 4, 6) + self.entry(" teal ", "9.5", 9, 12, "20.5")
        source = self.save(tmp_path, self.xml("a.png", objects, size))
        self.save(tmp_path, self.xml("b.png", ""), "b")
        picture(tmp_path / "JPEGImages" / "c.png")
        reading = source.read()
        assert reading.table[[*BOX, "label"]].to_numpy().tolist() == [[1, 2, 3, 4, "duck"], [9.5, 9, 2.5, 11.5, "teal"]]
        assert len(reading.frames) == 2  # b is empty, nobody looked at c
        assert reading.report.examples["frame without an XML file"] == ["c.png"]

    @pytest.mark.parametrize("name", [None, "other.png", "a", "a.jpg", "a.PNG"])
    def test_the_frame_is_found_by_the_file_name(self, tmp_path: Path, name: str | None) -> None:
        reading = self.save(tmp_path, self.xml(name, self.entry("duck", 1, 2, 4, 6))).read()
        assert reading.table["frame"].tolist() == [str(tmp_path / "JPEGImages" / "a.png")]

    @pytest.mark.parametrize(
        ("broken", "reason"),
        [
            ("<object><name>duck</name></object>", "box is not four finite numbers"),
            ("x", "box is not four finite numbers"),
            ("4", "box has no area"),
        ],
    )
    def test_what_is_skipped(self, tmp_path: Path, broken: str, reason: str) -> None:
        entry = broken if broken.startswith("<") else self.entry("duck", 4, 2, broken, 6)
        good = self.entry("duck", 1, 2, 4, 6)
        reading = self.save(tmp_path, self.xml("a.png", good + entry)).read()
        assert reading.report.examples == {reason: ["a.xml object 2"]}

    def test_objects_without_a_name_keep_background_away(self, tmp_path: Path) -> None:
        objects = self.entry("duck", 1, 2, 4, 6) + self.entry("", 20, 20, 30, 30)
        reading = self.save(tmp_path, self.xml("a.png", objects)).read()
        assert reading.report.skipped == {"object without a name": 1}
        assert len(reading.obstacles) == 1

    def test_broken_xml_is_reported(self, tmp_path: Path) -> None:
        self.save(tmp_path, self.xml("a.png", self.entry("duck", 1, 2, 4, 6)))
        reading = self.save(tmp_path, "<annotation><object>", "b").read()
        assert reading.report.skipped["XML file cannot be parsed"] == 1
        assert reading.report.examples["XML file cannot be parsed"][0].startswith("b.xml: ")

    def test_other_folders(self, tmp_path: Path) -> None:
        picture(tmp_path / "img" / "a.png")
        text(tmp_path / "xml" / "a.XML", self.xml("a.png", self.entry("duck", 1, 2, 4, 6)))
        assert len(PascalVoc(tmp_path, "xml", "img").read().table) == 1
        with pytest.raises(ValueError, match=r"There is no XML file in .*Annotations"):
            PascalVoc(tmp_path).read()


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


class TestHu:
    BASE = "01_Thermal Images and Ground Truth (used for detector training and testing)"
    HEADER = "imageFilename,x(column),y(row),width,height\n"

    def save(self, root: Path, rows: str) -> Path:
        base = root / self.BASE
        for name in ("20180322_1_R.tif", "20180323_2_R.tif"):
            picture(base / "01_Posistive Image" / name)
        folder = base / "02_Groundtruth Label for Positive Images"
        text(folder / "Bounding Box Label.csv", self.HEADER + rows)
        return base

    def test_the_published_layout(self, tmp_path: Path) -> None:
        base = self.save(tmp_path, "20180322_1_R.tif,127,11,7,7\n20180322_1_R.tif,10,11,7,7\n,1,1,7,7\n")
        picture(base / "03_Negative Images" / "20180324_9_R.TIF")
        for root in (tmp_path, base):
            reading = HuWaterfowl(root).read()
            assert reading.table[[*BOX, "label", "group"]].to_numpy().tolist() == [
                [10, 11, 7, 7, "waterfowl", "20180322"]
            ]
            assert reading.frames["group"].tolist() == ["20180322", "20180324"]
            assert reading.report.examples == {
                "positive frame without a row in the CSV": ["20180323_2_R.tif"],
                "box lies outside the frame": ["Bounding Box Label.csv row 2"],
                "row without a frame": ["Bounding Box Label.csv row 4"],
            }

    def test_one_based(self, tmp_path: Path) -> None:
        self.save(tmp_path, "20180322_1_R.tif,10,11,7,7\n")
        reading = HuWaterfowl(tmp_path, one_based=True).read()
        assert reading.table[BOX].to_numpy().tolist() == [[9, 10, 7, 7]]

    def test_another_layout(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"There is no 01_Pos\* in .*the published folder"):
            HuWaterfowl(tmp_path).read()
        (tmp_path / "01_Posistive Image").mkdir()
        with pytest.raises(ValueError, match=r"There is no 02_\*/\*\.csv in"):
            HuWaterfowl(tmp_path).read()


class TestReal:
    def test_hit_uav_as_coco_and_as_voc(self) -> None:
        root = needs("hit_uav")
        coco, voc = (source(root, group_by=r"^(\d+_\d+_\d+_\d+)").read() for source in (CocoJson, PascalVoc))
        assert coco.table["label"].value_counts().to_dict() == {
            "Person": 1168,
            "Car": 719,
            "Bicycle": 554,
            "OtherVehicle": 12,
            "DontCare": 7,
        }
        assert str(coco.report) == str(voc.report) == "2460 boxes in 290 frames"
        columns = ["frame", *BOX, "label", "group"]
        assert set(coco.table[columns].itertuples(index=False, name=None)) == set(
            voc.table[columns].itertuples(index=False, name=None)
        )
        assert coco.frames["group"].nunique() == 89
        assert coco.frames.equals(voc.frames)

    def test_hu_frame(self) -> None:
        reading = HuWaterfowl(needs("hu_waterfowl")).read()
        assert reading.table[["x", "y"]].head(2).to_numpy().tolist() == [[127, 11], [174, 32]]
        assert len(reading.table) == 10
        assert set(reading.table["width"]) == {7.0}

    def test_cheetahs(self) -> None:
        reading = Yolo(needs("thermal_cheetah")).read()
        assert reading.table["label"].value_counts().to_dict() == {"cheetah": 186, "human": 45}
        assert len(reading.frames) == 129
        assert reading.frames["group"].nunique() == 3
