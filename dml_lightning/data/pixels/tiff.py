"""TIFF files: the page that is the frame, what its tags say, and whether all of its pixels were written."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import orientation
from .channels import Channel, single_channel, union
from .declared import Declared, equal_to, gdal_tags, nodata_as, sidecar
from .errors import FrameError, StrPath

if TYPE_CHECKING:
    import tifffile

MOST_PAGES = 256  # a damaged list of pages may have no end
MOST_BYTES = 1 << 30  # most bytes of pixels that are decoded at once
HEADER = 8  # bytes before the first that may hold pixels
BYTE_COUNTS = (279, 325)  # tags StripByteCounts and TileByteCounts
REDUCED, MASK = 1, 4  # bits of the tag NewSubfileType (254)
WHITE_IS_ZERO, PALETTE, TRANSPARENCY_MASK = 0, 3, 4  # values of PhotometricInterpretation (262)
NOTE_WHITE_IS_ZERO = "16-bit TIFF with WhiteIsZero: its counts are kept as they are stored"


@dataclass(frozen=True)
class Page:
    """One page of a file on disk, whose pixels are read later.

    Attributes:
        file: Path of the file.
        page: Tags of the page.
        plain: Whether the pixels lie in the file as they do in memory.
    """

    file: str
    page: "tifffile.TiffPage"
    plain: bool


@dataclass(frozen=True)
class Tiff:
    """A frame before its pixels are read.

    Attributes:
        path: Path of the file.
        image: Page with the pixels.
        mask: Page that is 0 where pixels are missing, in this file or in `NAME.msk` beside it.
        orientation: Orientation tag, 1 to 8.
        declared: What the file declares about its numbers.
        nodata: Stored value of missing pixels; None where there is none.
    """

    path: str
    image: Page
    mask: Page | None
    orientation: int
    declared: Declared
    nodata: Any

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright picture in px."""
        page = self.image.page
        return orientation.turned_size(int(page.imagewidth), int(page.imagelength), self.orientation)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user on how the file is read."""
        page = self.image.page
        kept = page.photometric == WHITE_IS_ZERO and page.dtype is not None and page.dtype.itemsize > 1
        return (NOTE_WHITE_IS_ZERO,) if kept else ()

    def channel(self, pixels: NDArray[Any], mask: NDArray[Any] | None) -> Channel:
        """Reduces stored pixels (H, W) or (H, W, bands), of the whole frame or a part of it, to one channel."""
        page = self.image.page
        alpha = tuple(page.extrasamples)[-1:] in ((1,), (2,))
        missing = equal_to(pixels[..., :-1] if alpha and pixels.ndim == 3 else pixels, self.nodata)
        if page.photometric == PALETTE:
            pixels = np.moveaxis(page.colormap[:, pixels] >> 8, 0, -1).astype(np.uint8)  # (H, W, 3)
        elif page.photometric == WHITE_IS_ZERO and pixels.dtype == np.uint8:
            pixels = np.iinfo(np.uint8).max - pixels
        values, transparent = single_channel(self.path, pixels, alpha=alpha)
        missing = union(missing, transparent)
        if mask is not None:
            missing = union(missing, mask == 0)
        return Channel(values, missing if missing is not None and missing.any() else None)


def open_tiff(path: StrPath) -> Tiff:
    """Reads the tags of a TIFF.

    Raises:
        FrameError: There is no page or more than one, or what the tags say does not fit together.
    """
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        image, masks = _frame_of(path, tiff)
        tags = image.tags
        declared = gdal_tags(path, *(tags[code].value if code in tags else None for code in (42113, 42112)))
        declared = declared.over(sidecar(path))
        turned = orientation.checked(path, tags[orientation.TAG].value if orientation.TAG in tags else None)
        nodata = None if image.dtype is None else nodata_as(path, declared, image.dtype)
        source = Page(str(path), image, image.is_memmappable)
        mask = Page(str(path), masks[0], masks[0].is_memmappable) if masks else None
    beside = Path(f"{path}.msk")
    if mask is None and beside.is_file():
        with tifffile.TiffFile(beside) as tiff:
            page = _frame_of(beside, tiff)[0]
            mask = Page(str(beside), page, page.is_memmappable)
    _check_mask(path, image, mask)
    return Tiff(str(path), source, mask, turned, declared, nodata)


def read_whole(tiff: Tiff) -> Channel:
    """Decodes the whole frame as it is stored, not yet turned.

    Raises:
        FrameError: Parts of it were never written or lie beyond the end of the file, or it is too large.
    """
    size = tiff.image.page.nbytes
    if size > MOST_BYTES:
        raise FrameError(
            tiff.path,
            f"its {size / 1e9:.1f} GB of pixels can only be decoded at once",
            "write large mosaics in tiles, one band, upright",
        )
    mask = None if tiff.mask is None else _decoded(tiff.mask, sparse=True)
    return tiff.channel(_decoded(tiff.image, sparse=tiff.nodata is not None), mask)


def _frame_of(path: StrPath, tiff: "tifffile.TiffFile") -> "tuple[tifffile.TiffPage, list[tifffile.TiffPage]]":
    """Returns the only page that is neither an overview nor a mask, and the pages that are masks."""
    frames, masks = list[Any](), list[Any]()
    for number, page in enumerate(tiff.pages):
        if number >= MOST_PAGES:
            raise FrameError(path, f"the file holds more than {MOST_PAGES} pages", _ONE_PAGE)
        if page.subfiletype & REDUCED:
            continue
        (masks if page.subfiletype & MASK or page.photometric == TRANSPARENCY_MASK else frames).append(page)
    if not frames:
        raise ValueError("it holds no page")
    count = max(len(frames), _stacked(tiff, frames[0]))
    if count != 1:
        raise FrameError(path, f"the file holds {count} pages", _ONE_PAGE)
    if min(frames[0].imagewidth, frames[0].imagelength) < 1:
        raise FrameError(path, f"the header states {frames[0].imagewidth}x{frames[0].imagelength} px")
    return frames[0], masks


_ONE_PAGE = "a frame is one page: write each page to a file of its own"


def _stacked(tiff: "tifffile.TiffFile", page: Any) -> int:
    """Number of pictures that ImageJ or tifffile have stored under the first page."""
    if tiff.is_imagej:
        return int((tiff.imagej_metadata or {}).get("images", 1))
    if tiff.is_shaped:
        shapes = [each["shape"] for each in tiff.shaped_metadata or () if "shape" in each]
        return max(1, math.prod(shapes[0]) // max(1, math.prod(page.shape))) if shapes else 1
    return 1


def _check_mask(path: StrPath, image: Any, mask: Page | None) -> None:
    if mask is None:
        return
    sizes = [(int(page.imagewidth), int(page.imagelength)) for page in (image, mask.page)]
    if sizes[0] != sizes[1] or mask.page.samplesperpixel != 1:
        raise FrameError(
            path,
            f"its mask of {sizes[1][0]}x{sizes[1][1]} px and {mask.page.samplesperpixel} bands is none of the "
            f"{sizes[0][0]}x{sizes[0][1]} px frame",
            "write a mask of one band and of the frame's size, or a no-data value",
        )


def check_complete(source: Page, *, sparse: bool) -> None:
    """Refuses a page with strips or tiles that are missing or end beyond the file: decoders would fill in zeros.

    Args:
        source: Page to check.
        sparse: Whether parts that were never written are allowed: they hold missing pixels.

    Raises:
        FrameError: A part is missing, was never written (unless `sparse`) or is too short.
    """
    page, size = source.page, Path(source.file).stat().st_size
    offsets, counts = (np.array(part, dtype=np.int64) for part in (page.dataoffsets, page.databytecounts))
    expected, kind = math.prod(page.chunked), "tiles" if page.is_tiled else "strips"
    if not len(offsets) or len(offsets) < expected or len(counts) < len(offsets):
        raise FrameError(source.file, f"the file is truncated ({len(offsets)} of its {expected} {kind} are listed)")
    unwritten = (offsets == 0) & (counts == 0)
    if unwritten.any() and not sparse:
        raise FrameError(
            source.file,
            f"{np.count_nonzero(unwritten)} of its {expected} {kind} were never written (a sparse TIFF)",
            "declare a no-data value (GDAL, TIFF tag 42113), or write every pixel",
        )
    written = ~unwritten
    stated = next((page.tags[code] for code in BYTE_COUNTS if code in page.tags), None)
    if (offsets[written] < HEADER).any() or (stated is not None and stated.count < len(offsets)):
        raise FrameError(source.file, f"its lists of {kind} are damaged (they begin in the header, or state no bytes)")
    ends = np.where(written, offsets + counts, 0)
    if (counts[written] < 1).any() or ends.max(initial=0) > size:
        raise FrameError(source.file, f"the file is truncated ({size} of at least {ends.max()} bytes)")
    if page.compression == 1 and counts[written].sum() < _stored_bytes(page) * written.mean() // 1:
        raise FrameError(source.file, f"the file is truncated ({kind} of {counts.sum()} bytes in all are too short)")


def _stored_bytes(page: Any) -> int:
    """Least number of bytes that the pixels of a page without compression take."""
    return int(page.imagelength * page.imagewidth * page.samplesperpixel * page.bitspersample // 8)


def _decoded(source: Page, *, sparse: bool) -> NDArray[Any]:
    """All pixels of a page: (H, W), or (H, W, bands)."""
    check_complete(source, sparse=sparse)
    page = source.page
    with page.parent.filehandle as file:
        file.open()  # the tags are known
        pixels: NDArray[Any] = page.asarray()
    return np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else pixels
