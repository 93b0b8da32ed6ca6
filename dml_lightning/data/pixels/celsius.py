"""From stored numbers to counts or degC, with a check for values that cannot be temperatures of a field scene."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .channels import Mask
from .declared import Declared
from .errors import FrameError, StrPath

Unit = Literal["counts", "degC"]
Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

ABSOLUTE_ZERO = -273.15  # degC
# The median of a frame or window of wildlife in degC lies between a polar night and a heated roof.
PLAUSIBLE = (-60.0, 150.0)
# Above the low-gain range of drone cameras (550 degC), and below -0.01 degC as unsigned hundredths (655.35 degC).
HOTTEST = 600.0
SAMPLES = 16384  # pixels, at least, from which the median is estimated

_CAUSES = "they are likely Kelvin, or negative numbers that wrapped to 16 bit without sign"


@dataclass(frozen=True)
class Radiometry:
    """How a camera's counts become temperatures: degC = gain * counts + offset.

    >>> Radiometry(0.01, -273.15).to_celsius(np.array([28315, 29315])).round(2).tolist()
    [10.0, 20.0]

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


class Conversion(NamedTuple):
    """How the stored numbers of one file become pixels.

    Attributes:
        unit: Unit of the pixels.
        rule: Conversion from stored numbers to degC; None where the stored numbers are kept.
    """

    unit: Unit
    rule: Radiometry | None


def conversion(path: StrPath, dtype: np.dtype[Any], declared: Declared, radiometry: Radiometry | None) -> Conversion:
    """Decides the unit of stored numbers and their conversion to degC.

    The user's radiometry applies to integers and comes before what the file declares; floating-point numbers are degC
    unless the file declares a scale.

    >>> conversion("a.tif", np.dtype(np.uint16), Declared(), None)
    Conversion(unit='counts', rule=None)
    >>> conversion("a.tif", np.dtype(np.uint16), Declared(scale=0.01, unit="K"), None)
    Conversion(unit='degC', rule=Radiometry(gain=0.01, offset=-273.15))

    Args:
        path: Path of the file, for messages.
        dtype: Type of the stored numbers.
        declared: What the file declares about its numbers.
        radiometry: Conversion that the user gives, or None.

    Raises:
        FrameError: The type can hold neither counts nor temperatures, int16 comes without a conversion, or the declared
            unit is no temperature.
    """
    integer = dtype in (np.uint8, np.uint16, np.int16)
    if not integer and dtype not in (np.float16, np.float32, np.float64):
        raise FrameError(path, f"the pixels are {dtype}")
    rule = radiometry if integer else None
    if rule is None:
        try:
            stated = declared.to_celsius()
        except ValueError as error:
            raise FrameError(
                path, str(error), "declare a scale to degC or K, or give a radiometry (degC = gain * counts + offset)"
            ) from None
        rule = None if stated is None else Radiometry(*stated)
    if rule is None and dtype == np.int16:
        raise FrameError(
            path,
            "the pixels are int16, signed counts",
            "give a radiometry (degC = gain * counts + offset), as gain 0.1 and offset 0 for tenths of a degC",
        )
    return Conversion("degC" if rule or not integer else "counts", rule)


def convert(path: StrPath, values: NDArray[Any], missing: Mask | None, how: Conversion) -> Pixels:
    """Returns pixels (H, W): stored counts as they are, degC as float32; float32 with NaN where some are missing.

    float32 holds every count of 16 bit exactly.

    >>> counts = np.array([[7, 0]], np.uint16)
    >>> convert("a.tif", counts, counts == 0, Conversion("counts", None)).tolist()
    [[7.0, nan]]

    Raises:
        FrameError: A pixel that is not missing has a value that is no temperature.
    """
    if how.unit == "degC":
        result = values if how.rule is None else how.rule.to_celsius(values)
        check_celsius(path, result if missing is None else result[~missing])
        with np.errstate(over="ignore"):  # missing pixels may hold float64 numbers beyond float32
            result = np.require(result, np.float32, ["C", "W"])
    elif missing is None:
        return np.require(values, requirements=["C", "W"])
    else:
        result = values.astype(np.float32)
    if missing is None:
        return result
    marked: NDArray[np.float32] = np.where(missing, np.float32(np.nan), result)
    return marked


def check_celsius(path: StrPath, celsius: NDArray[Any]) -> None:
    """Checks that numbers can be temperatures of a field scene in degC.

    >>> check_celsius("a.tif", np.array([4.0, 31.5]))

    Raises:
        FrameError: Some are not finite, colder than absolute zero or hotter than a camera measures, or their median
            lies outside of `PLAUSIBLE`.
    """
    size = celsius.size
    if not size:
        return
    bad = int(np.count_nonzero(~np.isfinite(celsius)))
    if bad:
        raise FrameError(
            path,
            f"{bad} of {size} pixels are NaN or infinite",
            "fill them before use, or declare them as missing (GDAL no-data, TIFF tag 42113)",
        )
    if celsius.min() < ABSOLUTE_ZERO - 0.01:  # float32 rounds at this size
        cold = int(np.count_nonzero(celsius < ABSOLUTE_ZERO - 0.01))
        raise FrameError(
            path,
            f"{cold} of {size} pixels are below absolute zero (lowest {celsius.min():g} degC)",
            "temperatures must be in degC; declare a no-data value (GDAL, TIFF tag 42113)",
        )
    median = float(np.median(celsius.ravel()[:: max(1, size // SAMPLES)]))
    if not PLAUSIBLE[0] <= median <= PLAUSIBLE[1]:
        raise FrameError(
            path,
            f"the median of its pixels is {median:g} degC: {_CAUSES}",
            "frames are in degC, and a radiometry (degC = gain * counts + offset) fits its camera's counts, never an "
            "8-bit picture",
        )
    if celsius.max() > HOTTEST:
        hot = int(np.count_nonzero(celsius > HOTTEST))
        raise FrameError(
            path,
            f"{hot} of {size} pixels are hotter than {HOTTEST:g} degC (up to {celsius.max():g}): {_CAUSES}, or a "
            "no-data value",
            "write degC with sign, or declare the no-data value (GDAL, TIFF tag 42113)",
        )
