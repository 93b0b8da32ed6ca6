"""MegaDetector's JSON: fractions, confidences, empty and failed frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dml_lightning.data.sources import MegaDetector
from tests.data.sources.making import BOX, picture, save_json


def detection(conf: float = 0.9, category: str = "1", **more: object) -> dict[str, Any]:
    return {"category": category, "conf": conf, "bbox": [0.25, 0.5, 0.1, 0.05], **more}


def save(root: Path, *images: dict[str, Any], **more: object) -> Path:
    content = {
        "images": list(images),
        "detection_categories": {"1": "animal", "2": "person"},
        "info": {"format_version": "1.4"},
        **more,
    }
    return save_json(root / "md.json", content)


def test_the_format_itself(tmp_path: Path) -> None:
    for name in ("f0/a.png", "f0/b.png", "f1/c.png", "f1/d.png"):
        picture(tmp_path / name)
    save(
        tmp_path,
        {"file": "f0/a.png", "detections": [detection(), detection(0.1, "2")]},
        {"file": "f0\\b.png", "detections": []},
        {"file": "f1/c.png", "failure": "image access", "detections": None},
        {"file": "f1/d.png", "detections": None},
        {"file": "f1/film.mp4", "detections": [detection() | {"frame_number": 3}]},
    )
    reading = MegaDetector(tmp_path, "md.json").read()
    np.testing.assert_allclose(reading.table[[*BOX, "score"]], [[25, 40, 10, 4, 0.9], [25, 40, 10, 4, 0.1]])
    assert reading.table["label"].tolist() == ["animal", "person"]
    assert [Path(frame).name for frame in reading.frames["frame"]] == ["a.png", "b.png"]
    reason = "frame that the detector could not read"
    assert reading.unused.drop(columns="frame").to_numpy().tolist() == [["f1", reason]] * 2
    assert reading.report.skipped == {reason: 2, "file that is no frame, such as a video": 1}


def test_confidences_cut(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    save(tmp_path, {"file": "a.png", "detections": [detection(), detection(0.1, "2")]})
    assert len(MegaDetector(tmp_path, "md.json", min_score=0.2).read().table) == 1


def test_classifications_name_the_box_where_they_are_asked_for(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    classified = detection(classifications=[["3", 0.2], ["7", 0.7]])
    save(
        tmp_path,
        {"file": "a.png", "detections": [classified, detection(0.5, "2")]},
        classification_categories={"3": "teal", "7": "NO"},
    )
    assert MegaDetector(tmp_path, "md.json").read().table["label"].tolist() == ["animal", "person"]
    named = MegaDetector(tmp_path, "md.json", classifications=True).read()
    assert named.table["label"].tolist() == ["NO", "person"]


def test_frames_in_another_folder_and_no_detection_at_all(tmp_path: Path) -> None:
    picture(tmp_path / "night" / "a.png")
    save(tmp_path / "out", {"file": "a.png", "detections": []})
    source = MegaDetector(tmp_path, "out/md.json", images="night")
    assert len(source.read(allow_empty=True).frames) == 1
    with pytest.raises(ValueError, match="No usable box"):
        source.read()


@pytest.mark.parametrize(
    ("images", "more", "message"),
    [
        ([{"file": "a.png", "detections": [detection(1.5)]}], {}, r"md\.json image 0 detection 0: the score 1\.5"),
        ([{"file": "a.png", "detections": []}] * 2, {}, r"md\.json image 1 and md\.json image 0 are both about"),
        ([], {"detection_categories": []}, "No usable box"),
        ([], {"detection_categories": [1]}, "gives detection_categories as list"),
        ([], {"images": {}}, "has no list images"),
    ],
)
def test_errors(tmp_path: Path, images: list[dict[str, Any]], more: dict[str, Any], message: str) -> None:
    picture(tmp_path / "a.png")
    save(tmp_path, *images, **more)
    with pytest.raises(ValueError, match=message):
        MegaDetector(tmp_path, "md.json").read()


def test_broken_entries_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    broken = [detection(category="9"), detection() | {"bbox": [1]}, "x"]
    save(tmp_path, {"file": "a.png", "detections": [detection(), *broken]}, {"detections": []})
    reading = MegaDetector(tmp_path, "md.json").read()
    assert reading.report.skipped["image without a file name"] == 1
    assert reading.report.skipped["detection of an unknown category"] == 2
    assert reading.report.skipped["box is not four finite numbers"] == 1
