"""The orientation tag turns pixels and sizes, in every kind of file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dml_lightning.data.pixels import FrameError, frame_header, frame_size, read_frame
from dml_lightning.data.pixels.orientation import turn

from .writing import with_chunk, write

GREY16 = np.random.default_rng(0).integers(0, 60000, (12, 17), dtype=np.uint16)
SMOOTH = np.add.outer(3 * np.arange(24), 2 * np.arange(40)).astype(np.uint8)

# The place of the first row and column of what is stored, from the definition of the tag.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,  # top, right
    3: lambda a: np.rot90(a, 2),  # bottom, right
    4: np.flipud,  # bottom, left
    5: np.transpose,  # left, top
    6: lambda a: np.rot90(a, -1),  # right, top
    7: lambda a: np.rot90(np.transpose(a), 2),  # right, bottom
    8: np.rot90,  # left, bottom
}


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[274] = orientation
    return tags.tobytes()


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_turn_agrees_with_pillow(orientation: int) -> None:
    picture = Image.fromarray(SMOOTH)
    picture.getexif()[274] = orientation
    np.testing.assert_array_equal(turn(SMOOTH, orientation), np.asarray(ImageOps.exif_transpose(picture)))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["tif", "float tif", "png", "png by XMP", "jpg"])
def test_every_reader_turns(tmp_path: Path, kind: str, orientation: int) -> None:
    stored: np.ndarray
    stored, tolerance = GREY16, 0.0
    if kind.endswith("tif"):
        stored = GREY16 if kind == "tif" else (GREY16 / 1000).astype(np.float32)
        path = write(tmp_path / "a.tif", stored, extratags=[(274, "H", 1, orientation, True)])
    elif kind == "png":
        path = write(tmp_path / "a.png", GREY16, exif=exif(orientation))
    elif kind == "png by XMP":
        path = write(tmp_path / "a.png", GREY16)
        with_chunk(path, b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="%d"/>' % orientation)
    else:
        stored, tolerance = SMOOTH, 4.0
        path = write(tmp_path / "a.jpg", SMOOTH, quality=95, exif=exif(orientation))
    expected = UPRIGHT[orientation](stored)
    frame = read_frame(path)
    np.testing.assert_allclose(np.asarray(frame.pixels, np.float64), expected, atol=tolerance)
    assert frame_header(path) == (expected.shape[::-1], orientation)
    assert frame_size(path) == frame.size == (expected.shape[1], expected.shape[0])


def test_missing_pixels_turn_along(tmp_path: Path) -> None:
    celsius = np.full((4, 6), 8.5, np.float32)
    celsius[0, 1] = -9999
    tags = [(274, "H", 1, 6, True), (42113, "s", 0, "-9999", True)]
    pixels = read_frame(write(tmp_path / "a.tif", celsius, extratags=tags)).pixels
    assert pixels.shape == (6, 4)
    assert np.argwhere(np.isnan(pixels)).tolist() == [[1, 3]]


def test_zero_is_unknown_and_others_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GREY16, extratags=[(274, "H", 1, 0, True)])
    np.testing.assert_array_equal(read_frame(path).pixels, GREY16)
    path = write(tmp_path / "b.tif", GREY16, extratags=[(274, "H", 1, 9, True)])
    with pytest.raises(FrameError, match=r"b\.tif: its orientation tag is 9; the tag is 1 to 8"):
        read_frame(path)


def test_an_array_has_no_tag(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY16)
    assert frame_header(tmp_path / "a.npy") == ((17, 12), 1)
