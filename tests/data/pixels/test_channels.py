"""Alpha bands of mosaics mark missing pixels; other bands are named for what they are."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.data.pixels import FrameError, read_frame

from .writing import with_chunk, write

GREY8 = np.random.default_rng(0).integers(1, 255, (12, 17), dtype=np.uint8)
GREY16 = np.random.default_rng(0).integers(1, 60000, (12, 17), dtype=np.uint16)
OUTSIDE = np.zeros((12, 17), bool)
OUTSIDE[:, :4] = True


def assert_outside(pixels: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(np.isnan(pixels), OUTSIDE)
    np.testing.assert_array_equal(pixels[~OUTSIDE], expected[~OUTSIDE])


@pytest.mark.parametrize("grey", [GREY8, GREY16, (GREY8 / 10).astype(np.float32)], ids=["8", "16", "float"])
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_alpha_band_of_a_tiff(tmp_path: Path, grey: np.ndarray, colours: int, planar: str) -> None:
    opaque = 1 if grey.dtype.kind == "f" else np.iinfo(grey.dtype).max
    alpha = np.where(OUTSIDE, 0, opaque).astype(grey.dtype)
    bands = np.stack([*[np.where(OUTSIDE, 0, grey)] * colours, alpha], axis=0 if planar == "separate" else -1)
    path = write(
        tmp_path / "a.tif",
        bands.astype(grey.dtype),
        photometric="rgb" if colours == 3 else "minisblack",
        extrasamples=["unassalpha"],
        planarconfig=planar,
    )
    assert_outside(read_frame(path).pixels, grey)


@pytest.mark.parametrize("bands", [2, 4])
def test_alpha_channel_of_a_png(tmp_path: Path, bands: int) -> None:
    alpha = np.where(OUTSIDE, 0, 255).astype(np.uint8)
    path = write(tmp_path / "a.png", np.stack([*[GREY8] * (bands - 1), alpha], axis=-1))
    assert_outside(read_frame(path).pixels, GREY8)


@pytest.mark.parametrize("grey", [GREY8, GREY16], ids=["8-bit", "16-bit"])
def test_transparent_value_of_a_png(tmp_path: Path, grey: np.ndarray) -> None:
    path = write(tmp_path / "a.png", np.where(OUTSIDE, 0, grey).astype(grey.dtype))
    with_chunk(path, b"tRNS", b"\0\0")
    assert_outside(read_frame(path).pixels, grey)


def test_a_few_half_transparent_pixels_at_the_seam_are_missing(tmp_path: Path) -> None:
    alpha = np.where(OUTSIDE, 0, 255).astype(np.uint8)
    alpha[:, 4] = 128
    pixels = read_frame(write(tmp_path / "a.png", np.stack([GREY8, alpha], -1))).pixels
    np.testing.assert_array_equal(np.isnan(pixels), alpha < 255)


def test_alpha_that_hides_everything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="all of its pixels are marked as missing"):
        read_frame(write(tmp_path / "a.png", np.stack([GREY8, 0 * GREY8], -1)))


@pytest.mark.parametrize("bands", [2, 4, 5])
def test_bands_that_are_no_alpha_are_named(tmp_path: Path, bands: int) -> None:
    path = write(tmp_path / "a.tif", np.stack([GREY16] * bands, -1), photometric="minisblack", planarconfig="contig")
    message = f"the file holds {bands} bands; a frame is one band" if bands < 5 else r"shape \(12, 17, 5\)"
    with pytest.raises(FrameError, match=rf"a\.tif: .*{message}"):
        read_frame(path)
