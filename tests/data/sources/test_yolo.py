"""YOLO label files: each quirk that published sets have is handled or reported."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.data.sources import Yolo
from tests.data.sources.making import BOX, picture, text


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
        assert reading.report.changed == {"polygon read as its bounding box": 1}
        np.testing.assert_equal(reading.table["score"].tolist(), [np.nan, 0.87])

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
        assert str(reading.report).startswith(
            "3 boxes in 3 frames\n  warning: each of the 3 frames is a group of its own"
        )

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

    @pytest.mark.parametrize("end", ["", " .9", " .9 4"])
    def test_poses(self, tmp_path: Path, end: str) -> None:
        config = "names: [duck]\nkpt_shape: [2, 3]\n"
        points = ".45 .5 2 .55 .5 0"
        table = self.save(tmp_path, {"a": f"0 .5 .5 .1 .2 {points}{end}"}, config).read().table
        np.testing.assert_allclose(table[BOX], [[45, 32, 10, 16]])
        assert ("score" in table) == bool(end)

    def test_poses_of_another_number_of_points(self, tmp_path: Path) -> None:
        config = "names: [duck]\nkpt_shape: [2, 3]\n"
        good, points = "0 .5 .5 .1 .2 .45 .5 2 .55 .5 0", ".45 .5 2"
        reading = self.save(tmp_path, {"a": f"{good}\n0 .5 .5 .1 .2 {points}"}, config).read()
        assert reading.report.skipped == {"label line has not the number of values that kpt_shape asks for": 1}
        with pytest.raises(ValueError, match=r"gives kpt_shape as 17: it must be two numbers"):
            self.save(tmp_path, {"a": good}, "names: [duck]\nkpt_shape: 17\n").read()

    @pytest.mark.parametrize("config", ["names: [NO, yes, null, 010]\n", "names: {0: NO, 1: yes, 2: null, 3: 010}\n"])
    def test_class_names_are_text(self, tmp_path: Path, config: str) -> None:
        labels = "".join(f"{n} .{n + 2} .5 .1 .1\n" for n in range(4))
        table = self.save(tmp_path, {"a": labels}, config).read().table
        assert table["label"].tolist() == ["NO", "yes", "null", "010"]

    def test_a_class_without_a_name(self, tmp_path: Path) -> None:
        reading = self.save(tmp_path, {"a": "0 .5 .5 .1 .1\n1 .2 .2 .1 .1"}, "names: {0: duck, 1: }\n").read()
        assert reading.report.skipped == {"class has an empty name": 1}

    def test_label_studio_and_labelimg(self, tmp_path: Path) -> None:
        for root, images, labels in ((tmp_path / "studio", "images", "labels"), (tmp_path / "img", ".", ".")):
            text(root / "classes.txt", "NO\nteal\n\n")
            picture(root / images / "a.png")
            picture(root / images / "empty.png")
            text(root / labels / "a.txt", "0 .5 .5 .1 .1\n1 .2 .2 .1 .1\n2 .3 .3 .1 .1")
            reading = Yolo(root).read()
            assert reading.table["label"].tolist() == ["NO", "teal"]
            assert len(reading.frames) == 2
            assert reading.report.skipped == {"class number is not in the YAML file": 1}

    def test_cvat_and_datumaro(self, tmp_path: Path) -> None:
        text(tmp_path / "obj.names", "duck\nteal\n")
        text(tmp_path / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
        text(tmp_path / "train.txt", "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
        for name in "ab":
            picture(tmp_path / "obj_train_data" / f"{name}.png")
        text(tmp_path / "obj_train_data" / "a.txt", "1 .5 .5 .1 .1\n")
        reading = Yolo(tmp_path).read()
        assert reading.table["label"].tolist() == ["teal"]
        assert str(reading.report) == "1 boxes in 2 frames"

    def test_a_list_counts_only_real_orphans(self, tmp_path: Path) -> None:
        config = "train: train.txt\nval: val.txt\nnames: [duck]\n"
        source = self.save(tmp_path, dict.fromkeys("abc", "0 .5 .5 .1 .1"), config)
        text(tmp_path / "train.txt", "train/images/a.jpg\n")
        text(tmp_path / "val.txt", "train/images/b.jpg\n")
        text(tmp_path / "train" / "labels" / "gone.txt", "0 .5 .5 .1 .1")
        reading = source.read()
        assert len(reading.table) == 2
        assert reading.report.examples == {
            "frame in a folder of the set that no list names": ["train/images/c.jpg"],
            "label file without a frame": ["train/labels/gone.txt"],
        }

    def test_lists_and_notes_beside_frames_are_no_labels(self, tmp_path: Path) -> None:
        text(tmp_path / "data.yaml", "train: pictures\nnames: [duck]\n")
        picture(tmp_path / "pictures" / "a.jpg")
        text(tmp_path / "pictures" / "a.txt", "0 .5 .5 .1 .1")
        text(tmp_path / "pictures" / "classes.txt", "duck")
        text(tmp_path / "pictures" / "notes.txt", "a cold night")
        text(tmp_path / "pictures" / "train.txt", "pictures/a.jpg")
        assert str(Yolo(tmp_path).read().report) == "1 boxes in 1 frames"

    def test_two_frames_with_one_label_file(self, tmp_path: Path) -> None:
        source = self.save(tmp_path, {"a": "0 .5 .5 .1 .1"})
        picture(tmp_path / "train" / "images" / "a.tif")
        with pytest.raises(ValueError, match=r"a\.txt is the label file of .*a\.jpg and of .*a\.tif: keep one"):
            source.read()

    def test_a_yaml_bomb_is_refused(self, tmp_path: Path) -> None:
        lines = ["n0: &n0 [duck]", *(f"n{n}: &n{n} [*n{n - 1}, *n{n - 1}]" for n in range(1, 30)), "names: [duck]"]
        with pytest.raises(ValueError, match=r"data\.yaml has more than \d+ nodes once its aliases are followed"):
            self.save(tmp_path, {"a": "0 .5 .5 .1 .1"}, "\n".join(lines)).read()

    def test_scores_are_cut(self, tmp_path: Path) -> None:
        self.save(tmp_path, {"a": "0 .5 .5 .1 .2 .87\n0 .3 .5 .1 .2 .1"})
        assert Yolo(tmp_path, min_score=0.5).read().report.skipped == {"score below 0.5": 1}
