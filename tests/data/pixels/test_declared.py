"""What files declare: no-data values, scale, offset and unit, in tags and in the file beside a frame."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dml_lightning.data.pixels import FrameError, Radiometry, read_frame

from .writing import gdal, write

COUNTS = np.random.default_rng(0).integers(27000, 29000, (12, 17), dtype=np.uint16)
CELSIUS = np.random.default_rng(1).normal(8, 3, (12, 17)).astype(np.float32)
HOLES = np.zeros((12, 17), bool)
HOLES[2:5, 3:9] = True


def assert_missing(pixels: np.ndarray, expected: np.ndarray) -> None:
    """NaN at the holes and the exact values elsewhere."""
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(pixels), HOLES)
    np.testing.assert_array_equal(pixels[~HOLES], expected[~HOLES].astype(np.float32))


@pytest.mark.parametrize("value", [0, 9999, 65535])
def test_declared_counts_are_missing(tmp_path: Path, value: int) -> None:
    stored = np.where(HOLES, np.uint16(value), COUNTS)
    frame = read_frame(write(tmp_path / "a.tif", stored, extratags=gdal(value)))
    assert frame.unit == "counts"
    assert_missing(frame.pixels, COUNTS)
    celsius = read_frame(tmp_path / "a.tif", Radiometry(0.01, -273.15))
    assert celsius.unit == "degC"
    assert_missing(celsius.pixels, Radiometry(0.01, -273.15).to_celsius(COUNTS))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-9999, "-9999"),
        (0, "0"),
        (np.nan, "nan"),
        (np.finfo(np.float32).max, "3.4028234663852886e+38"),
        (np.finfo(np.float32).min, "-3.40282346638529e+38"),
        (1e20, "1e+20"),
        (-np.inf, "-inf"),
    ],
)
def test_declared_temperatures_are_missing(tmp_path: Path, value: float, text: str) -> None:
    stored = np.where(HOLES, np.float32(value), CELSIUS)
    frame = read_frame(write(tmp_path / "a.tif", stored, extratags=gdal(text)))
    assert frame.unit == "degC"
    assert_missing(frame.pixels, CELSIUS)


def test_declared_in_float64_and_in_three_equal_channels(tmp_path: Path) -> None:
    stored = np.where(HOLES, -1e30, CELSIUS.astype(np.float64))
    assert_missing(read_frame(write(tmp_path / "a.tif", stored, extratags=gdal("-1e30"))).pixels, CELSIUS)
    counts = np.stack([np.where(HOLES, np.uint16(0), COUNTS)] * 3, axis=-1)
    path = write(tmp_path / "b.tif", counts, photometric="rgb", extratags=gdal(0))
    assert_missing(read_frame(path).pixels, COUNTS)


@pytest.mark.parametrize("text", ["-9999", "0.5", "70000", "nan", "1"])
def test_declared_but_absent_changes_nothing(tmp_path: Path, text: str) -> None:
    pixels = read_frame(write(tmp_path / "a.tif", COUNTS, extratags=gdal(text))).pixels
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, COUNTS)


def test_a_value_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match=r"a\.tif: its GDAL metadata hold 'none' for a number"):
        read_frame(write(tmp_path / "a.tif", COUNTS, extratags=gdal("none")))


def test_only_missing_pixels_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((8, 9), np.uint16), extratags=gdal(0))
    with pytest.raises(FrameError, match="all of its pixels are marked as missing"):
        read_frame(path)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_the_file_beside_a_frame_counts_as_well(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", np.where(HOLES, np.uint16(7), COUNTS))
    band = "<NoDataValue>7</NoDataValue><Scale>0.01</Scale><Offset>-273.15</Offset>"
    (tmp_path / f"a.{suffix}.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1">{band}</PAMRasterBand></PAMDataset>'
    )
    frame = read_frame(path)
    assert frame.unit == "degC"
    assert_missing(frame.pixels, Radiometry(0.01, -273.15).to_celsius(COUNTS))
    (tmp_path / f"a.{suffix}.aux.xml").write_text("<PAMDataset>")
    with pytest.raises(FrameError, match="its GDAL metadata are no XML"):
        read_frame(path)


@pytest.mark.parametrize(
    ("items", "gain", "offset"),
    [
        ({"scale": 0.01, "offset": -273.15}, 0.01, -273.15),
        ({"scale": 0.001}, 0.001, 0),
        ({"offset": -27990}, 1, -27990),
        ({"scale": 0.01, "unittype": "K"}, 0.01, -273.15),
        ({"scale": 0.01, "offset": -273.15, "unittype": "Celsius"}, 0.01, -273.15),
    ],
)
def test_scale_and_offset_serve_where_the_user_gave_none(
    tmp_path: Path, items: dict[str, object], gain: float, offset: float
) -> None:
    counts = COUNTS if "offset" not in items or "scale" in items else COUNTS // np.uint16(100) + np.uint16(27720)
    path = write(tmp_path / "a.tif", counts, extratags=gdal(**items))
    frame = read_frame(path)
    assert frame.unit == "degC"
    np.testing.assert_allclose(frame.pixels, counts.astype(float) * gain + offset, atol=1e-4)
    given = Radiometry(0.005, -130)
    np.testing.assert_array_equal(read_frame(path, given).pixels, given.to_celsius(counts))


def test_floats_in_kelvin_with_their_unit_are_converted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", CELSIUS + np.float32(273.15), extratags=gdal(unittype="kelvin"))
    np.testing.assert_allclose(read_frame(path, Radiometry(5, 5)).pixels, CELSIUS, atol=1e-4)


def test_a_scale_of_one_is_none(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path / "a.tif", COUNTS, extratags=gdal(scale=1, offset=0, unittype="m")))
    assert frame.unit == "counts"
    np.testing.assert_array_equal(frame.pixels, COUNTS)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"scale": 0.01, "unittype": "F"}, "scale 0.01 and offset 0 in the unit 'F'; declare a scale to degC or K"),
        ({"scale": 0, "offset": 5}, "scale 0 and offset 5"),
        ({"scale": "inf"}, "scale inf"),
        ({"scale": "x"}, "hold 'x' for a number"),
    ],
)
def test_a_scale_to_no_temperature_is_refused(tmp_path: Path, items: dict[str, Any], message: str) -> None:
    with pytest.raises(FrameError, match=message):
        read_frame(write(tmp_path / "a.tif", COUNTS, extratags=gdal(**items)))


def test_scale_of_another_band_is_not_this_one(tmp_path: Path) -> None:
    text = '<GDALMetadata><Item name="SCALE" sample="1" role="scale">9</Item><Item name="SCALE">5</Item></GDALMetadata>'
    tifffile.imwrite(tmp_path / "a.tif", COUNTS, extratags=[(42112, "s", 0, text, True)])
    assert read_frame(tmp_path / "a.tif").unit == "counts"
