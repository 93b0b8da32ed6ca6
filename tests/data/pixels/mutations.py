"""Small valid files of every kind, and damage to them; for the fuzz test and its long form in benchmarks."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from .writing import counts_of, flir_jpeg, gdal, jpeg_bytes, with_segments

GREY8 = np.random.default_rng(0).integers(1, 255, (20, 24), dtype=np.uint8)
GREY16 = np.random.default_rng(1).integers(27000, 29000, (20, 24), dtype=np.uint16)
CELSIUS = np.random.default_rng(2).normal(8, 3, (20, 24)).astype(np.float32)


def tiff_bytes(pixels: np.ndarray, **options: Any) -> bytes:
    """A TIFF by tifffile."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def _masked() -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(GREY16)
        file.write(GREY16 > 28000, subfiletype=4, photometric="mask")
    return stream.getvalue()


def _png(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **options)
    return stream.getvalue()


def _npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, CELSIUS)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    """Valid files by name."""
    counts = np.vectorize(counts_of)(CELSIUS).astype(np.uint16)
    scaled = gdal(28000, scale=0.01, offset=-273.15)
    exif = Image.Exif()
    exif[274], exif[271] = 6, "DJI"
    return {
        "tiff": tiff_bytes(GREY16),
        "tiff tiles": tiff_bytes(GREY16, tile=(16, 16), compression="zlib", extratags=scaled),
        "tiff strips": tiff_bytes(CELSIUS, rowsperstrip=3, compression="lzw", extratags=gdal("nan")),
        "bigtiff": tiff_bytes(GREY8, bigtiff=True, byteorder=">", photometric="miniswhite"),
        "tiff mask": _masked(),
        "png": _png(GREY16),
        "png alpha": _png(np.stack([GREY8, np.where(GREY8 > 9, 255, 0).astype(np.uint8)], -1), exif=exif),
        "jpeg": jpeg_bytes(GREY8, exif=exif),
        "dji": with_segments(jpeg_bytes(GREY8, exif=exif), [(0xE3, bytes(9000))]),
        "flir": flir_jpeg(counts, np.stack([GREY8] * 3, -1), part=700),
        "flir plain": flir_jpeg(counts, np.stack([GREY8] * 3, -1), png=False, order=">"),
        "npy": _npy(),
    }


def damaged(content: bytes, edits: list[tuple[float, int, int]], kept: float) -> bytes:
    """Overwrites bytes at relative places, and cuts the end off.

    Args:
        content: The valid file.
        edits: Place (0 to 1; its square root of places lies in the first half more often), value, number of bytes.
        kept: Share of the file that stays.
    """
    result = bytearray(content)
    for place, value, count in edits:
        start = int(place**2 * len(result))  # headers are met more often
        result[start : start + count] = bytes([value]) * count
    return bytes(result[: max(1, round(kept * len(result)))])


def outcome(path: Path, content: bytes, reader: Callable[[Path], Any]) -> str:
    """Writes a file and reads it: "read", or the sentence of its refusal; anything else is raised.

    Raises:
        AssertionError: The result is no frame, or the refusal is no one sentence that names the file once.
    """
    from dml_lightning.data.pixels import FrameError

    path.write_bytes(content)
    try:
        frame = reader(path)
    except FrameError as error:
        sentence = str(error)
        assert sentence.count(str(path)) == 1, sentence
        assert "\n" not in sentence, sentence
        assert sentence.endswith("."), sentence
        return sentence
    if isinstance(frame, tuple):
        assert min(frame) > 0
    else:
        assert np.asarray(frame.pixels).ndim == 2
        assert frame.unit in ("counts", "degC")
    return "read"
