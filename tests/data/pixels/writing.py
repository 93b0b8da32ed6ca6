"""Small files as cameras and tools write them, made from the formats' definitions, and what a reader must return."""

import io
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from dml_lightning.data.pixels import Frame

# Constants of an imaginary camera; temperatures in K.
CAMERA: dict[str, float] = {
    "emissivity": 0.95,
    "distance": 40.0,
    "reflected": 278.0,
    "air": 283.15,
    "window": 288.0,
    "window_transmission": 0.9,
    "humidity": 0.6,
    "r1": 16000.0,
    "b": 1400.0,
    "f": 1.0,
    "alpha1": 0.0066,
    "alpha2": 0.0126,
    "beta1": -0.0023,
    "beta2": -0.0067,
    "x": 1.9,
    "r2": 0.0125,
    "o": -7000.0,
}
_PLACES = {"emissivity": 0x20, "distance": 0x24, "reflected": 0x28, "air": 0x2C, "window": 0x30} | {
    **{"window_transmission": 0x34, "humidity": 0x3C, "r1": 0x58, "b": 0x5C, "f": 0x60, "alpha1": 0x70},
    **{"alpha2": 0x74, "beta1": 0x78, "beta2": 0x7C, "x": 0x80, "r2": 0x30C},
}


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """Writes a TIFF by tifffile, anything else by Pillow."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, **options)
    else:
        Image.fromarray(pixels).save(path, **options)
    return path


def gdal(nodata: object = None, **items: object) -> list[tuple[Any, ...]]:
    """The extra tags that GDAL writes: 42113, and 42112 with items by their role."""
    tags: list[tuple[Any, ...]] = [] if nodata is None else [(42113, "s", 0, str(nodata), True)]
    if items:
        lines = [f'<Item name="{k.upper()}" sample="0" role="{k}">{v}</Item>' for k, v in items.items()]
        tags.append((42112, "s", 0, f"<GDALMetadata>{''.join(lines)}</GDALMetadata>", True))
    return tags


def png_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(path: Path, name: bytes, data: bytes) -> Path:
    """Puts a chunk behind the header of a PNG."""
    content = path.read_bytes()
    path.write_bytes(content[:33] + png_chunk(name, data) + content[33:])
    return path


def with_segments(jpeg: bytes, segments: list[tuple[int, bytes]]) -> bytes:
    """Puts segments (marker, payload) behind the start of a JPEG."""
    parts = [struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments]
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def jpeg_bytes(pixels: np.ndarray, **options: Any) -> bytes:
    """A JPEG by Pillow."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


def counts_of(celsius: float, camera: dict[str, float] = CAMERA) -> float:
    """What the imaginary camera stores for a temperature: the radiation of five bodies through glass and air."""
    c = camera

    def q(kelvin: float) -> float:
        return c["r1"] / (c["r2"] * (math.exp(c["b"] / kelvin) - c["f"])) - c["o"]

    a = c["air"] - 273.15
    h = c["humidity"] * math.exp(1.5587 + 0.06939 * a - 0.00027816 * a * a + 6.8455e-7 * a**3)
    d = math.sqrt(c["distance"] / 2)
    t = c["x"] * math.exp(-d * (c["alpha1"] + c["beta1"] * math.sqrt(h)))
    t += (1 - c["x"]) * math.exp(-d * (c["alpha2"] + c["beta2"] * math.sqrt(h)))
    e, w = c["emissivity"], c["window_transmission"]
    leaving = e * q(celsius + 273.15) + (1 - e) * q(c["reflected"])
    behind_air = t * leaving + (1 - t) * q(c["air"])
    behind_glass = w * behind_air + (1 - w) * q(c["window"])
    return t * behind_glass + (1 - t) * q(c["air"])


def flir_jpeg(
    counts: np.ndarray,
    picture: np.ndarray,
    *,
    order: str = "<",
    png: bool = True,
    camera: dict[str, float] = CAMERA,
    part: int = 60_000,
    **options: Any,
) -> bytes:
    """A FLIR radiometric JPEG: a picture, and raw frame and camera constants in segments APP1.

    The byte order is that of the records; the container has the other one.
    """
    height, width = counts.shape
    data = counts.astype(f"{order}u2").tobytes()
    if png:
        stream = io.BytesIO()
        Image.fromarray(counts.astype(np.uint16).byteswap()).save(stream, "PNG")
        data = stream.getvalue()
    raw = struct.pack(f"{order}HHH", 2, width, height).ljust(0x20, b"\0") + data
    values = bytearray(0x400)
    struct.pack_into(f"{order}H", values, 0, 2)
    for name, place in _PLACES.items():
        struct.pack_into(f"{order}f", values, place, camera[name])
    struct.pack_into(f"{order}i", values, 0x308, int(camera["o"]))
    outer = {"<": ">", ">": "<"}[order]
    records, entries, start = b"", b"", 64 + 2 * 32
    for kind, record in ((0x01, raw), (0x20, bytes(values))):
        entries += struct.pack(f"{outer}HHIIII", kind, 0, 100, 0, start + len(records), len(record)).ljust(32, b"\0")
        records += record
    header = b"FFF\0".ljust(0x14, b"\0") + struct.pack(f"{outer}III", 101, 64, 2)
    container = header.ljust(64, b"\0") + entries + records
    pieces = [container[i : i + part] for i in range(0, len(container), part)]
    segments = [(0xE1, b"FLIR\0\1" + bytes([i, len(pieces) - 1]) + piece) for i, piece in enumerate(pieces)]
    return with_segments(jpeg_bytes(picture, **options), segments)


def assert_exact(frame: Frame, expected: np.ndarray, unit: str = "counts") -> None:
    """Checks unit, number type, layout in memory and every pixel of a frame that has been read."""
    assert frame.unit == unit
    assert frame.pixels.dtype == expected.dtype
    assert frame.pixels.flags.c_contiguous
    assert frame.pixels.flags.writeable
    np.testing.assert_array_equal(frame.pixels, expected)
