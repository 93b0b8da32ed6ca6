"""Large TIFF mosaics, read by the tiles or strips that a window touches, so that memory stays flat."""

import math
from collections import OrderedDict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .celsius import Conversion, Pixels, convert
from .errors import FrameError
from .tiff import MOST_BYTES, Page, Tiff, check_complete

LARGE = 1 << 26  # bytes of pixels: frames above are read by windows, those below whole
LARGEST_SEGMENT = 1 << 26  # bytes of a tile or strip
KEPT = 1 << 26  # bytes of decoded tiles that wait for the next window


class Segments:
    """The pixels of one page, of which only the requested tiles or strips are decoded.

    Args:
        source: Page with interleaved bands.
        sparse: Whether tiles that were never written are allowed: they hold missing pixels.
    """

    def __init__(self, source: Page, *, sparse: bool) -> None:
        check_complete(source, sparse=sparse)
        self.source, page = source, source.page
        self.tile = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        self.across = math.ceil(page.imagewidth / self.tile[1])
        if not source.plain:
            import tifffile

            with tifffile.TiffFile(source.file) as tiff:  # reads the tags that decoding needs
                self.page = next(each for each in tiff.pages if each.offset == page.offset)
                self.tables = {"jpegtables": self.page.jpegtables, "jpegheader": self.page.jpegheader}
                if self.page.compression not in (6, 7, 34892, 33007):  # JPEG
                    self.tables = {}
                self.page.decode  # noqa: B018
                self.offsets, self.counts = self.page.dataoffsets, self.page.databytecounts
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()

    def window(self, rows: range, columns: range) -> NDArray[Any]:
        """Returns pixels (H, W) or (H, W, bands) of consecutive rows and columns."""
        page = self.source.page
        if self.source.plain:
            whole = np.memmap(
                self.source.file,
                page.parent.byteorder + page._dtype.char,
                "r",
                page.dataoffsets[0],
                (page.imagelength, page.imagewidth, page.samplesperpixel),
            )
            cut = whole[rows.start : rows.stop, columns.start : columns.stop]
            return _flat(np.array(cut, dtype=page.dtype))
        result = np.empty((len(rows), len(columns), page.samplesperpixel), page.dtype)
        high, wide = self.tile
        for i in range(rows.start // high, math.ceil(rows.stop / high)):
            for j in range(columns.start // wide, math.ceil(columns.stop / wide)):
                y, own_y = _overlap(rows, i * high, high)
                x, own_x = _overlap(columns, j * wide, wide)
                result[y, x] = self._segment(i * self.across + j)[own_y, own_x]
        return _flat(result)

    def _segment(self, number: int) -> NDArray[Any]:
        """Returns one tile or strip (H, W, bands), decoded or kept from before."""
        if number not in self._kept:
            tile = self._decoded(number)
            self._kept[number] = tile
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]

    def _decoded(self, number: int) -> NDArray[Any]:
        with Path(self.source.file).open("rb") as file:
            file.seek(self.offsets[number])
            data = file.read(self.counts[number])
        segment, _, shape = self.page.decode(data or None, number, **self.tables)
        if segment is None:
            return np.full(shape[1:], self.page.nodata, self.page.dtype)
        return np.asarray(segment[0])


def _overlap(wanted: range, start: int, length: int) -> tuple[slice, slice]:
    """Slices of the rows (or columns) that a tile shares with those wanted: within the wanted ones, and in the tile."""
    first, last = max(wanted.start, start), min(wanted.stop, start + length)
    return slice(first - wanted.start, last - wanted.start), slice(first - start, last - start)


def _flat(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


class Windows:
    """Pixels of a large frame, sliced in two dimensions like an array.

    `windows[10:20, 5:30]` decodes the tiles that it touches; `windows[::100, ::100]` decodes the whole frame, one row
    of tiles at a time, and keeps the pixels asked for.

    Args:
        tiff: The open file.
        how: Conversion of its numbers to pixels.
    """

    ndim = 2

    def __init__(self, tiff: Tiff, how: Conversion) -> None:
        page = tiff.image.page
        self._tiff, self._how = tiff, how
        self._image = Segments(tiff.image, sparse=tiff.nodata is not None)
        self._mask = None if tiff.mask is None else Segments(tiff.mask, sparse=True)
        self.shape = (int(page.imagelength), int(page.imagewidth))

    def __getitem__(self, key: tuple[slice, slice]) -> Pixels:
        rows, columns = (range(*part.indices(length)) for part, length in zip(key, self.shape, strict=True))
        if rows.step == columns.step == 1:
            return self._window(rows, columns)
        if min(rows.step, columns.step) < 1:
            raise IndexError("windows are read forwards.")
        return np.concatenate([self._thinned(list(band), columns) for _, band in groupby(rows, self._row_of_tiles)])

    def _row_of_tiles(self, row: int) -> int:
        return row // int(self._image.tile[0])

    def _thinned(self, rows: list[int], columns: range) -> Pixels:
        """Pixels of rows that lie in one row of tiles, in equal steps."""
        step = rows[1] - rows[0] if len(rows) > 1 else 1
        band = self._window(range(rows[0], rows[-1] + 1), range(columns.start, columns.stop))
        return band[::step, :: columns.step].copy()  # a view would keep the whole band

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        size = 4 * math.prod(self.shape)
        if size > MOST_BYTES:
            raise FrameError(self._tiff.path, f"its pixels take {size / 1e9:.1f} GB", "slice windows out of it")
        return np.asarray(self[:, :], dtype)

    def _window(self, rows: range, columns: range) -> Pixels:
        mask = None if self._mask is None else self._mask.window(rows, columns)
        values, missing = self._tiff.channel(self._image.window(rows, columns), mask)
        return convert(self._tiff.path, values, missing, self._how)


def by_windows(tiff: Tiff) -> bool:
    """Whether a frame is read by windows: more than 64 MB of pixels, stored upright in pieces that can be read alone.

    Pieces are tiles or strips of at most 64 MB with interleaved bands, or pixels without compression.
    """
    page = tiff.image.page
    if page.nbytes <= LARGE or tiff.orientation != 1 or (page.samplesperpixel > 1 and page.planarconfig != 1):
        return False
    piece = math.prod(page.chunks) * page.dtype.itemsize
    return piece <= LARGEST_SEGMENT or tiff.image.plain
