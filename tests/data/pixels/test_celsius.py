"""Numbers that no field camera means are refused; signed counts need to be told what they are."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.data.pixels import FrameError, Radiometry, read_frame
from dml_lightning.data.pixels.celsius import check_celsius

from .writing import write

CELSIUS = np.random.default_rng(0).normal(8, 3, (20, 30))
CAUSE = "likely Kelvin, or negative numbers that wrapped"


@pytest.mark.parametrize("gain", [0.1, 0.01])
def test_signed_counts_with_a_radiometry(tmp_path: Path, gain: float) -> None:
    stored = np.round((CELSIUS - 8) / gain).astype(np.int16)  # half of it below zero
    path = write(tmp_path / "a.tif", stored)
    frame = read_frame(path, Radiometry(gain, 0))
    assert frame.unit == "degC"
    np.testing.assert_allclose(frame.pixels, CELSIUS - 8, atol=gain)
    with pytest.raises(FrameError, match=r"the pixels are int16, signed counts; give a radiometry .* as gain 0\.1"):
        read_frame(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kelvin_is_named(tmp_path: Path, dtype: type) -> None:
    path = write(tmp_path / "a.tif", (CELSIUS + 273.15).astype(dtype))
    with pytest.raises(FrameError, match=rf"median of its pixels is 281.* degC: they are {CAUSE}"):
        read_frame(path)


def test_counts_in_centikelvin_without_their_offset_are_kelvin(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", ((CELSIUS + 273.15) * 100).astype(np.uint16))
    with pytest.raises(FrameError, match=CAUSE):
        read_frame(path, Radiometry(0.01, 0))


@pytest.mark.parametrize("share", [1.0, 0.3, 0.01])
def test_wrapped_numbers_are_named(tmp_path: Path, share: float) -> None:
    """Hundredths of a degC below zero, written without sign: 655 degC, in the whole frame or a few pixels."""
    below = np.random.default_rng(1).random(CELSIUS.shape) < share
    stored = np.round(np.where(below, -np.abs(CELSIUS) - 0.1, np.abs(CELSIUS)) * 100).astype(np.int64)
    path = write(tmp_path / "a.tif", (stored % 65536).astype(np.uint16))
    with pytest.raises(FrameError, match=rf"a\.tif: .*{CAUSE}"):
        read_frame(path, Radiometry(0.01, 0))


@pytest.mark.parametrize(("gain", "offset"), [(0.01, -273.15), (0.04, -273.15), (1.0, 100.0)])
def test_a_radiometry_does_not_fit_an_8_bit_picture(tmp_path: Path, gain: float, offset: float) -> None:
    picture = np.random.default_rng(0).integers(60, 200, (20, 30), dtype=np.uint8)
    with pytest.raises(FrameError, match="fits its camera's counts, never an 8-bit picture"):
        read_frame(write(tmp_path / "a.png", picture), Radiometry(gain, offset))


@pytest.mark.parametrize("value", [1e20, 3.4028234663852886e38, 601])
def test_undeclared_high_values_are_counted(tmp_path: Path, value: float) -> None:
    celsius = CELSIUS.astype(np.float32)
    celsius[3, 4:8] = value
    with pytest.raises(FrameError, match=r"4 of 600 pixels are hotter than 600 degC .*or a no-data value"):
        read_frame(write(tmp_path / "a.tif", celsius))


@pytest.mark.parametrize("median", [-60, -40, 0, 45, 150])
def test_what_field_cameras_see_passes(median: float) -> None:
    scene = np.append(np.full(99, float(median)), 599)
    check_celsius("a.tif", scene)
    check_celsius("a.tif", scene[:0])


def test_the_median_of_a_large_frame_is_taken_of_all_of_it() -> None:
    scene = np.full((400, 400), 20.0)
    scene[:100] = 300  # a quarter
    check_celsius("a.tif", scene)
    scene[:210] = 300
    with pytest.raises(FrameError, match="median of its pixels is 300 degC"):
        check_celsius("a.tif", scene)
