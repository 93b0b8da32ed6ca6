"""Reading a frame of any supported kind: its pixels, their unit and its size."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .celsius import Conversion, Pixels, Radiometry, Unit, conversion, convert
from .channels import Channel
from .declared import Declared
from .errors import FrameError, StrPath
from .files import kind_of, quiet
from .jpeg import open_jpeg, read_flir, read_picture
from .orientation import turn
from .png import open_png, read_png
from .tiff import Tiff, open_tiff, read_whole
from .windows import Windows, by_windows


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        pixels: Upright pixels (H, W): uint8 or uint16 in counts, float32 in degC; float32 in either unit, with NaN for
            missing pixels, where the file marks some. A large mosaic has `Windows`, which are sliced like an array.
        unit: Unit of the pixel values.
        drawn: (width, height) of the picture on which boxes are drawn, if that is larger than the pixels.
        notes: Sentences for the user on how the file was read.
    """

    pixels: Pixels | Windows
    unit: Unit
    drawn: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px of the picture on which boxes are drawn."""
        return self.drawn or (self.pixels.shape[1], self.pixels.shape[0])

    def on_pixels(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scales boxes (N, 4) from px of the picture on which they are drawn to the pixels.

        >>> frame = Frame(np.zeros((256, 320), np.float32), "degC", drawn=(640, 512))
        >>> frame.on_pixels(np.array([[100.0, 50.0, 20.0, 10.0]])).tolist()
        [[50.0, 25.0, 10.0, 5.0]]
        """
        if self.drawn is None:
            return boxes
        across, down = self.pixels.shape[1] / self.drawn[0], self.pixels.shape[0] / self.drawn[1]
        return np.asarray(boxes * np.array([across, down, across, down]))

    def sides_of(self, metres: float, gsd: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sides (N,), in pixels, of squares of so many metres where a px of the picture measures gsd (N,) metres.

        >>> frame = Frame(np.zeros((256, 320), np.float32), "degC", drawn=(640, 512))
        >>> frame.sides_of(2.0, np.array([0.05])).tolist()
        [20.0]
        """
        return np.asarray(metres / gsd * (self.pixels.shape[1] / self.size[0]))


def read_frame(path: StrPath, radiometry: Radiometry | None = None) -> Frame:
    """Reads one frame.

    Args:
        path: TIFF, PNG, JPEG or array (.npy), recognised by its first bytes and not by its name. The first picture is
            read of a JPEG with several (MPO).
        radiometry: Conversion of integer counts to degC; floating-point frames and FLIR's radiometric JPEG are in degC
            already.

    Returns:
        The pixels (H, W) and their unit.

    Raises:
        FrameError: The file is missing, empty, truncated, of another kind, in colour, of several pages, or
            holds values that are no temperatures.
    """
    kind = kind_of(path)
    with quiet(path):
        if kind == "tiff":
            return _tiff_frame(path, open_tiff(path), radiometry)
        if kind == "jpeg":
            return _jpeg_frame(path, radiometry)
        if kind == "npy":
            return _frame(path, Channel(_array(path)), Declared(), 1, radiometry)
        png = open_png(path)
        channel, declared = read_png(path, png)
        return _frame(path, channel, declared, png.orientation, radiometry)


def frame_of(pixels: NDArray[Any], radiometry: Radiometry | None = None) -> Frame:
    """Turns an array (H, W) into a frame, by the same rules as a file that holds it.

    >>> frame_of(np.array([[10.0, 12.5]])).unit, frame_of(np.array([[1, 2]], np.uint16)).unit
    ('degC', 'counts')

    Raises:
        FrameError: The array has another shape or type, or values that are no temperatures.
    """
    return _frame("the frame", Channel(_flat(pixels, "the frame")), Declared(), 1, radiometry)


class Header(NamedTuple):
    """What a file says of its frame before any pixel is read.

    Attributes:
        size: (width, height) in px of the upright picture on which boxes are drawn.
        orientation: The tag, 1 to 8: how the stored pixels lie in that picture; 1 is upright.
    """

    size: tuple[int, int]
    orientation: int


def frame_header(path: StrPath) -> Header:
    """Reads the header of one frame.

    Raises:
        FrameError: The file is missing, empty or of another kind, or its header is damaged.
    """
    kind = kind_of(path)
    with quiet(path):
        if kind == "npy":
            height, width = _array(path).shape
            return Header((width, height), 1)
        opened = open_tiff(path) if kind == "tiff" else open_jpeg(path) if kind == "jpeg" else open_png(path)
        return Header(opened.size, opened.orientation)


def frame_size(path: StrPath) -> tuple[int, int]:
    """Returns (width, height) in px of the upright picture on which boxes are drawn, from the header alone.

    Raises:
        FrameError: The file is missing, empty or of another kind, or its header is damaged.
    """
    return frame_header(path).size


def _tiff_frame(path: StrPath, tiff: Tiff, radiometry: Radiometry | None) -> Frame:
    if by_windows(tiff):
        how = conversion(path, np.dtype(tiff.image.page.dtype), tiff.declared, radiometry)
        return Frame(Windows(tiff, how), how.unit, notes=tiff.notes)
    return _frame(path, read_whole(tiff), tiff.declared, tiff.orientation, radiometry, tiff.notes)


def _jpeg_frame(path: StrPath, radiometry: Radiometry | None) -> Frame:
    jpeg = open_jpeg(path)
    if not jpeg.flir:
        return _frame(path, read_picture(path, jpeg), Declared(), jpeg.orientation, radiometry)
    celsius = turn(read_flir(path, jpeg), jpeg.orientation)
    height, width = celsius.shape
    if abs(width * jpeg.size[1] - height * jpeg.size[0]) > 0.02 * width * jpeg.size[1]:
        raise FrameError(
            path,
            f"its picture of {jpeg.size[0]}x{jpeg.size[1]} px is no enlargement of its {width}x{height} temperatures",
            "export it as floating-point TIFF in degC",
        )
    pixels = convert(path, celsius, None, Conversion("degC", None))
    return Frame(pixels, "degC", None if jpeg.size == (width, height) else jpeg.size)


def _frame(
    path: StrPath,
    channel: Channel,
    declared: Declared,
    orientation: int,
    radiometry: Radiometry | None,
    notes: tuple[str, ...] = (),
) -> Frame:
    """Turns a stored channel upright and converts it to its unit."""
    how = conversion(path, channel.values.dtype, declared, radiometry)
    values, missing = (None if part is None else turn(part, orientation) for part in channel)
    if missing is not None and missing.all():
        raise FrameError(path, "all of its pixels are marked as missing", "a frame shows something somewhere")
    assert values is not None
    return Frame(convert(path, values, missing, how), how.unit, notes=notes)


def _array(path: StrPath) -> NDArray[Any]:
    """Maps the array (H, W) of a .npy file."""
    return _flat(np.load(path, mmap_mode="r", allow_pickle=False), path)


def _flat(array: NDArray[Any], path: StrPath) -> NDArray[Any]:
    if array.ndim != 2 or not array.size:
        raise FrameError(path, f"the array has the shape {array.shape}", "a frame is an array (H, W)")
    return array
