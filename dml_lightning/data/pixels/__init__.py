"""Reading frames: every rule about files, in NumPy with tifffile, Pillow and imagecodecs where a file needs them.

Imports inside are relative and name nothing else of the package, so that an exported model takes the folder along and
reads as training did.
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
