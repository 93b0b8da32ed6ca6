"""Label Studio's JSON: percents, turns, several annotations, addresses of frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dml_lightning.data.sources import LabelStudio
from tests.data.sources.making import BOX, picture, save_json


def region(kind: str = "rectanglelabels", labels: object = ("duck",), **value: object) -> dict[str, Any]:
    value = value or {"x": 10, "y": 20, "width": 5, "height": 2.5}
    return {
        "id": "r1",
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": 100,
        "original_height": 80,
        "image_rotation": 0,
        "value": {"rotation": 0, **value, kind: list(labels)},
    }


def annotation(*regions: dict[str, Any], updated: str = "2025-01-01T00:00:00Z", **more: object) -> dict[str, Any]:
    return {"id": 1, "was_cancelled": False, "updated_at": updated, "result": list(regions), **more}


def task(*annotations: dict[str, Any], image: str = "/data/upload/1/0a1b2c3d-a.png", number: int = 1) -> dict[str, Any]:
    return {"id": number, "data": {"image": image}, "annotations": list(annotations)}


def save(root: Path, *tasks: dict[str, Any]) -> LabelStudio:
    save_json(root / "project.json", list(tasks))
    return LabelStudio(root, "project.json")


@pytest.mark.parametrize(
    ("there", "address"),
    [
        ("0a1b2c3d-a.png", "/data/upload/1/0a1b2c3d-a.png"),
        ("a.png", "/data/upload/1/0a1b2c3d-a.png"),
        ("images/0a1b2c3d-a.png", "/data/upload/1/0a1b2c3d-a.png"),
        ("images/a.png", "\\data\\upload\\0a1b2c3d-a.png"),
        ("flight 1/a.png", "/data/local-files/?d=flight%201/a.png"),
        ("f1/a.png", "s3://bucket/2025/f1/a.png"),
        ("f1/a b.png", "https://host/f1/a%20b.png?token=x.y"),
    ],
)
def test_frames_behind_addresses(tmp_path: Path, there: str, address: str) -> None:
    path = picture(tmp_path / there)
    table = save(tmp_path, task(annotation(region()), image=address)).read().table
    assert table["frame"].tolist() == [str(path)]
    np.testing.assert_allclose(table[BOX], [[10, 16, 5, 2]])


def test_percents_become_px_before_the_turn(tmp_path: Path) -> None:
    """By 90 degrees, clockwise about the top left corner: 20 px wide and 8 high becomes 8 wide and 20 high."""
    picture(tmp_path / "a.png")
    turned = region(x=50, y=50, width=20, height=10, rotation=90)
    table = save(tmp_path, task(annotation(turned))).read().table
    np.testing.assert_allclose(table[BOX], [[42, 40, 8, 20]])


def test_polygons_and_ellipses(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    polygon = region("polygonlabels", points=[[10, 10], [20, 10], [15, 50]]) | {"id": "p"}
    ellipse = region("ellipselabels", x=50, y=50, radiusX=10, radiusY=5) | {"id": "e"}
    brush = region("brushlabels", format="rle", rle=[1]) | {"id": "b"}
    reading = save(tmp_path, task(annotation(polygon, ellipse, brush))).read()
    np.testing.assert_allclose(reading.table[BOX], [[10, 8, 10, 32], [40, 36, 20, 8]])
    assert reading.report.skipped == {"region that is no box: brush": 1}


def test_the_newest_annotation_that_is_not_cancelled_counts(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    tasks = task(
        annotation(region(labels=["teal"]), updated="2025-03-01"),
        annotation(region(labels=["duck"]), updated="2025-02-01"),
        annotation(region(labels=["goose"]), updated="2025-04-01", was_cancelled=True),
    )
    reading = save(tmp_path, tasks).read()
    assert reading.table["label"].tolist() == ["teal"]
    assert reading.report.changed == {"older annotation of a task, not used": 1}


def test_checked_and_unchecked_tasks(tmp_path: Path) -> None:
    for name in "abcd":
        picture(tmp_path / f"{name}.png")
    cancelled = annotation(region(), was_cancelled=True)
    tasks = [
        task(annotation(region()), image="/x/a.png"),
        task(annotation(), image="/x/b.png", number=2),
        task(image="/x/c.png", number=3),
        task(cancelled, image="/x/d.png", number=4),
    ]
    reading = save(tmp_path, *tasks).read()
    assert [Path(frame).name for frame in reading.frames["frame"]] == ["a.png", "b.png"]
    assert [Path(frame).name for frame in reading.unused["frame"]] == ["c.png", "d.png"]


def test_parts_of_a_region_share_an_id(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    shape = region("rectangle", ()) | {"id": "one"}
    shape["value"].pop("rectangle")
    label = region("labels", ["NO"]) | {"id": "one"}
    sex = {"id": "one", "type": "choices", "value": {"choices": ["male"]}, "from_name": "sex", "to_name": "image"}
    whole = {"id": "two", "type": "choices", "value": {"choices": ["blurred"]}, "to_name": "image"}
    reading = save(tmp_path, task(annotation(shape, label, sex, whole))).read()
    assert reading.table["label"].tolist() == ["NO"]
    assert not reading.report.skipped


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_rotation": 90}, "region of a picture that was turned in Label Studio"),
        ({"value": {"x": 1, "y": 1, "width": 5, "height": 5}}, "region without a label"),
        (
            {"value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["a", "b"]}},
            "region with several labels",
        ),
        ({"type": "keypointlabels"}, "region that is no box: keypoint"),
        ({"value": {"rectanglelabels": ["duck"]}}, "box is not four finite numbers"),
        ({"original_width": 640}, "stated frame size differs from the file's"),
    ],
)
def test_what_is_skipped(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    picture(tmp_path / "a.png")
    reading = save(tmp_path, task(annotation(region(), region() | {"id": "r2"} | change))).read()
    assert reading.report.skipped == {reason: 1}
    assert reading.report.examples[reason][0].startswith("project.json task 1 region r2")


def test_scores_of_regions(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    low = region(x=50, y=50, width=5, height=5) | {"id": "low", "score": 0.2}
    save(tmp_path, task(annotation(region() | {"score": 0.8}, low)))
    assert LabelStudio(tmp_path, "project.json", min_score=0.5).read().table["score"].tolist() == [0.8]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"a": 1}, "is no list of tasks"),
        ([{"id": 3, "data": {"picture": "a.png"}}], r"task 3 has no text data\.image but \['picture'\]: .*image_key"),
        ([{"id": 3, "image": "a.png", "annotation_id": 1}], r"task 3 has no text data\.image but \[\].*JSON-MIN"),
        (
            [task(annotation(region())), task(annotation(region()), image="/2/1a1b2c3d-a.png", number=2)],
            r"task 2: two names end on one file",
        ),
        (
            [task(annotation(region())), task(annotation(region()), number=2)],
            r"project.json task 2 and project.json task 1 are both about",
        ),
    ],
)
def test_errors(tmp_path: Path, tasks: object, message: str) -> None:
    picture(tmp_path / "a.png")
    save_json(tmp_path / "project.json", tasks)
    with pytest.raises(ValueError, match=message):
        LabelStudio(tmp_path, "project.json").read()


def test_another_key_of_the_frame(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    content = task(annotation(region()))
    content["data"] = {"thermal": "a.png", "visible": "b.png"}
    save_json(tmp_path / "project.json", [content])
    assert len(LabelStudio(tmp_path, "project.json", image_key="thermal").read().table) == 1
