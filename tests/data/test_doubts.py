"""Every doubt comes from the fault that it is about, and from nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from dml_lightning.data.doubts import (
    SAME_PLACE,
    Doubt,
    doubts_of,
    name_doubts,
    one_edit,
    repeated_boxes,
    unreadable_doubts,
)
from dml_lightning.data.frames import Radiometry
from dml_lightning.data.looks import evenly, look_at_all
from dml_lightning.data.pixels import frame_header
from dml_lightning.data.sources.recognise import read_source
from tests.data.checking import Rows, clean, pixels, save
from tests.data.pixels.writing import gdal

Change = Callable[[Path, Rows], object]


def doubts(root: Path, rows: Rows, radiometry: Radiometry | None = None) -> list[Doubt]:
    reading = read_source(save(root, rows), "skip")
    frames = reading.frames["frame"].tolist()
    looks, bad = look_at_all(evenly(frames), radiometry)
    found = doubts_of(reading, {frame: frame_header(frame) for frame in frames}, looks)
    return [*found, *unreadable_doubts(bad, len(frames))]


def counts(root: Path, _: Rows) -> None:
    for number in range(6):
        values = np.round(100 * (pixels(number) + 273.15)).astype(np.uint16)
        tifffile.imwrite(root / f"flight_{number // 2}/{number}.tif", values)


def rewrite(values: Callable[[], np.ndarray], **options: object) -> Change:
    return lambda root, _: tifffile.imwrite(root / "flight_1/3.tif", values(), **options)


def holes() -> np.ndarray:
    values = pixels(3)
    values[:20] = -9999
    return values


def each(**values: object) -> Change:
    return lambda _, rows: [row.update(values) for row in rows]


def add(**values: object) -> Change:
    return lambda _, rows: rows.append(rows[0] | values)


def flight_per_frame(_: Path, rows: Rows) -> None:
    for row in rows:
        row["flight"] = row["frame"]


def cut_short(root: Path, _: Rows) -> None:
    file = root / "flight_1/3.tif"
    file.write_bytes(file.read_bytes()[:-1000])


def without_boxes(_: Path, rows: Rows) -> None:
    """Of the last frame, which keeps a row."""
    rows[-2:] = [dict.fromkeys(rows[0], "") | {"frame": "flight_2/5.tif", "flight": "night 2"}]


CHANGES: dict[str, tuple[Change, list[str], list[str]]] = {
    "duplicate": (add(), ["left out"], ["1: duplicate of another box (boxes.csv", "14"]),
    "clipped": (add(x=95, y=70), ["noted"], ["1: box clipped at the frame's edge (boxes.csv"]),
    "copy in another group": (
        lambda root, _: shutil.copy(root / "flight_0/0.tif", root / "flight_1/3.tif"),
        ["identical frames"],
        ["1 frame(s) have the same bytes as a frame of another group", "flight_1/3.tif", "allow_identical_frames"],
    ),
    "copy in its group": (
        lambda root, _: shutil.copy(root / "flight_1/2.tif", root / "flight_1/3.tif"),
        ["identical frames"],
        ["1 frame(s) have the same bytes as another frame of their group", "flight_1/3.tif and ", "count twice"],
    ),
    "a group per frame": (flight_per_frame, ["warning"], ["each of the 6 frames is a group of its own"]),
    "one group": (each(flight="night"), ["groups"], ["6 frames lie in 1 group(s) (night)", "at least 3"]),
    "small": (add(x=70, width=2), ["small boxes"], ["1 of 13 boxes", "flight_0/0.tif at x 70, y 20, 2x8 px"]),
    "large": (add(width=51, height=41), ["large boxes"], ["1 of 13 boxes", "more than a quarter", "51x41 px"]),
    "repeated": (add(x=10.5), ["repeated boxes"], ["1 box(es) overlap", "80%", "0.tif at x 10.5, y 20"]),
    "case": (add(x=70, label="Mallard"), ["class names"], ["'Mallard' and 'mallard'"]),
    "slip": (add(x=70, label="malard"), ["class names"], ["'malard' and 'mallard'"]),
    "empty": (
        without_boxes,
        ["frames without boxes"],
        ["1 of 6 frames have no box", "flight_2/5.tif"],
    ),
    "turned": (
        rewrite(lambda: pixels(3), extratags=[(274, 3, 1, 6, True)]),
        ["orientation"],
        ["1 of 6 frames", "flight_1/3.tif (tag 6)"],
    ),
    "counts": (counts, ["units"], ["6 of 6 frames hold counts without a scale", "flight_0/0.tif", "fixed window"]),
    "two units": (
        rewrite(lambda: (pixels(3) + 100).astype(np.uint16)),
        ["units", "units"],
        ["1 of 6 frames hold counts", "two units", "0.tif in degC and ", "3.tif in counts: training"],
    ),
    "cold": (
        rewrite(lambda: pixels(3) - 55),
        ["units"],
        ["1 of 6 frames have a median", "3.tif with -5", "radiometry"],
    ),
    "hot": (rewrite(lambda: pixels(3) + 60), ["units"], ["1 of 6 frames have a median outside of -40 to 60 degC"]),
    "holes": (
        rewrite(holes, extratags=gdal(nodata=-9999)),
        ["missing pixels"],
        ["1 of 6 frames lack more than 10%", "3.tif with 25%"],
    ),
    "flat": (rewrite(lambda: np.full((80, 100), 7.5, np.float32)), ["flat frames"], ["3.tif with 7.5 degC"]),
    "truncated": (cut_short, ["unreadable frames"], ["1 of 6 frames cannot be read: ", "3.tif: the file is truncated"]),
    "no picture": (
        lambda root, _: (root / "flight_1/3.tif").write_text("text"),
        ["left out", "left out"],
        ["2: box of a frame that is missing or cannot be read (", "1: frame cannot be read (", "this is no TIFF"],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_fault_gives_its_doubt_alone(tmp_path: Path, name: str) -> None:
    change, abouts, parts = CHANGES[name]
    rows = clean(tmp_path)
    change(tmp_path, rows)
    result = doubts(tmp_path, rows)
    assert [doubt.about for doubt in result] == abouts
    text = "\n".join(doubt.sentence for doubt in result)
    for part in parts:
        assert part in text


def test_nothing_to_doubt(tmp_path: Path) -> None:
    assert doubts(tmp_path, clean(tmp_path)) == []


def test_a_radiometry_opens_counts(tmp_path: Path) -> None:
    rows = clean(tmp_path)
    counts(tmp_path, rows)
    assert doubts(tmp_path, rows, Radiometry(0.01, -273.15)) == []


def test_pictures_of_single_animals_are_no_large_boxes(tmp_path: Path) -> None:
    rows = clean(tmp_path)[::2]
    for row in rows:
        row.update(x=0, y=0, width=100, height=80)
    assert doubts(tmp_path, rows) == []
    rows[0].update(width=99)
    assert [doubt.about for doubt in doubts(tmp_path, rows)] == ["large boxes"]


def test_repeated_boxes_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 12, (300, 2)).astype(float)
    sides = rng.integers(8, 14, (300, 2)).astype(float)
    frame = rng.choice(["a", "b"], 300)
    table = pd.DataFrame({"frame": frame, "x": values[:, 0], "y": values[:, 1], "width": sides[:, 0]})
    table["height"] = sides[:, 1]
    expected = set()
    boxes = np.hstack([values, sides]).tolist()
    for i, (x, y, width, height) in enumerate(boxes):
        for j, (left, top, wide, high) in enumerate(boxes[:i]):
            across = min(x + width, left + wide) - max(x, left)
            down = min(y + height, top + high) - max(y, top)
            shared = max(across, 0) * max(down, 0)
            if frame[i] == frame[j] and shared / (width * height + wide * high - shared) >= SAME_PLACE:
                expected.add(i)
    assert 20 < len(expected) < 280
    assert repeated_boxes(table).tolist() == sorted(expected)


@pytest.mark.parametrize(
    ("first", "other", "expected"),
    [
        ("mallard", "malard", True),
        ("mallard", "mallards", True),
        ("mallard", "mellard", True),
        ("mallard", "mallrad", True),
        ("mallard", "mellerd", False),
        ("goose1", "goose2", False),
        ("goose", "goose2", False),
        ("car", "cat", False),
    ],
)
def test_one_edit(first: str, other: str, expected: bool) -> None:
    assert one_edit(first, other) is one_edit(other, first) is expected


def test_names_that_differ_in_blanks_alone() -> None:
    assert len(name_doubts(["snow goose", "snow_goose", "teal"])) == 1
