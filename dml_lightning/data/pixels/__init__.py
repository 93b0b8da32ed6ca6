"""Reading frames: all rules about files, in NumPy, with tifffile, Pillow and imagecodecs where a file needs them.

Imports are relative and stay inside of this folder: it is copied into each exported model, which so reads frames as
training did.
"""

from .celsius import ABSOLUTE_ZERO, Pixels, Radiometry, Unit
from .errors import FrameError, StrPath
from .files import kind_of
from .reading import Frame, Header, frame_header, frame_of, frame_size, read_frame
from .windows import Windows

__all__ = [
    "ABSOLUTE_ZERO",
    "Frame",
    "FrameError",
    "Header",
    "Pixels",
    "Radiometry",
    "StrPath",
    "Unit",
    "Windows",
    "frame_header",
    "frame_of",
    "frame_size",
    "kind_of",
    "read_frame",
]
