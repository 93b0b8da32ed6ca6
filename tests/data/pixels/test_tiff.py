"""TIFF as tools write it: masks, sparse and damaged files, lists of pages; each read right or refused by name."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dml_lightning.data.pixels import FrameError, frame_size, read_frame, tiff

from .writing import gdal, write

GREY8 = np.random.default_rng(0).integers(1, 255, (32, 48), dtype=np.uint8)
GREY16 = np.random.default_rng(0).integers(1, 60000, (32, 48), dtype=np.uint16)
OUTSIDE = np.zeros((32, 48), bool)
OUTSIDE[:, :20] = True
MASK = np.where(OUTSIDE, 0, 255).astype(np.uint8)


def as_mask(path: Path) -> None:
    """Makes the second page a mask of 8 bits, which tifffile does not write."""
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[1].tags["NewSubfileType"].overwrite(4)


@pytest.mark.parametrize("grey", [GREY8, GREY16, (GREY8 / 9).astype(np.float32)], ids=["8", "16", "float"])
@pytest.mark.parametrize("bits", [8, 1])
def test_an_internal_mask_page(tmp_path: Path, grey: np.ndarray, bits: int) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(grey)
        if bits == 1:
            file.write(MASK > 0, subfiletype=4, photometric="mask")
        else:
            file.write(MASK, subfiletype=2)
        file.write(grey[::2, ::2].copy(), subfiletype=1)  # overviews, of the frame and of its mask
        file.write(MASK[::2, ::2] > 0, subfiletype=5, photometric="mask")
    if bits == 8:
        as_mask(tmp_path / "a.tif")
    pixels = read_frame(tmp_path / "a.tif").pixels
    np.testing.assert_array_equal(np.isnan(pixels), OUTSIDE)
    np.testing.assert_array_equal(pixels[~OUTSIDE], grey[~OUTSIDE])
    assert frame_size(tmp_path / "a.tif") == (48, 32)


def test_a_mask_file_beside_the_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GREY16)
    tifffile.imwrite(tmp_path / "a.tif.msk", MASK)
    np.testing.assert_array_equal(np.isnan(read_frame(path).pixels), OUTSIDE)


def test_a_mask_without_holes_changes_nothing(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY16)
        file.write(np.full(MASK.shape, True), subfiletype=4, photometric="mask")
    pixels = read_frame(tmp_path / "a.tif").pixels
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, GREY16)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY16)
        file.write(MASK[:30] > 0, subfiletype=4, photometric="mask")
    with pytest.raises(FrameError, match=r"its mask of 48x30 px and 1 bands is none of the 48x32 px frame"):
        read_frame(tmp_path / "a.tif")


def unwrite(path: Path, parts: slice, *, offsets: bool = True) -> None:
    """Marks strips or tiles as never written, as GDAL does with SPARSE_OK."""
    with tifffile.TiffFile(path, mode="r+b") as file:
        names = ("TileOffsets", "TileByteCounts") if file.pages[0].is_tiled else ("StripOffsets", "StripByteCounts")
        for name in names if offsets else names[1:]:
            tag = file.pages[0].tags[name]
            values = list(tag.value)
            values[parts] = [0] * len(values[parts])
            tag.overwrite(values)


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"rowsperstrip": 8}], ids=["tiles", "strips"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_sparse_files(tmp_path: Path, options: dict[str, Any], compression: str | None) -> None:
    kind, count = ("tiles", 6) if "tile" in options else ("strips", 4)
    path = write(tmp_path / "a.tif", GREY16, compression=compression, **options)
    unwrite(path, slice(1, 3))
    with pytest.raises(FrameError, match=rf"2 of its {count} {kind} were never written \(a sparse TIFF\); declare"):
        read_frame(path)
    # -9999 is no number that a pixel of 16 bit can have, so parts that were never written would come as 0
    path = write(tmp_path / "b.tif", GREY16, compression=compression, extratags=gdal(-9999), **options)
    unwrite(path, slice(1, 3))
    with pytest.raises(FrameError, match="sparse TIFF"):
        read_frame(path)
    path = write(tmp_path / "c.tif", GREY16, compression=compression, extratags=gdal(0), **options)
    unwrite(path, slice(1, 3))
    hole = np.zeros((32, 48), bool)
    if kind == "tiles":
        hole[:16, 16:] = True
    else:
        hole[8:24] = True
    pixels = read_frame(path).pixels
    np.testing.assert_array_equal(np.isnan(pixels), hole)
    np.testing.assert_array_equal(pixels[~hole], GREY16[~hole])


def test_strips_of_no_bytes_are_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GREY16, rowsperstrip=8, compression="zlib", extratags=gdal(0))
    unwrite(path, slice(1, 3), offsets=False)
    with pytest.raises(FrameError, match="the file is truncated"):
        read_frame(path)


@pytest.mark.parametrize("count", [0, 100])
def test_a_strip_that_states_fewer_bytes_than_its_pixels(tmp_path: Path, count: int) -> None:
    """What follows in the file would be read for pixels."""
    path = write(tmp_path / "a.tif", GREY16)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["StripByteCounts"].overwrite(count)
    path.write_bytes(path.read_bytes() + bytes(9999))
    with pytest.raises(FrameError, match="the file is truncated"):
        read_frame(path)


@pytest.mark.parametrize(("tag", "field"), [(273, slice(8, 12)), (279, slice(4, 8))], ids=["offset 0", "no count"])
@pytest.mark.parametrize("side", [32, 6000])  # whole, and by windows
def test_lists_of_strips_that_lead_nowhere(tmp_path: Path, tag: int, field: slice, side: int) -> None:
    path = write(tmp_path / "a.tif", np.resize(GREY16, (side, side)))
    data = bytearray(path.read_bytes())
    entry = data.index(struct.pack("<HHI", tag, 4, 1))
    data[entry + field.start : entry + field.stop] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(FrameError, match=r"a\.tif: its lists of strips are damaged"):
        read_frame(path)


def endless(pages: int, *, loop: bool) -> bytes:
    """A TIFF whose pages follow one another without an end, or for very long."""
    entries = [(256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (278, 4, 1, 4)]
    entries += [(279, 4, 1, 16)]
    size, content = 2 + 12 * len(entries) + 4, bytearray(b"II*\0" + struct.pack("<I", 24) + bytes(range(16)))
    for page in range(pages):
        following = 24 + size * (page + 1) if page + 1 < pages else (24 if loop else 0)
        content += struct.pack("<H", len(entries))
        content += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", following)
    return bytes(content)


def test_a_list_of_pages_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(endless(1, loop=False))
    assert read_frame(tmp_path / "a.tif").pixels.tolist() == np.arange(16).reshape(4, 4).tolist()
    (tmp_path / "b.tif").write_bytes(endless(20_000, loop=False))
    for reader in (read_frame, frame_size):
        with pytest.raises(FrameError, match=rf"the file holds more than {tiff.MOST_PAGES} pages; a frame is one page"):
            reader(tmp_path / "b.tif")
    (tmp_path / "c.tif").write_bytes(endless(3, loop=True))
    with pytest.raises(FrameError, match=r"c\.tif: the file (holds|is damaged)"):
        read_frame(tmp_path / "c.tif")


def test_pictures_behind_the_first_page_are_counted(tmp_path: Path) -> None:
    stack = np.stack([GREY16] * 5)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "ZYX"}, photometric="minisblack", contiguous=True)
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(stack, truncate=True, photometric="minisblack")
    with tifffile.TiffWriter(tmp_path / "c.tif", imagej=True) as file:
        file.write(stack, truncate=True, photometric="minisblack")
    for name in ("a.tif", "b.tif", "c.tif"):
        with pytest.raises(FrameError, match="the file holds 5 pages"):
            read_frame(tmp_path / name)


def test_one_picture_of_imagej_is_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY16, imagej=True)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.tif").pixels, GREY16)


def test_pixels_beyond_all_bounds_are_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GREY8, compression="zlib", rowsperstrip=32)
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages[0].tags[name].overwrite(60_000)
    with pytest.raises(FrameError, match=r"its 3\.6 GB of pixels can only be decoded at once"):
        read_frame(path)


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_palette_planar_and_big_endian_pieces_agree_with_tifffile(tmp_path: Path, size: int) -> None:
    grey = np.random.default_rng(size).integers(0, 60000, (size % 61 + 1, size), dtype=np.uint16)
    path = write(tmp_path / "a.tif", grey, byteorder=">", compression="lzw", predictor=True, tile=(16, 32))
    np.testing.assert_array_equal(read_frame(path).pixels, tifffile.imread(path))
