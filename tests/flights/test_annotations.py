"""Files for annotation tools: the readers take every box back as it was, with the predicted name."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from dml_lightning.data.sources.recognise import read_source
from dml_lightning.flights.annotations import TOOLS, AnnotationTool, annotations_path, writing

NAMES = ["teal", "yes", "Küken"]
SIDES = ["x", "y", "width", "height"]


def frames(folder: Path, names: Sequence[str] = ("dawn/0.tiff", "dawn/1.tiff", "images/0.tiff")) -> list[str]:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.full((96, 128 + number), 28_000 + number, np.uint16))
    return [str(folder / name) for name in names]


def flights(*frames: str) -> dict[str, str]:
    return {frame: Path(frame).parent.name for frame in frames}


def boxes(frame: str, seed: int, scored: bool) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sides = np.column_stack([rng.uniform(0, 80, (4, 2)), rng.uniform(0.3, 16, (4, 2))])
    return pd.DataFrame(sides, columns=SIDES).assign(
        frame=frame,
        label=["teal", "yes", "Küken", "teal"],
        decision=["known", "known", "known", "unknown"],
        score=[0.25, 0.5, 1.0, 0.0] if scored else np.nan,
        p_value=[0.5, np.nan, 0.25, 0.01],
    )


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("tool", TOOLS)
def test_readers_take_back_what_was_written(tmp_path: Path, tool: AnnotationTool, scored: bool) -> None:
    first, second, empty = frames(tmp_path / "set")
    given = [boxes(first, 0, scored), boxes(second, 1, scored)]
    with writing(tmp_path / "out" / "p.csv", tool, flights(first, second, empty), NAMES) as writer:
        writer.add(first, given[0])
        writer.add(second, given[1])
        writer.add(empty, given[0][:0])
        assert not (tmp_path / "out" / f"p.{tool}").exists()
    reading = read_source(tmp_path / "out" / f"p.{tool}")
    expected = pd.concat(given, ignore_index=True)
    assert len(reading.table) == len(expected)
    assert len(reading.frames) == 3
    assert not reading.report.skipped
    assert np.abs(reading.table[SIDES].to_numpy() - expected[SIDES].to_numpy()).max() < 1e-9
    assert reading.table["label"].tolist() == ["teal", "yes", "Küken", "unknown"] * 2
    assert ("score" in reading.table) == scored
    if scored:
        assert reading.table["score"].tolist() == expected["score"].tolist()
    read = [Path(frame).read_bytes() for frame in reading.table["frame"].unique()]
    assert read == [Path(frame).read_bytes() for frame in (first, second)]
    if tool != "yolo":
        assert reading.table["frame"].tolist() == expected["frame"].tolist()  # frames stay where they are


@pytest.mark.parametrize("tool", TOOLS)
def test_frames_keep_their_flight(tmp_path: Path, tool: AnnotationTool) -> None:
    """Whatever folder they lie in, whoever reads them: the name by which a held-out flight is known."""
    given = dict(zip(frames(tmp_path / "set"), ["march/1", "march/2", "march/1"], strict=True))
    with writing(tmp_path / "out" / "p.csv", tool, given, NAMES) as writer:
        for frame in given:
            writer.add(frame, boxes(frame, 0, scored=False))
    reading = read_source(tmp_path / "out" / f"p.{tool}")
    inside = "images/" if tool == "yolo" else ""
    assert sorted(reading.frames["group"]) == [f"{inside}march/1", f"{inside}march/1", f"{inside}march/2"]
    assert len(reading.table) == 12


def test_frames_of_a_flight_in_several_folders_keep_apart_for_yolo(tmp_path: Path) -> None:
    given = dict.fromkeys(frames(tmp_path / "set", ["100MEDIA/0.tiff", "101MEDIA/0.tiff"]), "march")
    with writing(tmp_path / "p.csv", "yolo", given, NAMES) as writer:
        for frame in given:
            writer.add(frame, boxes(frame, 0, scored=False))
    reading = read_source(tmp_path / "p.yolo")
    back = [Path(frame) for frame in reading.frames["frame"]]
    assert [frame.name for frame in back] == ["0.tiff", "101MEDIA_0.tiff"]
    assert [frame.read_bytes() for frame in back] == [Path(frame).read_bytes() for frame in given]
    assert len(reading.table) == 8


def test_frames_behind_symbolic_links_are_linked_for_yolo(tmp_path: Path) -> None:
    (first,) = frames(tmp_path / "set", ["0.tiff"])
    link = tmp_path / "many" / "folders" / "below" / "0.tiff"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../../set/0.tiff")
    with writing(tmp_path / "p.csv", "yolo", flights(str(link)), NAMES) as writer:
        writer.add(str(link), boxes(str(link), 0, scored=False))
    assert (tmp_path / "p.yolo" / "images" / "below" / "0.tiff").read_bytes() == Path(first).read_bytes()


def test_what_a_refused_box_resembles_stands_beside_it(tmp_path: Path) -> None:
    (first,) = frames(tmp_path / "set", ["0.tiff"])
    for tool in ("labelme", "coco"):
        with writing(tmp_path / "p.csv", tool, flights(first), NAMES) as writer:
            writer.add(first, boxes(first, 0, scored=False))
    shapes = json.loads((tmp_path / "p.labelme" / "0.json").read_text())["shapes"]
    assert [shape["description"] for shape in shapes] == ["teal, p 0.5", "yes", "Küken, p 0.25", "teal, p 0.01"]
    entries = json.loads((tmp_path / "p.coco" / "annotations.json").read_text())["annotations"]
    assert [entry["attributes"]["note"] for entry in entries] == [shape["description"] for shape in shapes]


def test_corrections_are_never_overwritten_and_nothing_is_half_written(tmp_path: Path) -> None:
    (first,) = frames(tmp_path / "set", ["0.tiff"])
    with pytest.raises(RuntimeError, match="in the midst"), writing(tmp_path / "p.csv", "coco", flights(first), NAMES):
        raise RuntimeError("in the midst")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    (tmp_path / "p.yolo").mkdir()
    with pytest.raises(ValueError, match=r"p\.yolo exists and may hold corrections: move it away"):
        annotations_path(tmp_path / "p.csv", "yolo")


@pytest.mark.parametrize("tool", ["labelme", "yolo"])
def test_two_frames_that_would_share_a_file_are_refused(tmp_path: Path, tool: AnnotationTool) -> None:
    first, second = frames(tmp_path / "set", ["a.tif", "a.tiff"])
    with writing(tmp_path / "p.csv", tool, flights(first, second), NAMES) as writer:
        writer.add(first, boxes(first, 0, scored=False))
        with pytest.raises(ValueError, match=r"two frames would have the file .*a\.(json|txt): rename one"):
            writer.add(second, boxes(second, 0, scored=False))


def test_frames_are_copied_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("dml_lightning.flights.annotations.os.link", refuse)
    (first,) = frames(tmp_path / "set", ["0.tiff"])
    with writing(tmp_path / "p.csv", "yolo", flights(first), NAMES) as writer:
        writer.add(first, boxes(first, 0, scored=False))
    assert (tmp_path / "p.yolo" / "images" / "set" / "0.tiff").read_bytes() == Path(first).read_bytes()
