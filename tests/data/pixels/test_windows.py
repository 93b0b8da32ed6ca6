"""Large mosaics by windows: the values of the whole file, only the tiles touched, flat memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dml_lightning.data.pixels import FrameError, Radiometry, Windows, read_frame, windows
from dml_lightning.data.pixels.tiff import open_tiff

from .writing import gdal, write

RNG = np.random.default_rng(0)
COUNTS = RNG.integers(27000, 29000, (150, 210), dtype=np.uint16)
CELSIUS = RNG.normal(8, 3, (150, 210)).astype(np.float32)
LAYOUTS = {
    "tiles": {"tile": (32, 48), "compression": "zlib", "predictor": True},
    "plain tiles": {"tile": (16, 16)},
    "strips": {"rowsperstrip": 7, "compression": "lzw"},
    "memory map": {},
    "big endian": {"byteorder": ">"},
}


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "LARGE", 1000)


def whole(path: Path, radiometry: Radiometry | None = None) -> np.ndarray:
    """The same file, read at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LARGE", 1 << 30)
        pixels = read_frame(path, radiometry).pixels
    assert isinstance(pixels, np.ndarray)
    return pixels


SLICES = [
    (slice(0, 150), slice(0, 210)),
    (slice(31, 33), slice(47, 49)),
    (slice(149, 150), slice(200, 210)),
    (slice(3, 100), slice(5, 9)),
    (slice(None, None, 11), slice(None, None, 17)),
    (slice(5, 140, 50), slice(3, 200, 2)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["counts", "degC", "radiometry", "no-data", "alpha"])
def test_windows_hold_the_pixels_of_the_whole(tmp_path: Path, kind: str, layout: str) -> None:
    pixels: np.ndarray = COUNTS
    options, radiometry = dict(LAYOUTS[layout]), None
    if kind == "degC":
        pixels = CELSIUS
        options["predictor"] = 3 if options.get("predictor") else None
    elif kind == "radiometry":
        radiometry = Radiometry(0.01, -273.15)
    elif kind == "no-data":
        pixels, options["extratags"] = np.where(RNG.random(COUNTS.shape) < 0.1, np.uint16(9), COUNTS), gdal(9)
    elif kind == "alpha":
        alpha = np.where(np.arange(210) < 60, 0, 65535) + 0 * COUNTS
        pixels = np.stack([COUNTS, alpha.astype(np.uint16)], -1)
        options |= {"extrasamples": ["unassalpha"], "photometric": "minisblack", "planarconfig": "contig"}
    path = write(tmp_path / "a.tif", pixels, **options)
    frame, expected = read_frame(path, radiometry), whole(path, radiometry)
    assert isinstance(frame.pixels, Windows)
    assert frame.unit == ("counts" if kind in ("counts", "no-data", "alpha") else "degC")
    assert frame.pixels.shape == expected.shape
    assert frame.size == (210, 150)
    for key in SLICES:
        np.testing.assert_array_equal(frame.pixels[key], expected[key])
    np.testing.assert_array_equal(np.asarray(frame.pixels), expected)


def test_a_mask_page_is_read_by_windows(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(CELSIUS, tile=(32, 32))
        file.write(np.arange(210) + 0 * COUNTS > 50, subfiletype=4, photometric="mask", rowsperstrip=8)
    frame = read_frame(tmp_path / "a.tif")
    assert isinstance(frame.pixels, Windows)
    np.testing.assert_array_equal(frame.pixels[10:40, 30:80], whole(tmp_path / "a.tif")[10:40, 30:80])


def test_tiles_that_were_never_written_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", CELSIUS, tile=(32, 48), compression="zlib", extratags=gdal(-9999))
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = file.pages[0].tags[name]
            tag.overwrite([0, *tag.value[1:]])
    pixels = read_frame(path).pixels
    assert isinstance(pixels, Windows)
    assert np.isnan(pixels[0:32, 0:48]).all()
    np.testing.assert_array_equal(pixels[32:50, 0:48], CELSIUS[32:50, 0:48])


def test_only_the_tiles_of_a_window_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", CELSIUS, tile=(32, 32), compression="zlib")
    decoded: list[int] = []
    original = windows.Segments._decoded

    def noted(own: windows.Segments, number: int) -> Any:
        decoded.append(number)
        return original(own, number)

    monkeypatch.setattr(windows.Segments, "_decoded", noted)
    pixels = read_frame(path).pixels
    assert decoded == []
    pixels[30:40, 60:70]
    assert decoded == [1, 2, 8, 9]  # seven tiles in a row
    pixels[31:33, 63:65]
    assert decoded == [1, 2, 8, 9]  # kept
    monkeypatch.setattr(windows, "KEPT", 1)
    pixels[0:1, 0:1]
    pixels[30:32, 60:62]
    assert decoded == [1, 2, 8, 9, 0, 1]


def test_wrong_numbers_are_refused_in_the_window_that_holds_them(tmp_path: Path) -> None:
    celsius = CELSIUS.copy()
    celsius[100:, 150:] = 1e20
    pixels = read_frame(write(tmp_path / "a.tif", celsius, tile=(32, 32))).pixels
    np.testing.assert_array_equal(pixels[0:50, 0:50], celsius[:50, :50])
    with pytest.raises(FrameError, match=r"a\.tif: .*hotter than 600"):
        pixels[90:110, 140:160]


def test_small_turned_and_planar_files_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = write(tmp_path / "a.tif", COUNTS, tile=(32, 32), extratags=[(274, "H", 1, 3, True)])
    planar = write(tmp_path / "b.tif", np.stack([COUNTS] * 3), photometric="rgb", planarconfig="separate")
    large = write(tmp_path / "c.tif", COUNTS, tile=(32, 32))
    assert [windows.by_windows(open_tiff(path)) for path in (turned, planar, large)] == [False, False, True]
    monkeypatch.setattr(windows, "LARGE", COUNTS.nbytes)
    assert not windows.by_windows(open_tiff(large))
    monkeypatch.setattr(windows, "LARGE", 1000)
    monkeypatch.setattr(windows, "LARGEST_SEGMENT", 2000)  # a tile of 32x32 has 2048 bytes
    assert windows.by_windows(write_plain(tmp_path / "d.tif"))
    assert not windows.by_windows(open_tiff(write(tmp_path / "e.tif", COUNTS, compression="zlib", rowsperstrip=150)))


def write_plain(path: Path) -> object:
    return open_tiff(write(path, COUNTS))  # one strip, which can be mapped


def test_a_mosaic_too_large_for_memory_is_not_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = read_frame(write(tmp_path / "a.tif", CELSIUS, tile=(32, 32))).pixels
    monkeypatch.setattr(windows, "MOST_BYTES", 1000)
    with pytest.raises(FrameError, match=r"its pixels take .* GB; slice windows out of it"):
        np.asarray(pixels)
