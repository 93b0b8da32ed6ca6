"""PNG of 8 and 16 bit: the header without the pixels, every grey form exactly, the rest refused."""

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dml_lightning.data.pixels import FrameError, read_frame
from dml_lightning.data.pixels.png import Png, open_png, read_png
from tests.data.sources.making import needs

from .writing import assert_exact, png_chunk, with_chunk, write

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (12, 17), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (12, 17), dtype=np.uint16)


def png16_bytes(pixels: np.ndarray) -> bytes:
    """Writes a 16-bit PNG straight from the format's definition."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    height, width = pixels.shape[:2]
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_the_header_tells_size_bits_and_orientation(tmp_path: Path) -> None:
    assert open_png(write(tmp_path / "a.png", GREY8)) == Png((17, 12), 1, 8, False)
    assert open_png(write(tmp_path / "b.png", GREY16)) == Png((17, 12), 1, 16, False)
    exif = Image.Exif()
    exif[274] = 6
    assert open_png(write(tmp_path / "c.png", GREY8, exif=exif)) == Png((12, 17), 6, 8, False)
    by_xmp = write(tmp_path / "d.png", GREY16)
    with_chunk(by_xmp, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>8</tiff:Orientation>")
    assert open_png(by_xmp) == Png((12, 17), 8, 16, False)


def test_pixels_are_not_yet_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = write(tmp_path / "a.png", GREY8, exif=exif)
    channel, _ = read_png(path, open_png(path))
    np.testing.assert_array_equal(channel.values, GREY8)
    assert channel.missing is None


def test_a_header_without_a_size_is_refused(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 0, 12, 8, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header))
    with pytest.raises(ValueError, match="its header states 0x12 px"):
        open_png(tmp_path / "a.png")


def test_sixteen_bit_png_against_its_definition(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png16_bytes(GREY16))
    assert_exact(read_frame(path), GREY16)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bit_png_with_equal_channels_keeps_all_bits(tmp_path: Path, channels: int) -> None:
    pixels = np.stack([GREY16] * channels, axis=-1)
    if channels in (2, 4):
        pixels[..., -1] = 65535
    (tmp_path / "a.png").write_bytes(png16_bytes(pixels))
    assert_exact(read_frame(tmp_path / "a.png"), GREY16)


def test_constant_alpha_is_dropped(tmp_path: Path) -> None:
    alpha = np.full_like(GREY8, 255)
    assert_exact(read_frame(write(tmp_path / "a.png", np.stack([GREY8] * 3 + [alpha], -1))), GREY8)
    assert_exact(read_frame(write(tmp_path / "b.png", np.stack([GREY8, alpha], -1))), GREY8)


def test_varying_alpha_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", np.stack([GREY8] * 4, -1))
    with pytest.raises(FrameError, match=r"a\.png: the picture has an alpha channel that varies"):
        read_frame(path)


def test_grey_palette_png_is_grey(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY8).convert("P")
    ramp = [255 - value for value in range(256) for _ in range(3)]  # indices are not the values
    picture.putpalette(ramp)
    picture.save(tmp_path / "a.png")
    indices = np.asarray(picture)
    assert_exact(read_frame(tmp_path / "a.png"), (255 - indices).astype(np.uint8))


def test_a_png_needs_exactly_equal_channels(tmp_path: Path) -> None:
    pixels = np.stack([GREY8] * 3, axis=-1)
    pixels[3, 4, 2] ^= 1
    with pytest.raises(FrameError, match=r"a\.png: the three channels differ by up to 1 counts"):
        read_frame(write(tmp_path / "a.png", pixels))


def test_black_and_white_png_is_0_and_255(tmp_path: Path) -> None:
    Image.fromarray(GREY8 > 99).save(tmp_path / "a.png")
    assert np.array_equal(read_frame(tmp_path / "a.png").pixels, 255 * (GREY8 > 99))


def test_animated_png_is_refused(tmp_path: Path) -> None:
    second = Image.fromarray(GREY8[::-1].copy())
    Image.fromarray(GREY8).save(tmp_path / "a.png", save_all=True, append_images=[second])
    with pytest.raises(FrameError, match="animated PNG"):
        read_frame(tmp_path / "a.png")


def test_truncated_sixteen_bit_colour_png_raises(tmp_path: Path) -> None:
    whole = png16_bytes(np.stack([GREY16] * 3, axis=-1))
    (tmp_path / "a.png").write_bytes(whole[: int(0.7 * len(whole))])
    with pytest.raises(FrameError, match="damaged or truncated"):
        read_frame(tmp_path / "a.png")


def test_real_sixteen_bit_png() -> None:
    path = needs("radiometric/CHESS_FL1_C_160407_234502.428_THERM-16BIT.PNG")
    frame = read_frame(path)
    assert frame.pixels.dtype == np.uint16
    assert (int(frame.pixels.min()), int(frame.pixels.max())) == (51021, 52421)
    np.testing.assert_array_equal(frame.pixels, imagecodecs.imread(path))
