"""The comparison with what tools have written, on sets that no tool wrote: it sees each fault of a reader."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.benchmarks.conftest import benchmark


@pytest.fixture(scope="module")
def foreign() -> ModuleType:
    """The benchmark."""
    return benchmark("foreign_files")


def write_coco(root: Path, made: dict[str, Any]) -> None:
    images, annotations = [], []
    for number, frame in enumerate(made["frames"]):
        images.append({"id": number, "file_name": frame["file"]})
        for box in frame["boxes"]:
            sides = [box[side] for side in ("x", "y", "width", "height")]
            category = made["labels"].index(box["label"])
            annotation = {"id": len(annotations), "image_id": number, "category_id": category, "score": box["score"]}
            annotations.append({**annotation, "bbox": sides})
    categories = [{"id": number, "name": label} for number, label in enumerate(made["labels"])]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "boxes.json").write_text(json.dumps(content), encoding="utf-8")


def cells(foreign: ModuleType, root: Path, given: dict[str, Any], made: dict[str, Any]) -> dict[str, str]:
    write_coco(root, given)
    row = foreign.box_row("COCO", foreign.Format("boxes.json", scores=True), root, made)
    return dict(zip(foreign.BOX_HEADS[1:], row, strict=True))


def test_what_is_equal_is_equal(foreign: ModuleType, tmp_path: Path) -> None:
    made = foreign.make_set(tmp_path)
    assert cells(foreign, tmp_path, made, made) == {
        "format": "COCO",
        "boxes": 20,
        "read": 20,
        "difference": "0",
        "bound": "1e-09",
        "labels": "yes",
        "scores": "yes",
        "frames": "yes",
        "noted": "nothing",
        "equal": "yes",
    }


@pytest.mark.parametrize(
    ("key", "value", "column", "seen"),
    [
        ("x", 0.25, "difference", "0.25"),  # of a box at the left edge, which a quarter of a px moves
        ("label", "Canada goose", "labels", "NO"),
        ("score", 0.01, "scores", "NO"),
    ],
)
def test_one_other_box_is_not_equal(
    foreign: ModuleType, tmp_path: Path, key: str, value: object, column: str, seen: str
) -> None:
    made = foreign.make_set(tmp_path)
    given = json.loads(json.dumps(made))
    given["frames"][0]["boxes"][0][key] = value
    found = cells(foreign, tmp_path, given, made)
    assert (found[column], found["equal"]) == (seen, "NO")


def test_a_lost_frame_and_a_lost_box_are_not_equal(foreign: ModuleType, tmp_path: Path) -> None:
    made = foreign.make_set(tmp_path)
    without = {**made, "frames": [frame for frame in made["frames"] if frame["boxes"]]}
    found = cells(foreign, tmp_path, without, made)
    assert (found["frames"], found["difference"], found["equal"]) == ("NO", "0", "NO")
    given = json.loads(json.dumps(made))
    given["frames"][1]["boxes"].pop()
    found = cells(foreign, tmp_path, given, made)
    assert (found["read"], found["equal"]) == (19, "NO")


def test_a_refused_file_is_not_equal(foreign: ModuleType, tmp_path: Path) -> None:
    made = foreign.make_set(tmp_path)
    row = foreign.box_row("COCO", foreign.Format("none.json"), tmp_path, made)
    assert row[-1] == "NO"
    assert "none.json" in row[-2]


def test_pixels_differ_where_one_does(foreign: ModuleType, tmp_path: Path) -> None:
    file, pixels = tmp_path / "a.tif", np.full((4, 6), 8.5, np.float32)
    tifffile.imwrite(file, pixels)
    np.save(file.with_suffix(".npy"), pixels)
    assert foreign.pixel_row(file)[-1] == "yes"
    pixels[1, 2] = np.nan
    np.save(file.with_suffix(".npy"), pixels)
    assert foreign.pixel_row(file)[3:5] == (1, 1)
    assert foreign.pixel_row(file)[-1] == "NO"
    np.save(file.with_suffix(".npy"), pixels.T)
    assert foreign.pixel_row(file)[-1] == "NO"
