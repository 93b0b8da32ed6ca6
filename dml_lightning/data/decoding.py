"""From a TIFF, PNG or JPEG file to one channel of pixels; whatever is wrong becomes a FrameError."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageFile

StrPath = str | PathLike[str]
Kind = Literal["tiff", "png", "jpeg"]

# Chroma is rounded and quantised: grey pictures stored as colour JPEG come back with channels that differ
# by up to 7 counts in published thermal sets. A palette picture differs by more than 100.
JPEG_CHROMA_TOLERANCE = 8  # counts

_READABLE = (
    "8-bit or 16-bit grey TIFF, PNG or JPEG (one channel or three equal ones) and "
    "floating-point TIFF in degC can be read"
)
_SIGNATURES: dict[bytes, Kind] = {
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpeg",
}


class FrameError(ValueError):
    """A frame that cannot be used: one sentence with the file, what came and what would work."""

    def __init__(self, path: StrPath, what: str, remedy: str = _READABLE) -> None:
        super().__init__(f"{path}: {what}; {remedy}.")
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:  # survives the way back from a worker process
        return _rebuild, (self.path, str(self))


def _rebuild(path: str, message: str) -> FrameError:
    error = FrameError.__new__(FrameError)
    ValueError.__init__(error, message)
    error.path = path
    return error


def decode(path: StrPath) -> NDArray[Any]:
    """Decodes one frame, without a look at its values.

    Returns:
        (H, W) in the file's own number type; grey where the file holds three equal channels.

    Raises:
        FrameError: The file is missing, empty, truncated, of another kind, in colour or of several pages.
    """
    kind = _kind(path)
    with _quiet(path):
        return _read_tiff(path) if kind == "tiff" else _read_picture(path, kind)


def frame_size(path: StrPath) -> tuple[int, int]:
    """Returns (width, height) in px from the header alone.

    Raises:
        FrameError: The file is missing, empty or of another kind, or its header is damaged.
    """
    kind = _kind(path)
    with _quiet(path):
        if kind == "tiff":
            with tifffile.TiffFile(path) as tiff:
                page = _only_page(path, tiff)
                width, height = int(page.imagewidth), int(page.imagelength)
        else:
            with Image.open(path, formats=_pillow_formats(kind)) as picture:
                width, height = picture.size
    if width < 1 or height < 1:
        raise FrameError(path, f"the header states {width}x{height} px")
    return width, height


def _kind(path: StrPath) -> Kind:
    """Tells tiff, png or jpeg by the first bytes."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(4)
    except FileNotFoundError:
        raise FrameError(path, "there is no such file") from None
    except OSError as error:
        raise FrameError(path, f"the file cannot be opened ({error.strerror})") from None
    if not head:
        raise FrameError(path, "the file is empty")
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    raise FrameError(path, f"this is no TIFF, PNG or JPEG (it starts with {head!r})")


@contextlib.contextmanager
def _quiet(path: StrPath) -> Iterator[None]:
    """Keeps the decoders from printing and warning; whatever they raise becomes a FrameError."""
    logger, truncated = logging.getLogger("tifffile"), ImageFile.LOAD_TRUNCATED_IMAGES
    disabled, logger.disabled = (logger.disabled, True)  # setLevel would clear the cache of every logger
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # another library may have set it for the whole process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FrameError:
        raise
    except Exception as error:  # a damaged file makes decoders raise nearly anything
        what = " ".join(str(error).split()).rstrip(".;") or type(error).__name__
        what = what.replace(f"'{path}'", "").strip()
        raise FrameError(path, f"the file is damaged or truncated ({what})") from error
    finally:
        logger.disabled = disabled
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated


def _read_tiff(path: StrPath) -> NDArray[Any]:
    """Reads the one full-size page of a TIFF: (H, W)."""
    with tifffile.TiffFile(path) as tiff:
        page = _only_page(path, tiff)
        _check_complete(path, page, tiff.filehandle.size)
        pixels: NDArray[Any] = page.asarray()
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        pixels = np.moveaxis(page.colormap[:, pixels] >> 8, 0, -1).astype(np.uint8)  # (H, W, 3)
    elif page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    return _single_channel(path, pixels, tolerance=0)


