"""COCO JSON: each quirk that published sets have is handled or reported."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dml_lightning.data.sources import CocoJson
from tests.data.sources.making import BOX, picture, text


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
        for image in content["images"]:
            image["file_name"] = f"val/{image['file_name']}"
            picture(tmp_path / image["file_name"])
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

    @pytest.mark.parametrize(
        "place",
        [
            "images/train2017",
            "train2017",
            "annotations/train2017",
            "annotations/images/train2017",
            "images",
            "",
        ],
    )
    def test_the_folders_of_coco_itself(self, tmp_path: Path, place: str) -> None:
        """instances_<subset>.json in annotations/, other JSON beside it, frames by subset."""
        for name in ("a.png", "b.png"):
            picture(tmp_path / place / name)
        for name in ("instances_train2017", "captions_train2017", "person_keypoints_train2017"):
            text(tmp_path / "annotations" / f"{name}.json", json.dumps(self.content()))
        reading = CocoJson(tmp_path).read()
        assert len(reading.table) == 1
        assert reading.frames["frame"].tolist() == [str(tmp_path / place / name) for name in ("a.png", "b.png")]

    def test_subsets_with_the_same_names(self, tmp_path: Path) -> None:
        for subset in ("train", "val"):
            for name in ("a.png", "b.png"):
                picture(tmp_path / "images" / subset / name)
            text(tmp_path / "annotations" / f"instances_{subset}.json", json.dumps(self.content()))
        reading = CocoJson(tmp_path).read()
        assert reading.table["group"].tolist() == ["images/train", "images/val"]
        assert len(reading.frames) == 4

    def test_one_image_under_two_ids(self, tmp_path: Path) -> None:
        """Two observers: every bird would be there twice."""
        images = [*self.content()["images"], {"id": 7, "file_name": "a.png"}]
        self.save(tmp_path, self.content(images=images))
        with pytest.raises(ValueError, match=r"annotations.json image 7 and annotations.json image 0 are both about"):
            CocoJson(tmp_path).read()

    def test_two_observers_in_two_files(self, tmp_path: Path) -> None:
        for name in ("one.json", "two.json"):
            self.save(tmp_path, self.content(), name)
        with pytest.raises(ValueError, match=r"two.json image 0 and one.json image 0 are both about .*a\.png"):
            CocoJson(tmp_path, ["one.json", "two.json"]).read()

    def test_two_flights_on_one_flat_file(self, tmp_path: Path) -> None:
        content = self.content()
        for number, image in enumerate(content["images"]):
            image["file_name"] = f"flight_{number}/a.png"
        self.save(tmp_path, content)
        with pytest.raises(ValueError, match=r"two names end on one file, .flight_0/a.png. .*flight_1/a.png"):
            CocoJson(tmp_path).read()

    def test_ids_as_floats(self, tmp_path: Path) -> None:
        content = self.content()
        for image in content["images"]:
            image["id"] = float(image["id"])
        content["annotations"].append({"id": 1.0, "image_id": "1", "category_id": 1.0, "bbox": [9, 9, 9, 9]})
        self.save(tmp_path, content)
        assert CocoJson(tmp_path).read().table["label"].tolist() == ["duck", "teal"]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"category_id": None}, "annotation without a category"),
            ({"image_id": None}, "annotation without an image (no image_id)"),
        ],
    )
    def test_null_is_named_as_such(self, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
        reading = self.annotate(tmp_path, change).read()
        assert reading.report.examples == {reason: ["annotations.json annotation 1"]}

    def test_names_of_categories_are_text(self, tmp_path: Path) -> None:
        names = ["NO", None, 10, True, "null"]
        categories = [{"id": number, "name": name} for number, name in enumerate(names)]
        annotations = [{"id": n, "image_id": 0, "category_id": n, "bbox": [n, 2, 3, 4]} for n in range(len(names))]
        self.save(tmp_path, self.content(categories=categories, annotations=annotations))
        assert CocoJson(tmp_path).read().table["label"].tolist() == ["NO", "1", "10", "true", "null"]
        self.save(tmp_path, self.content(categories=[{"name": "duck"}]))
        with pytest.raises(ValueError, match=r"has a category 'duck' without an id"):
            CocoJson(tmp_path).read()

    def test_fractions_and_corners(self, tmp_path: Path) -> None:
        boxes = [[0.1, 0.25, 0.05, 0.1], [0.5, 0.5, 0.1, 0.05]]
        annotations = [{"id": n, "image_id": 0, "category_id": 0, "bbox": box} for n, box in enumerate(boxes)]
        self.save(tmp_path, self.content(annotations=annotations))
        with pytest.raises(ValueError, match=r"annotation 0: .* look like fractions .* not px: set relative"):
            CocoJson(tmp_path).read()
        read = CocoJson(tmp_path, relative=True).read()
        np.testing.assert_allclose(read.table[BOX], [[10, 20, 5, 8], [50, 40, 10, 4]])
        annotations = [{"id": 0, "image_id": 0, "category_id": 0, "bbox": [60, 50, 70, 56]}]
        self.save(tmp_path, self.content(annotations=annotations))
        with pytest.raises(ValueError, match=r"annotation 0: .* look like two corners"):
            CocoJson(tmp_path).read()
        corners = CocoJson(tmp_path, box_format="xyxy").read()
        assert corners.table[BOX].to_numpy().tolist() == [[60, 50, 10, 6]]
        with pytest.raises(ValueError, match="box_format 'yxyx' is unknown"):
            CocoJson(tmp_path, box_format="yxyx")

    def test_scores(self, tmp_path: Path) -> None:
        source = self.annotate(tmp_path, {"bbox": [9, 9, 9, 9], "score": 0.4})
        np.testing.assert_equal(source.read().table["score"].tolist(), [np.nan, 0.4])
        assert len(CocoJson(tmp_path, min_score=0.5).read().table) == 1

    @pytest.mark.parametrize(("name", "marked"), [("empty", 0), ("duck", 1)])
    def test_annotations_of_whole_images(self, tmp_path: Path, name: str, marked: int) -> None:
        """Camera-trap sets say what an image shows without saying where."""
        content = self.content(categories=[{"id": 0, "name": "duck"}, {"id": 1, "name": name}])
        content["annotations"].append({"id": 1, "image_id": 1, "category_id": 1})
        self.save(tmp_path, content)
        reading = CocoJson(tmp_path).read()
        assert len(reading.table) == 1
        assert len(reading.frames) == 2
        assert reading.report.skipped == ({"annotation of a whole image": 1} if marked else {})
        assert reading.obstacles[BOX].to_numpy().tolist() == [[0, 0, 100, 80]] * marked  # no background there
