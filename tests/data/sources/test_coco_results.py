"""COCO results: frames by id, stem or name, classes by the second JSON or by what the list says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dml_lightning.data.sources import CocoResults
from tests.data.sources.making import BOX, picture, save_json


def entry(image: object = 1, category: object = 2, score: float = 0.9, **more: object) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [1, 2, 3, 4], "score": score, **more}


def second(root: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(root / name)
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    save_json(root / "gt.json", {"images": images, "categories": [{"id": 2, "name": "duck"}], "annotations": []})


def test_images_and_classes_of_a_second_file(tmp_path: Path) -> None:
    second(tmp_path)
    save_json(tmp_path / "predictions.json", [entry(), entry(1.0, 2.0, 0.2, bbox=[9, 9, 5, 5])])
    reading = CocoResults(tmp_path, annotations="gt.json").read()
    np.testing.assert_allclose(reading.table[[*BOX, "score"]], [[1, 2, 3, 4, 0.9], [9, 9, 5, 5, 0.2]])
    assert reading.table["label"].tolist() == ["duck", "duck"]
    assert len(reading.frames) == 2  # b.png was flown and is empty
    assert len(CocoResults(tmp_path, annotations="gt.json", min_score=0.5).read().table) == 1


def test_stems_in_place_of_ids(tmp_path: Path) -> None:
    for name in ("f1/DJI_1.tif", "f2/0012.png", "f2/empty.png"):
        picture(tmp_path / "images" / name)
    save_json(
        tmp_path / "predictions.json",
        [entry("DJI_1", 0), entry(12, 3, category_name="teal"), entry("", file_name="f2/empty.png")],
    )
    reading = CocoResults(tmp_path, images="images").read()
    assert reading.table["label"].tolist() == ["category 0", "teal", "category 2"]
    assert reading.table["group"].tolist() == ["images/f1", "images/f2", "images/f2"]
    assert len(reading.frames) == 3


def test_stems_that_are_not_unique(tmp_path: Path) -> None:
    picture(tmp_path / "f1" / "012.png")
    picture(tmp_path / "f2" / "12.png")
    save_json(tmp_path / "predictions.json", [entry(12)])
    with pytest.raises(ValueError, match=r"f2/12\.png and .*f1/012\.png are both called 12, so that an image_id"):
        CocoResults(tmp_path).read()


def test_what_is_skipped(tmp_path: Path) -> None:
    second(tmp_path)
    broken = [entry(9), entry(None), entry(1, 9), entry(1, None), entry(bbox=None), entry()]
    save_json(tmp_path / "predictions.json", [entry(), *broken])
    reading = CocoResults(tmp_path, annotations="gt.json").read()
    assert reading.report.skipped == {
        "detection in an unknown image": 2,
        "detection of an unknown category": 2,
        "box is not four finite numbers": 1,
        "duplicate of another box": 1,
    }


@pytest.mark.parametrize("content", [{"images": []}, [1], "x"])
def test_no_list(tmp_path: Path, content: object) -> None:
    save_json(tmp_path / "predictions.json", content)
    with pytest.raises(ValueError, match=r"predictions\.json is no list of objects"):
        CocoResults(tmp_path).read()


def test_an_empty_list_is_an_answer_where_frames_are(tmp_path: Path) -> None:
    second(tmp_path)
    save_json(tmp_path / "predictions.json", [])
    assert len(CocoResults(tmp_path, annotations="gt.json").read(allow_empty=True).frames) == 2
