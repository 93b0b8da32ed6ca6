"""A look at a frame: its kind, unit and range."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dml_lightning.data import looks
from dml_lightning.data.frames import FrameError, Radiometry
from dml_lightning.data.looks import FrameLook, evenly, look_at, look_at_all
from tests.data.pixels.writing import gdal, write


def test_counts_and_degc(tmp_path: Path) -> None:
    pixels = np.array([[27_315, 27_415, 28_315]], np.uint16)
    path = str(write(tmp_path / "a.tif", pixels))
    assert look_at(path) == FrameLook(path, "TIFF uint16", "counts", 27_315, 27_415, 28_315, 0)
    celsius = look_at(path, Radiometry(0.01, -273.15))
    assert celsius[:3] == (path, "TIFF", "degC")
    assert celsius[3:] == pytest.approx((0, 1, 10, 0), abs=1e-4)
    png = str(write(tmp_path / "a.png", np.array([[3, 5]], np.uint8)))
    assert look_at(png) == FrameLook(png, "PNG uint8", "counts", 3, 4, 5, 0)


def test_missing_pixels_are_counted_and_have_no_value(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.tif", np.array([[0, 9, 9, 11]], np.uint16), extratags=gdal(nodata=0)))
    assert look_at(path) == FrameLook(path, "TIFF with missing pixels", "counts", 9, 9, 11, 0.25)


def test_nothing_there_at_the_pixels_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "MOST_ROWS", 2)
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, np.array([[0, 9, 0, 9]], np.uint16), extratags=gdal(nodata=0))
    with pytest.raises(FrameError, match="all of the pixels looked at are marked as missing"):
        look_at(path)


def test_frames_are_spaced_evenly() -> None:
    frames = [str(number) for number in range(1000)]
    few = [int(frame) for frame in evenly(frames)]
    assert (len(few), few[0], few[-1]) == (200, 0, 999)
    assert set(np.diff(few)) == {5, 6}
    assert evenly(frames[:3]) == frames[:3]


def test_bad_frames_are_named(tmp_path: Path) -> None:
    good = str(write(tmp_path / "a.png", np.array([[3, 5]], np.uint8)))
    seen, bad = look_at_all([good, str(tmp_path / "b.png")])
    assert [look.frame for look in seen] == [good]
    assert len(bad) == 1
    assert "b.png: there is no such file" in bad[0]
