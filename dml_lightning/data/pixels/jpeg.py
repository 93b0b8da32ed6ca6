"""JPEG files: the 8-bit picture, and the radiometric data that thermal cameras store in its segments."""

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import flir, orientation
from .channels import JPEG_CHROMA_TOLERANCE, Channel, single_channel
from .errors import FrameError, StrPath
from .files import open_regular

APP1, APP3, APP15 = 0xE1, 0xE3, 0xEF
START, END, SCAN = 0xD8, 0xD9, 0xDA
LEAST_RAW = 8192  # bytes in the segments APP3 to APP15, from which on they count as raw data
_EDITORS = (b"Photoshop 3.0", b"Adobe", b"Ducky")  # what APP12 to APP14 hold in ordinary pictures


class Jpeg(NamedTuple):
    """A JPEG before its pixels are read.

    Attributes:
        size: (width, height) of the upright picture in px.
        orientation: Orientation tag, 1 to 8.
        mode: Mode of the picture, as Pillow names it.
        flir: Number of the part -> part of FLIR's data.
        raw_bytes: Number of bytes of other makers' data.
        maker: Maker of the camera, as EXIF states it.
    """

    size: tuple[int, int]
    orientation: int
    mode: str
    flir: dict[int, bytes]
    raw_bytes: int
    maker: str


def open_jpeg(path: StrPath) -> Jpeg:
    """Reads the header of a JPEG, or of the first picture of a file with several (MPO)."""
    from PIL import Image

    parts, raw = dict[int, bytes](), 0
    with open_regular(path) as file:
        for marker, payload in _segments(file):
            if marker == APP1 and payload.startswith(flir.MARK) and len(payload) > 8:
                parts[payload[6]] = payload
            elif APP3 <= marker <= APP15 and not payload.startswith(_EDITORS):
                raw += len(payload)
    with Image.open(path, formats=["JPEG", "MPO"]) as picture:
        tags = picture.getexif()
        turned = orientation.checked(path, tags.get(orientation.TAG))
        size = orientation.turned_size(*picture.size, turned)
        return Jpeg(size, turned, picture.mode, parts, raw, str(tags.get(271, "")).strip("\0 "))


def read_picture(path: StrPath, jpeg: Jpeg) -> Channel:
    """Decodes the 8-bit picture of a JPEG without radiometric data, not yet turned.

    Raises:
        FrameError: The picture is in colour, or the file holds the raw frame of a maker whose layout is not public.
    """
    from PIL import Image

    if jpeg.raw_bytes >= LEAST_RAW:
        raise FrameError(path, *_sealed(jpeg.maker))
    if jpeg.mode not in ("L", "RGB"):
        raise FrameError(path, f"the picture has the mode {jpeg.mode}")
    with Image.open(path, formats=["JPEG", "MPO"]) as picture:
        return single_channel(path, np.asarray(picture), alpha=False, tolerance=JPEG_CHROMA_TOLERANCE)


def read_flir(path: StrPath, jpeg: Jpeg) -> NDArray[np.float32]:
    """Decodes the temperatures (H, W) in degC of a FLIR radiometric JPEG, not yet turned.

    Raises:
        FrameError: The data are damaged.
    """
    try:
        return flir.celsius_of(jpeg.flir)
    except Exception as error:
        raise FrameError(
            path,
            f"this is a FLIR radiometric JPEG whose temperatures cannot be read ({error})",
            "copy the file from the camera again, or export it as floating-point TIFF in degC",
        ) from error


def _sealed(maker: str) -> tuple[str, str]:
    if maker.upper().startswith("DJI") or not maker:
        return (
            f"this is a radiometric JPEG{' of ' + maker if maker else ''} as DJI writes it (raw data in the segments "
            "APP3 and APP4), whose temperatures only DJI's own software can compute",
            "convert it with DJI's Thermal Analysis Tool or Thermal SDK to floating-point TIFF in degC",
        )
    return (
        f"this is a radiometric JPEG of {maker}, whose picture is a preview without temperatures",
        "convert it with the maker's software to floating-point TIFF in degC",
    )


def _segments(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Yields marker and payload of the segments before the picture's data."""
    file.seek(2)
    while len(head := file.read(2)) == 2 and head[0] == 0xFF:
        marker = head[1]
        if marker == 0xFF:  # padding
            file.seek(-1, 1)
            continue
        if marker in (START, END, SCAN):
            return
        length = int.from_bytes(file.read(2), "big")
        if length < 2:
            return
        yield marker, file.read(length - 2)