def _only_page(path: StrPath, tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    """Returns the one page that is no thumbnail."""
    pages = [page for page in tiff.pages if not page.is_reduced]
    if not pages:
        raise tifffile.TiffFileError("it holds no page")
    if len(pages) != 1:
        raise FrameError(
            path, f"the file holds {len(pages)} pages", "a frame is one page: write each page to a file of its own"
        )
    return pages[0]


def _check_complete(path: StrPath, page: tifffile.TiffPage, file_size: int) -> None:
    """Refuses a TIFF whose strips are missing or end behind the file: decoders fill those with zeros."""
    ends = np.add(page.dataoffsets, page.databytecounts, dtype=np.int64)
    if not len(ends) or min(page.databytecounts) < 1 or ends.max() > file_size:
        needed = ends.max() if len(ends) else 0
        raise FrameError(path, f"the file is truncated ({file_size} of at least {needed} bytes)")


def _read_picture(path: StrPath, kind: Kind) -> NDArray[Any]:
    """Reads a PNG or JPEG: (H, W)."""
    with Image.open(path, formats=_pillow_formats(kind)) as picture:
        if kind == "png" and getattr(picture, "n_frames", 1) != 1:
            raise FrameError(path, "this is an animated PNG", "a frame is one picture: write each to its own file")
        if picture.mode == "P":
            transparent = "transparency" in picture.info
            pixels = np.asarray(picture.convert("RGBA" if transparent else "RGB"))
        elif picture.mode == "1":
            pixels = np.asarray(picture.convert("L"))  # black and white as 0 and 255
        elif picture.mode in ("L", "LA", "RGB", "RGBA", "I;16"):
            picture.load()
            pixels = np.asarray(picture)
        else:
            raise FrameError(path, f"the picture has the mode {picture.mode}")
    if kind == "png" and pixels.ndim == 3 and _png_depth(path) == 16:
        pixels = imagecodecs.png_decode(Path(path).read_bytes())  # Pillow halves these to 8 bits
    return _single_channel(path, pixels, tolerance=JPEG_CHROMA_TOLERANCE if kind == "jpeg" else 0)


def _pillow_formats(kind: Kind) -> list[str]:
    return ["PNG"] if kind == "png" else ["JPEG", "MPO"]


def _png_depth(path: StrPath) -> int:
    """Returns the bits per channel that the PNG header states."""
    with Path(path).open("rb") as file:
        return file.read(25)[24]


def _single_channel(path: StrPath, pixels: NDArray[Any], tolerance: int) -> NDArray[Any]:
    """Reduces (H, W, channels) to (H, W) where that loses nothing."""
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or not 1 <= pixels.shape[-1] <= 4:
        raise FrameError(path, f"the pixels have the shape {pixels.shape}")
    channels = pixels.shape[-1]
    if channels in (2, 4):
        alpha = pixels[..., -1]
        if alpha.min() != alpha.max():
            raise FrameError(path, "the picture has an alpha channel that varies")
        pixels = pixels[..., :-1]
    if pixels.shape[-1] == 3:
        return _grey_of_equal(path, pixels, tolerance)
    return pixels[..., 0]


def _grey_of_equal(path: StrPath, pixels: NDArray[Any], tolerance: int) -> NDArray[Any]:
    """Takes three channels that agree within the tolerance as one (H, W)."""
    green = pixels[..., 1]
    if all(np.array_equal(pixels[..., other], green, equal_nan=True) for other in (0, 2)):
        return green
    spread = float(np.ptp(pixels.astype(np.float64), axis=-1).max())
    if spread <= tolerance:
        return np.asarray(Image.fromarray(pixels).convert("L"))  # luma: what JPEG itself stores
    raise FrameError(
        path,
        f"the three channels differ by up to {spread:g} counts, so this is a colour picture, perhaps the "
        "palette preview inside a radiometric JPEG (DJI R-JPEG, FLIR)",
        "export the counts or temperatures as 16-bit PNG/TIFF or floating-point TIFF, or an 8-bit white-hot picture",
    )
