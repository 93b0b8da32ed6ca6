"""PNG files of 8 and 16 bit, grey or with three equal channels."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import orientation
from .channels import Channel, Mask, missing_where, single_channel, union
from .declared import Declared, equal_to, nodata_as, sidecar
from .errors import FrameError, StrPath
from .files import open_regular

MOST_CHUNKS = 1 << 20
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)(\d)")


class Png(NamedTuple):
    """A PNG before its pixels are read.

    Attributes:
        size: (width, height) of the upright picture in px.
        orientation: Orientation tag, 1 to 8.
        bits: Number of bits per channel.
        animated: Whether it holds more than one picture.
    """

    size: tuple[int, int]
    orientation: int
    bits: int
    animated: bool


def open_png(path: StrPath) -> Png:
    """Reads the header of a PNG, and no pixels."""
    from PIL import Image

    width, height, bits, tag, animated = 0, 0, 0, None, False
    for name, data in _chunks(path):
        if name == b"IHDR":
            width, height, bits = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big"), data[8]
        elif name == b"acTL":
            animated = int.from_bytes(data[:4], "big") != 1
        elif name == b"eXIf":
            exif = Image.Exif()
            exif.load(data)
            tag = exif.get(orientation.TAG, tag)
        elif name == b"iTXt" and tag is None and (match := _XMP_ORIENTATION.search(data)):
            tag = int(match[1])
    if width < 1 or height < 1:
        raise ValueError(f"its header states {width}x{height} px")
    turned = orientation.checked(path, tag)
    return Png(orientation.turned_size(width, height, turned), turned, bits, animated)


def read_png(path: StrPath, png: Png) -> tuple[Channel, Declared]:
    """Decodes a PNG, not yet turned, and reads the declarations of a file `NAME.aux.xml` beside it.

    Raises:
        FrameError: The picture is animated or in colour, or its alpha channel is no mask.
    """
    from PIL import Image

    if png.animated:
        raise FrameError(path, "this is an animated PNG", "a frame is one picture: write each to its own file")
    with Image.open(path, formats=["PNG"]) as picture:
        if picture.mode not in _MODES:
            raise FrameError(path, f"the picture has the mode {picture.mode}")
        absent = picture.info.get("transparency")
        if picture.mode == "P":
            pixels = np.asarray(picture.convert("RGB" if absent is None else "RGBA"))
            absent = None
        elif picture.mode == "1":
            pixels, absent = np.asarray(picture.convert("L")), None  # black and white as 0 and 255
        else:
            picture.load()
            pixels = np.asarray(picture)
    if pixels.ndim == 3 and png.bits == 16:
        import imagecodecs

        pixels = imagecodecs.png_decode(Path(path).read_bytes())  # Pillow halves these to 8 bits
    channel = single_channel(path, pixels, alpha=pixels.ndim == 3 and pixels.shape[-1] in (2, 4))
    declared = sidecar(path)
    missing = union(_marked(channel.values, absent), equal_to(channel.values, nodata_as(path, declared, pixels.dtype)))
    return Channel(channel.values, union(channel.missing, missing)), declared


def _marked(values: NDArray[Any], absent: Any) -> Mask | None:
    """Pixels of the one value that the chunk tRNS calls transparent; None where its three channels differ."""
    if absent is None:
        return None
    stated = {int(value) for value in absent} if isinstance(absent, tuple) else {int(absent)}
    return missing_where(values == stated.pop()) if len(stated) == 1 else None


def _chunks(path: StrPath) -> Iterator[tuple[bytes, bytes]]:
    """Yields name and content of the chunks that describe a PNG; skips its pixels."""
    with open_regular(path) as file:
        file.seek(8)
        for _ in range(MOST_CHUNKS):
            head = file.read(8)
            if len(head) < 8 or head[4:] == b"IEND":
                return
            length = int.from_bytes(head[:4], "big")
            if head[4:] in (b"IHDR", b"acTL", b"eXIf", b"iTXt"):
                yield head[4:], file.read(length)
                file.seek(4, 1)
            else:
                file.seek(length + 4, 1)
