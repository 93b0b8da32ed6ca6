"""Pixels of one frame as an array, without their unit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml_lightning.data.pixels import FrameError, StrPath, frame_size, read_frame

__all__ = ["FrameError", "StrPath", "decode", "frame_size"]


def decode(path: StrPath) -> NDArray[Any]:
    """Decodes one frame: (H, W) in counts or degC, as `read_frame` gives it without a radiometry.

    Raises:
        FrameError: The frame cannot be used.
    """
    return np.asarray(read_frame(path).pixels)
