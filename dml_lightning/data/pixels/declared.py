"""What a file declares about its numbers: no-data value, scale, offset and unit, as GDAL writes them.

They are in the TIFF tags 42113 and 42112, or in a file `NAME.aux.xml` beside any frame.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from .channels import Mask, missing_where
from .errors import FrameError, StrPath

LONGEST = 1 << 20  # characters of XML, at most
KELVIN = 273.15
_CELSIUS = ("", "c", "degc", "°c", "deg c", "celsius", "degree celsius", "degrees celsius")
_KELVIN = ("k", "kelvin", "degk")


class Declared(NamedTuple):
    """What a file declares about its numbers; None for what it does not declare.

    >>> Declared(scale=0.01, unit="K").to_celsius()
    (0.01, -273.15)
    """

    nodata: str | None = None
    scale: float | None = None
    offset: float | None = None
    unit: str = ""

    def to_celsius(self) -> tuple[float, float] | None:
        """Gain and offset that turn stored numbers into degC; None where the stored numbers are the measurement.

        Raises:
            ValueError: The unit is none of temperature, or the gain is 0 or not finite.
        """
        unit, gain = self.unit.strip().lower(), 1.0 if self.scale is None else self.scale
        offset = self.offset or 0.0
        if (gain, offset) == (1.0, 0.0) and unit not in _KELVIN:
            return None
        if unit not in (*_CELSIUS, *_KELVIN):
            raise ValueError(f"its metadata declare scale {gain:g} and offset {offset:g} in the unit {self.unit!r}")
        if not (math.isfinite(gain) and math.isfinite(offset)) or gain == 0:
            raise ValueError(f"its metadata declare scale {gain:g} and offset {offset:g}")
        return gain, offset - KELVIN if unit in _KELVIN else offset

    def over(self, other: "Declared") -> "Declared":
        """Returns this declaration, filled up from another where this one says nothing.

        >>> Declared(scale=0.1).over(Declared(scale=0.5, unit="K"))
        Declared(nodata=None, scale=0.1, offset=None, unit='K')
        """
        return other._replace(**{key: value for key, value in self._asdict().items() if value not in (None, "")})


def gdal_tags(path: StrPath, nodata: Any, metadata: Any) -> Declared:
    """Reads the values of the TIFF tags 42113 (no-data) and 42112 (XML), None for a tag that is absent.

    >>> gdal_tags("a.tif", "-9999", '<GDALMetadata><Item sample="0" role="scale">0.1</Item></GDALMetadata>')
    Declared(nodata='-9999', scale=0.1, offset=None, unit='')

    Raises:
        FrameError: The XML cannot be parsed or is too long, or a scale or offset is no number.
    """
    declared = Declared(nodata=None if nodata is None else str(nodata).strip("\0 \n"))
    if metadata is None:
        return declared
    items = {
        item.get("role"): (item.text or "").strip()
        for item in _parsed(path, str(metadata).strip("\0 \n")).iter("Item")
        if item.get("sample", "0") == "0"
    }
    scale, offset = (_number(path, items.get(role)) for role in ("scale", "offset"))
    return declared._replace(scale=scale, offset=offset, unit=items.get("unittype", ""))


def sidecar(path: StrPath) -> Declared:
    """Reads the file `NAME.aux.xml` beside a frame, if there is one.

    Raises:
        FrameError: The XML cannot be parsed or is too long, or a scale or offset is no number.
    """
    file = Path(f"{path}.aux.xml")
    if not file.is_file():
        return Declared()
    with file.open(encoding="utf-8", errors="replace") as stream:
        root = _parsed(path, stream.read(LONGEST + 1))
    band = root.find("PAMRasterBand")
    if band is None:
        return Declared()
    scale, offset = (_number(path, band.findtext(key)) for key in ("Scale", "Offset"))
    return Declared(band.findtext("NoDataValue"), scale, offset, band.findtext("UnitType") or "")


def _parsed(path: StrPath, text: str) -> ElementTree.Element:
    if len(text) > LONGEST:
        raise FrameError(path, f"its GDAL metadata are longer than {LONGEST} characters", "shorten them")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise FrameError(path, f"its GDAL metadata are no XML ({error})", "write them again, or remove them") from None


def _number(path: StrPath, text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise FrameError(path, f"its GDAL metadata hold {text!r} for a number", "write it as in 0.01") from None


def nodata_as(path: StrPath, declared: Declared, dtype: np.dtype[Any]) -> Any:
    """Returns the declared no-data value as a number of the pixels' type; None where no pixel can have it.

    >>> nodata_as("a.tif", Declared(nodata="0"), np.dtype(np.uint16))
    np.uint16(0)
    >>> nodata_as("a.tif", Declared(nodata="-9999"), np.dtype(np.uint16)) is None
    True

    Raises:
        FrameError: The value is no number.
    """
    text = declared.nodata
    if not text:
        return None
    value = _number(path, text)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(value)
    if value is None or not float(value).is_integer():
        return None
    bounds = np.iinfo(dtype)
    return dtype.type(int(value)) if bounds.min <= value <= bounds.max else None


def equal_to(values: NDArray[Any], nodata: Any) -> Mask | None:
    """Pixels (H, W) in which any band of (H, W) or (H, W, bands) has the no-data value, which may be NaN; or None.

    >>> equal_to(np.array([[0, 7]]), 0).tolist()
    [[True, False]]
    """
    if nodata is None:
        return None
    marked = np.isnan(values) if nodata != nodata else values == nodata
    return missing_where(marked if marked.ndim == 2 else marked.any(axis=-1))
