"""The error that all readers of frames raise."""

from os import PathLike
from typing import Any

StrPath = str | PathLike[str]

READABLE = (
    "8-bit or 16-bit grey TIFF, PNG or JPEG (one channel or three equal ones), floating-point TIFF in degC and FLIR "
    "radiometric JPEG can be read"
)


class FrameError(ValueError):
    """A frame that cannot be used: one sentence with the file, what is wrong and what would work.

    >>> print(FrameError("a.tif", "the file is empty", "copy it from the camera again"))
    a.tif: the file is empty; copy it from the camera again.

    Args:
        path: Path of the frame.
        what: What is wrong, as a clause.
        remedy: What would work, as a clause.
    """

    def __init__(self, path: StrPath, what: str, remedy: str = READABLE) -> None:
        super().__init__(f"{path}: {what}; {remedy}.")
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:  # so that it can be pickled by a worker process
        return _rebuild, (self.path, str(self))


def _rebuild(path: str, message: str) -> FrameError:
    error = FrameError.__new__(FrameError)
    ValueError.__init__(error, message)
    error.path = path
    return error
