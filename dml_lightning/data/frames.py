"""Pixels of one thermal frame and their unit, as `data.pixels` reads them.

8-bit and 16-bit TIFF, PNG and JPEG are read as counts, floating-point TIFF and FLIR's radiometric JPEG as degC. What a
camera writes as counts becomes degC only with a `Radiometry` or a scale in the file: an auto-scaled 8-bit frame holds
no temperatures.
"""

from dml_lightning.data.pixels import (
    ABSOLUTE_ZERO,
    Frame,
    FrameError,
    Pixels,
    Radiometry,
    Unit,
    frame_size,
    read_frame,
)

__all__ = [
    "ABSOLUTE_ZERO",
    "FRAME_SUFFIXES",
    "Frame",
    "FrameError",
    "Pixels",
    "Radiometry",
    "Unit",
    "frame_size",
    "read_frame",
]

FRAME_SUFFIXES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg"})
