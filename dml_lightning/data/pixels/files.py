"""Frame files: their kind by the first bytes, and how decoders are kept from printing and warning."""

import contextlib
import logging
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from .errors import FrameError, StrPath

Kind = Literal["tiff", "png", "jpeg", "npy"]

_SIGNATURES: dict[bytes, Kind] = {
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpeg",
    b"\x93NUMPY": "npy",
}


def kind_of(path: StrPath) -> Kind:
    """Returns the kind of a file by its first bytes; its name is ignored.

    Raises:
        FrameError: The file is missing, empty, no regular file (reading a pipe might never end) or of another
            kind.
    """
    with open_regular(path) as file:
        head = file.read(6)
    if not head:
        raise FrameError(path, "the file is empty")
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    raise FrameError(path, f"this is no TIFF, PNG or JPEG (it starts with {head[:4]!r})")


def open_regular(path: StrPath) -> BinaryIO:
    """Opens a file for reading after a check that it is a regular file.

    Raises:
        FrameError: The file does not exist, cannot be opened, or it is a pipe, a socket or a device.
    """
    try:
        mode = Path(path).stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise FrameError(path, "this is a pipe, a socket or a device", "a frame is a regular file")
        return Path(path).open("rb")
    except FileNotFoundError:
        raise FrameError(path, "there is no such file") from None
    except OSError as error:
        raise FrameError(path, f"the file cannot be opened ({error.strerror})") from None


@contextlib.contextmanager
def quiet(path: StrPath) -> Iterator[None]:
    """Keeps decoders from printing and warning; any error that they raise becomes a FrameError."""
    from PIL import ImageFile

    logger, truncated = logging.getLogger("tifffile"), ImageFile.LOAD_TRUNCATED_IMAGES
    disabled, logger.disabled = (logger.disabled, True)  # setLevel would clear the cache of every logger
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # another library may have set it for the whole process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FrameError:
        raise
    except ModuleNotFoundError as error:
        raise FrameError(path, f"reading it needs {error.name}", f"install it: pip install {error.name}") from None
    except Exception as error:  # a damaged file makes decoders raise nearly anything
        what = " ".join(str(error).split()).rstrip(".;") or type(error).__name__
        what = what.replace(f"'{path}'", "").strip()
        raise FrameError(path, f"the file is damaged or truncated ({what})") from error
    finally:
        logger.disabled = disabled
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
