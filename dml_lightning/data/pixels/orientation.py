"""The orientation tag of TIFF and EXIF (number 274): how stored rows and columns lie in the upright picture."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import FrameError, StrPath

TAG = 274


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns and mirrors pixels (H, W) by the tag, 1 to 8: what comes out is upright and has orientation 1.

    >>> turn(np.array([[1, 2, 3]]), 6).tolist()
    [[1], [2], [3]]
    >>> turn(np.array([[1, 2, 3]]), 3).tolist()
    [[3, 2, 1]]
    """
    if orientation in (5, 6, 7, 8):  # the first stored row is a column of the picture
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def turned_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Returns (width, height) of the upright picture.

    >>> turned_size(640, 512, 6)
    (512, 640)
    """
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def checked(path: StrPath, value: Any) -> int:
    """Returns the orientation that a file states, 1 where it states none or 0 ("unknown").

    >>> checked("a.tif", None), checked("a.tif", 6)
    (1, 6)

    Raises:
        FrameError: The value is not a whole number from 0 to 8.
    """
    if value is None or value == 0:
        return 1
    if value not in range(1, 9):
        raise FrameError(path, f"its orientation tag is {value!r}", "the tag is 1 to 8, or left out for upright pixels")
    return int(value)
