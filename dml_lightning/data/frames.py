"""Pixels of one thermal frame and the unit that they carry.

8-bit and 16-bit TIFF, PNG and JPEG are read as counts, floating-point TIFF as degC. What a camera writes
as counts becomes degC only with a `Radiometry`: an auto-scaled 8-bit frame holds no temperatures.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dml_lightning.data.decoding import FrameError, StrPath, decode, frame_size

__all__ = ["FRAME_SUFFIXES", "Frame", "FrameError", "Pixels", "Radiometry", "Unit", "frame_size", "read_frame"]

Unit = Literal["counts", "degC"]
Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

FRAME_SUFFIXES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg"})
ABSOLUTE_ZERO = -273.15  # degC


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        pixels: (H, W), uint8 or uint16 in counts, float32 in degC.
        unit: What the pixel values are.
    """

    pixels: Pixels
    unit: Unit


@dataclass(frozen=True)
class Radiometry:
    """How a camera's counts become temperatures: degC = gain * counts + offset.

    Attributes:
        gain: degC per count, e.g. 0.01 for centikelvin.
        offset: degC at zero counts, e.g. -273.15 for centikelvin.

    Raises:
        ValueError: The gain is zero, or a value is not finite.
    """

    gain: float
    offset: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.gain) and np.isfinite(self.offset)) or self.gain == 0:
            raise ValueError(
                f"Radiometry got gain {self.gain} and offset {self.offset}: both must be finite and the "
                "gain not zero, e.g. 0.01 and -273.15 for centikelvin."
            )

    def to_celsius(self, counts: NDArray[Any]) -> NDArray[np.float32]:
        """Converts counts to degC, computed in float64 and rounded once to float32."""
        return (self.gain * counts.astype(np.float64) + self.offset).astype(np.float32)


def read_frame(path: StrPath, radiometry: Radiometry | None = None) -> Frame:
    """Reads one frame.

    Args:
        path: TIFF, PNG or JPEG; what it is follows from its first bytes, not from its name. Of a JPEG with
            several pictures (MPO) the first is read.
        radiometry: Turns integer counts into degC; floating-point frames are degC already.

    Returns:
        The pixels (H, W) and their unit.

    Raises:
        FrameError: The file is missing, empty, truncated, of another kind, in colour, of several pages, or
            holds values that are no temperatures.
    """
    pixels = decode(path)
    if pixels.dtype.kind == "f":
        return Frame(_checked_celsius(path, pixels), "degC")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise FrameError(path, f"the pixels are {pixels.dtype}")
    if radiometry is None:
        return Frame(np.require(pixels, requirements=["C", "W"]), "counts")
    return Frame(_checked_celsius(path, radiometry.to_celsius(pixels)), "degC")


def _checked_celsius(path: StrPath, pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Returns the temperatures as float32 after checking that they can be temperatures."""
    bad = int(np.count_nonzero(~np.isfinite(pixels)))
    if bad:
        raise FrameError(path, f"{bad} of {pixels.size} pixels are NaN or infinite", "fill them before use")
    if pixels.min() < ABSOLUTE_ZERO - 0.01:  # float32 rounds at this size
        cold = int(np.count_nonzero(pixels < ABSOLUTE_ZERO - 0.01))
        raise FrameError(
            path,
            f"{cold} of {pixels.size} pixels are below absolute zero (lowest {pixels.min():g} degC)",
            "temperatures must be in degC without a no-data value",
        )
    return np.require(pixels, np.float32, ["C", "W"])
