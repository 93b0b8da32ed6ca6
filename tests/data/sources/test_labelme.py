"""LabelMe JSON: shapes, frames, and what counts as looked at."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dml_lightning.data.sources import LabelMe
from tests.data.sources.making import BOX, picture, save_json, text


def shape(kind: str | None, points: object, label: object = "duck", **more: object) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "flags": {}, "group_id": None, **more}


def save(root: Path, *shapes: dict[str, Any], name: str = "a", **more: object) -> LabelMe:
    picture(root / f"{name}.png")
    content = {"version": "5.4.1", "imagePath": f"{name}.png", "imageData": None, "imageWidth": 100, "imageHeight": 80}
    save_json(root / f"{name}.json", {**content, "flags": {}, "shapes": list(shapes), **more})
    return LabelMe(root)


def test_shapes_become_boxes(tmp_path: Path) -> None:
    source = save(
        tmp_path,
        shape("rectangle", [[10.5, 20], [4, 26.25]]),  # two corners in any order
        shape("polygon", [[30, 30], [40, 32], [35, 44]], "teal"),
        shape("oriented_rectangle", [[50, 50], [54, 54], [52, 56], [48, 52]], "teal"),
        shape("circle", [[70, 40], [73, 44]]),  # centre and rim, 5 px away
        shape(None, [[1, 1], [3, 1], [3, 4]]),  # files from before shape types
    )
    table = source.read().table
    expected = [[4, 20, 6.5, 6.25], [30, 30, 10, 14], [48, 50, 6, 6], [65, 35, 10, 10], [1, 1, 2, 3]]
    np.testing.assert_allclose(table[BOX], expected)
    assert table["label"].tolist() == ["duck", "teal", "teal", "duck", "duck"]


@pytest.mark.parametrize("kind", ["point", "line", "linestrip", "points", "mask"])
def test_other_shapes_are_named_and_kept_clear_of_background(tmp_path: Path, kind: str) -> None:
    reading = save(tmp_path, shape("rectangle", [[1, 1], [5, 5]]), shape(kind, [[20, 20], [30, 30]])).read()
    assert reading.report.examples == {f"shape that is no box: {kind}": ["a.json shape 2"]}
    assert reading.obstacles[BOX].to_numpy().tolist() == [[20, 20, 10, 10]]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (shape("rectangle", [[1, 1]]), "box is not four finite numbers"),
        (shape("rectangle", None), "box is not four finite numbers"),
        (shape("rectangle", [[1, 1], ["x", 5]]), "box is not four finite numbers"),
        (shape("rectangle", [[1, 1], [1, 5]]), "box has no area"),
        (shape("rectangle", [[1, 1], [5, 5]], ""), "shape without a label"),
        (shape("rectangle", [[1, 1], [5, 5]], None), "shape without a label"),
    ],
)
def test_what_is_skipped(tmp_path: Path, broken: dict[str, Any], reason: str) -> None:
    reading = save(tmp_path, shape("rectangle", [[9, 9], [15, 15]]), broken).read()
    assert reading.report.examples == {reason: ["a.json shape 2"]}


def test_labels_are_text_as_written(tmp_path: Path) -> None:
    corners = [[1, 1], [5, 5]]
    labels = ["NO", "null", "010", 10, " NA "]
    source = save(tmp_path, *(shape("rectangle", corners, label) for label in labels))
    assert source.read().table["label"].tolist() == ["NO", "null", "010", "10", "NA"]


def test_frames_with_empty_shapes_were_checked_and_those_without_a_file_not(tmp_path: Path) -> None:
    save(tmp_path / "f0", shape("rectangle", [[1, 1], [5, 5]]))
    save(tmp_path / "f1", name="empty")
    picture(tmp_path / "f1" / "new.png")
    reading = LabelMe(tmp_path).read()
    assert reading.frames["group"].tolist() == ["f0", "f1"]
    assert reading.unused.to_numpy().tolist() == [
        [str(tmp_path / "f1" / "new.png"), "f1", "frame that nobody has annotated"]
    ]
    assert reading.report.examples["frame that nobody has annotated"] == ["f1/new.png"]
    assert len(LabelMe(tmp_path, unlabelled="empty").read().frames) == 3


@pytest.mark.parametrize("path", ["..\\frames\\a.png", "../frames/a.png", "C:\\data\\frames\\a.png"])
def test_the_image_path_may_have_other_slashes(tmp_path: Path, path: str) -> None:
    picture(tmp_path / "frames" / "a.png")
    content = {"shapes": [shape("rectangle", [[1, 1], [5, 5]])], "imagePath": path}
    save_json(tmp_path / "json" / "a.json", content)
    if path.startswith("C:"):
        assert LabelMe(tmp_path, images="frames").read().frames["frame"].tolist() == [
            str(tmp_path / "frames" / "a.png")
        ]
    else:
        assert LabelMe(tmp_path).read().frames["frame"].tolist() == [str(tmp_path / "frames" / "a.png")]


def test_a_renamed_frame_is_found_by_the_file_name(tmp_path: Path) -> None:
    save(tmp_path, shape("rectangle", [[1, 1], [5, 5]]), imagePath="before.jpg")
    assert LabelMe(tmp_path).read().frames["frame"].tolist() == [str(tmp_path / "a.png")]


def test_one_frame_in_two_files(tmp_path: Path) -> None:
    save(tmp_path, shape("rectangle", [[1, 1], [5, 5]]))
    text(tmp_path / "copy.json", (tmp_path / "a.json").read_text())
    with pytest.raises(ValueError, match=r"copy\.json and a\.json are both about .*a\.png"):
        LabelMe(tmp_path).read()


def test_the_size_of_another_picture(tmp_path: Path) -> None:
    reading = save(tmp_path, shape("rectangle", [[1, 1], [5, 5]]))
    save(tmp_path, shape("rectangle", [[1, 1], [5, 5]]), name="b", imageWidth=640)
    assert reading.read().report.examples["stated frame size differs from the file's"] == [
        "b.json shape 1: 640x80, file 100x80"
    ]


def test_scores_and_other_files(tmp_path: Path) -> None:
    corners = [[1, 1], [5, 5]]
    save(tmp_path, shape("rectangle", corners, score=0.9), shape("rectangle", corners, "teal", conf=0.2))
    text(tmp_path / "notes.json", "{}")
    reading = LabelMe(tmp_path, min_score=0.5).read()
    assert reading.table["score"].tolist() == [0.9]
    assert reading.report.skipped == {"JSON file without LabelMe's shapes": 1, "score below 0.5": 1}


def test_no_file_of_labelme(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no JSON file of LabelMe in"):
        LabelMe(tmp_path).read()
    text(tmp_path / "a.json", "{")
    with pytest.raises(ValueError, match=r"a\.json is no valid JSON"):
        LabelMe(tmp_path).read()
