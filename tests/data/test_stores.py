"""Where patches come from without a cache: cut frame by frame, bad frames named or skipped."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from dml_lightning.data.crops import CropOptions, by_frame, cut_frame
from dml_lightning.data.frames import FrameError, read_frame
from dml_lightning.data.stores import Cutter, UncachedCrops
from tests.data.making import counts_table

OPTIONS = CropOptions(crop_size=16)


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return counts_table(tmp_path)


def test_uncached_crops_are_those_of_the_frames(table: pd.DataFrame) -> None:
    store = UncachedCrops(table, OPTIONS)
    boxes = table[["x", "y", "width", "height"]].to_numpy()
    expected = np.empty((20, OPTIONS.stored_size, OPTIONS.stored_size), np.float32)
    for path, rows in by_frame(table):
        expected[rows], statistics = cut_frame(read_frame(path), boxes[rows], OPTIONS, path)
        np.testing.assert_array_equal(store.statistics[rows], statistics)
    mixed = np.array([7, 7, 0, 19, 3])  # of several frames, and one twice
    np.testing.assert_array_equal(store.patches(mixed), expected[mixed])
    np.testing.assert_array_equal(store.patches(np.arange(20)), expected)
    assert store.units == ["counts"]
    assert store.bad_frames == {}


def test_one_reading_serves_all_crops_of_a_frame(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    store = UncachedCrops(table, OPTIONS)
    opened: list[str] = []
    original = store.cutter.cut

    def noted(path: str, rows: np.ndarray) -> Any:
        opened.append(path)
        return original(path, rows)

    monkeypatch.setattr(store.cutter, "cut", noted)
    store.patches(np.arange(20))
    assert sorted(opened) == sorted(table["frame"].unique())


def test_frames_of_two_units_are_told(table: pd.DataFrame) -> None:
    tifffile.imwrite(table["frame"][0], np.random.default_rng(0).normal(8, 3, (64, 80)).astype(np.float32))
    assert UncachedCrops(table, OPTIONS).units == ["counts", "degC"]


def test_a_bad_frame_stops_at_once(table: pd.DataFrame) -> None:
    bad = table["frame"][0]
    os.truncate(bad, 200)
    with pytest.raises(FrameError, match=bad):
        UncachedCrops(table, OPTIONS)


def test_a_bad_frame_can_be_skipped(table: pd.DataFrame) -> None:
    bad = table["frame"][0]
    Path(bad).unlink()
    crops = UncachedCrops(table, OPTIONS, "skip")
    lost = (table["frame"] == bad).to_numpy()
    np.testing.assert_array_equal(np.isnan(crops.statistics), np.stack([lost, lost], axis=1))
    assert list(crops.bad_frames) == [bad]
    assert bad in crops.bad_frames[bad]


def test_a_note_of_a_frame_is_printed_once(table: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    for path in table["frame"].unique()[:2]:
        tifffile.imwrite(path, np.full((64, 80), 30000, np.uint16), photometric="miniswhite")
    assert sum(len(rows) for rows, _ in Cutter(table, OPTIONS).cut_all("stop")) == 20
    assert capsys.readouterr().err.count("WhiteIsZero: its counts are kept as they are stored (2 frames).") == 1
