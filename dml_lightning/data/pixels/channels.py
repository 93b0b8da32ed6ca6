"""From the bands that a file stores to one channel, where that loses nothing, and which pixels it marks as missing."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import FrameError, StrPath

Mask = NDArray[np.bool_]

# Chroma is rounded and quantised: grey pictures stored as colour JPEG come back with channels that differ
# by up to 7 counts in published thermal sets. A palette picture differs by more than 100.
JPEG_CHROMA_TOLERANCE = 8  # counts


class Channel(NamedTuple):
    """One channel as it is stored, with the mask of its missing pixels."""

    values: NDArray[Any]  # (H, W)
    missing: Mask | None = None  # (H, W), True where the file says that there is no measurement


def union(first: Mask | None, second: Mask | None) -> Mask | None:
    """Returns the union of two masks (H, W), where None marks nothing.

    >>> union(None, np.array([[True, False]])).tolist()
    [[True, False]]
    """
    if first is None or second is None:
        return second if first is None else first
    return first | second


def missing_where(marked: Mask) -> Mask | None:
    """Returns the mask, or None where it marks nothing.

    >>> missing_where(np.array([[False, False]])) is None
    True
    """
    return marked if marked.any() else None


def single_channel(path: StrPath, pixels: NDArray[Any], *, alpha: bool, tolerance: int = 0) -> Channel:
    """Reduces (H, W) or (H, W, bands) to one channel.

    >>> single_channel("a.png", np.full((1, 2, 3), 9), alpha=False).values.tolist()
    [[9, 9]]

    Args:
        path: Path of the file, for messages.
        pixels: Stored numbers (H, W) or (H, W, bands).
        alpha: Whether the last band is a mask of the pixels that are present.
        tolerance: Largest number of counts by which the three channels of a grey picture may differ.

    Raises:
        FrameError: The bands hold more than one channel, or an alpha band is no mask.
    """
    if pixels.ndim == 2:
        return Channel(pixels)
    if pixels.ndim != 3 or pixels.shape[-1] - alpha > 4:
        raise FrameError(path, f"the pixels have the shape {pixels.shape}")
    missing = _transparent(path, pixels[..., -1]) if alpha else None
    colours = pixels[..., :-1] if alpha else pixels
    bands = colours.shape[-1]
    if bands == 1:
        return Channel(colours[..., 0], missing)
    if bands == 3:
        return Channel(_grey_of_equal(path, colours, tolerance), missing)
    raise FrameError(path, f"the file holds {bands} bands", "a frame is one band: write each band to its own file")


def _transparent(path: StrPath, alpha: NDArray[Any]) -> Mask | None:
    """Pixels that are not opaque, of an alpha band that marks the outside of a mosaic; None where it marks nothing."""
    lowest, highest = alpha.min(), alpha.max()
    if lowest == highest and lowest > 0:
        return None
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
    partial = np.count_nonzero((alpha > 0) & (alpha < opaque))
    if partial > np.count_nonzero(alpha == opaque):
        raise FrameError(
            path,
            f"the picture has an alpha channel that varies ({partial} of {alpha.size} pixels are half transparent)",
            "alpha is 0 outside of a mosaic and opaque inside, or left out",
        )
    return np.asarray(alpha != opaque)


def _grey_of_equal(path: StrPath, pixels: NDArray[Any], tolerance: int) -> NDArray[Any]:
    """Takes three channels that agree within the tolerance as one (H, W)."""
    green = pixels[..., 1]
    if all(np.array_equal(pixels[..., other], green, equal_nan=pixels.dtype.kind == "f") for other in (0, 2)):
        return green
    spread = float(np.ptp(pixels.astype(np.float64), axis=-1).max())
    if spread <= tolerance:
        from PIL import Image

        return np.asarray(Image.fromarray(pixels).convert("L"))  # luma: what JPEG itself stores
    raise FrameError(
        path,
        f"the three channels differ by up to {spread:g} counts, so this is a colour picture, perhaps the "
        "palette preview inside a radiometric JPEG (DJI R-JPEG, FLIR)",
        "export the counts or temperatures as 16-bit PNG/TIFF or floating-point TIFF, or an 8-bit white-hot picture",
    )
