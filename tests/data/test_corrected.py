"""Corrected data sets: their boxes are trained on and reach no other split; what would leak is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.corrected import with_corrected
from dml_lightning.data.sources import CocoJson
from dml_lightning.data.sources.recognise import read_source
from dml_lightning.flights.annotations import TOOLS, writing

NAMES = ["teal", "goose", "unknown"]


def write(folder: Path, flights: dict[str, int], seed: int = 0, names: tuple[str, ...] = ("teal", "goose")) -> Path:
    """A COCO set of one frame per flight with two boxes of each class."""
    rng = np.random.default_rng(seed)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for flight, frames in flights.items():
        for number in range(frames):
            path = folder / flight / f"{number}.tiff"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, rng.integers(28000, 28500, (64, 80), dtype=np.uint16))
            images.append({"id": len(images), "file_name": f"{flight}/{number}.tiff"})
            for name in (*names, *names):
                box = {"image_id": images[-1]["id"], "category_id": NAMES.index(name), "id": len(boxes)}
                boxes.append(box | {"bbox": [*rng.uniform(0, 50, 2).tolist(), 6, 7]})
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def table(root: Path, *corrected: Path) -> pd.DataFrame:
    module = ThermalWaterfowlDataModule(
        CocoJson(root), known=["teal", "goose"], corrected=list(map(str, corrected)), cache_dir=None
    )
    return module.table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "own", {f"flight_{number}": 2 for number in range(6)})


def test_corrected_boxes_are_trained_on_and_nothing_else_changes(root: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", {"new_1": 1, "new_2": 2}, 1, ("teal", "goose", "unknown"))
    before, after = table(root), table(root, new)
    added = after[after["frame"].str.contains("new_")]
    assert len(added) == 3 * 4  # not the boxes that are still called unknown
    assert set(added["split"]) == {"train"}
    assert set(added["role"]) == {"known"}
    assert set(added["label"]) == {"teal", "goose"}
    assert set(added["group"]) == {"new_1", "new_2"}
    pd.testing.assert_frame_equal(after.drop(added.index).reset_index(drop=True), before)


def test_a_corrected_frame_that_could_leak_is_refused(root: Path, tmp_path: Path) -> None:
    splits = table(root).groupby("group")["split"].first()
    held_out = splits.index[splits == "test"][0]
    with pytest.raises(ValueError, match="is one of the data set itself, or is corrected twice: correct"):
        table(root, root)
    copy = write(tmp_path / "copy", {"elsewhere": 1}, 1)
    shutil.copy(root / held_out / "1.tiff", copy / "elsewhere" / "0.tiff")
    with pytest.raises(ValueError, match=rf"frame with the same bytes, .*{held_out}/1\.tiff and .*elsewhere/0\.tiff"):
        table(root, copy)
    same = write(tmp_path / "same", {held_out: 1}, 2)
    with pytest.raises(ValueError, match=f"The group '{held_out}' of a corrected data set is in the split test"):
        table(root, same)
    trained = write(tmp_path / "trained", {splits.index[splits == "train"][0]: 1}, 3)
    assert len(table(root, trained)) == len(table(root)) + 4


def test_a_flight_of_training_takes_corrections_though_its_novel_birds_are_judged(root: Path, tmp_path: Path) -> None:
    """With unseen_groups "all" novel crops come from every flight, also from those that are trained on."""
    own = table(root)
    flight = own[own["split"] == "train"]["group"].iloc[0]
    novel = own[own["group"] == flight].tail(1).assign(label="swan", role="novel", split="test")
    reading = read_source(write(tmp_path / "new", {flight: 1}, 5))
    both = pd.concat([own, novel], ignore_index=True)
    after = with_corrected(both, own[["frame", "group"]].drop_duplicates(), [reading])
    assert after["split"].value_counts()["train"] == own["split"].value_counts()["train"] + 4


def test_a_frame_that_was_corrected_twice_is_refused(root: Path, tmp_path: Path) -> None:
    new, copy = write(tmp_path / "new", {"new_1": 1}, 1), write(tmp_path / "copy", {"new_2": 1}, 1)
    with pytest.raises(ValueError, match=r"new_1/0\.tiff is one of the data set itself, or is corrected twice"):
        table(root, new, new)
    with pytest.raises(ValueError, match=r"a frame with the same bytes, .*new_1/0\.tiff and .*new_2/0\.tiff"):
        table(root, new, copy)


def test_predictions_of_a_held_out_flight_are_refused(root: Path, tmp_path: Path) -> None:
    """Other frames of the flight than those of the data set, read back from the folder of an annotation tool."""
    splits = table(root).groupby("group")["split"].first()
    for tool in TOOLS:
        for split in ("test", "train"):
            flight = splits.index[splits == split][0]
            more = write(tmp_path / f"{tool}_{split}", {flight: 1}, 4)
            frame = str(more / flight / "0.tiff")
            boxes = pd.DataFrame({"x": [1.0], "y": [2.0], "width": [6.0], "height": [7.0], "label": ["teal"]})
            with writing(more / "p.csv", tool, {frame: flight}, ["teal", "goose"]) as writer:
                writer.add(frame, boxes.assign(decision="known", score=np.nan, p_value=0.5))
            if split == "train":
                assert len(table(root, more / f"p.{tool}")) == len(table(root)) + 1
            else:
                with pytest.raises(ValueError, match=f"The group '{flight}' of a corrected data set is in the split"):
                    table(root, more / f"p.{tool}")


def test_a_corrected_set_of_other_classes_is_refused(root: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", {"new": 1}, 1, ("unknown",))
    with pytest.raises(ValueError, match=r"no box of goose, teal; its labels are unknown\."):
        table(root, other)
