"""Temperatures of a FLIR radiometric JPEG, which DJI's cameras XT2 and XTR write, too.

The raw frame and the camera's constants lie in the APP1 segments of the JPEG that begin with `FLIR`. Joined they are
one container of records, each with a type; the raw record holds 16-bit numbers, the camera record what turns them into
temperatures by Planck's law and a model of the air between bird and lens.

Letters: S stored number, T temperature in K, E emissivity, W transmission of a window before the lens, t of the air.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .declared import KELVIN

MARK = b"FLIR\0"
RAW, CAMERA = 0x01, 0x20  # types of records
MOST_RECORDS = 1024

_FLOATS = {
    "emissivity": 0x20,
    "distance": 0x24,
    "reflected": 0x28,
    "air": 0x2C,
    "window": 0x30,
    "window_transmission": 0x34,
    "humidity": 0x3C,
    "r1": 0x58,
    "b": 0x5C,
    "f": 0x60,
    "alpha1": 0x70,
    "alpha2": 0x74,
    "beta1": 0x78,
    "beta2": 0x7C,
    "x": 0x80,
    "r2": 0x30C,
}
_OFFSET = 0x308  # int32


@dataclass(frozen=True)
class Camera:
    """Constants of the camera, the scene and the air, as the camera stores them: temperatures in K, distance in m."""

    emissivity: float
    distance: float
    reflected: float
    air: float
    window: float
    window_transmission: float
    humidity: float
    r1: float
    b: float
    f: float
    alpha1: float
    alpha2: float
    beta1: float
    beta2: float
    x: float
    r2: float
    o: float

    def signal(self, kelvin: float) -> float:
        """Stored number of a black body of this temperature: q(T) = R1 / (R2 (exp(B / T) - F)) - O."""
        return float(self.r1 / (self.r2 * (np.exp(self.b / kelvin) - self.f)) - self.o)

    def transmission(self) -> float:
        """Share t of the radiation that the air lets through, for one of the two halves of the distance."""
        air = self.air - KELVIN
        water = self.humidity * np.exp(1.5587 + 0.06939 * air - 0.00027816 * air**2 + 6.8455e-7 * air**3)
        path, root = np.sqrt(self.distance / 2), np.sqrt(water)
        near = np.exp(-path * (self.alpha1 + self.beta1 * root))
        far = np.exp(-path * (self.alpha2 + self.beta2 * root))
        return float(self.x * near + (1 - self.x) * far)

    def to_celsius(self, raw: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Turns stored numbers (H, W) into degC, computed in float64; NaN where no temperature gives the number."""
        # the air counts twice: before the window and behind it
        e, w, t = self.emissivity, self.window_transmission, self.transmission()
        reflected, window, air = (self.signal(kelvin) for kelvin in (self.reflected, self.window, self.air))
        behind = e * t * w * t
        own = (
            raw.astype(np.float64) / behind
            - (1 - e) / e * reflected
            - (1 - t) / (e * t) * air
            - (1 - w) / (e * t * w) * window
            - (1 - t) / behind * air
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            celsius = self.b / np.log(self.r1 / (self.r2 * (own + self.o)) + self.f) - KELVIN
        return np.asarray(celsius, np.float32)


def celsius_of(parts: dict[int, bytes]) -> NDArray[np.float32]:
    """Decodes a radiometric frame.

    Args:
        parts: Number of the part (byte 6) -> payload of the segment, which begins with `FLIR`.

    Returns:
        Temperatures (H, W) in degC.

    Raises:
        ValueError: Parts are missing, or the container holds no raw frame or no camera constants.
    """
    if sorted(parts) != list(range(len(parts))):
        raise ValueError(f"parts {sorted(parts)} of the FLIR data are there, some are missing")
    container = b"".join(parts[number][8:] for number in sorted(parts))
    records = _records(container)
    if RAW not in records:
        raise ValueError("the FLIR data hold no raw frame")
    if CAMERA not in records:
        raise ValueError("the FLIR data hold no camera constants")
    return _camera(records[CAMERA]).to_celsius(_raw(records[RAW]))


def _records(container: bytes) -> dict[int, bytes]:
    """Returns the first raw record and the first camera record by their type."""
    order = next((each for each in "<>" if 100 <= _integer(container, 0x14, f"{each}I") < 200), None)
    if order is None:
        raise ValueError("the FLIR data have no version that is known")
    first, count = (_integer(container, at, f"{order}I") for at in (0x18, 0x1C))
    if count > MOST_RECORDS:
        raise ValueError(f"the FLIR data list {count} records")
    records = dict[int, bytes]()
    for number in range(count):
        entry = first + 32 * number
        kind, start, length = (
            _integer(container, entry + at, f"{order}{form}") for at, form in ((0, "H"), (12, "I"), (16, "I"))
        )
        if kind in (RAW, CAMERA) and kind not in records:
            if start + length > len(container):
                raise ValueError("a record of the FLIR data ends behind them")
            records[kind] = container[start : start + length]
    return records


def _integer(data: bytes, at: int, form: str) -> int:
    return int(struct.unpack_from(form, data, at)[0])


def _order(record: bytes) -> str:
    """Byte order of a record, in which its first number is 2; it may differ from that of the container."""
    order = next((each for each in "<>" if _integer(record, 0, f"{each}H") == 2), None)
    if order is None:
        raise ValueError("a record of the FLIR data is of a kind that is not known")
    return order


def _raw(record: bytes) -> NDArray[np.uint16]:
    """Numbers (H, W) of a raw record, stored plainly or as a PNG with swapped bytes."""
    order = _order(record)
    width, height = (_integer(record, at, f"{order}H") for at in (2, 4))
    data = record[0x20:]
    if data.startswith(b"\x89PNG"):
        from PIL import Image

        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.mode != "I;16" or picture.size != (width, height):
                raise ValueError(f"the raw frame of the FLIR data is {picture.size} px of the mode {picture.mode}")
            return np.asarray(picture).astype(np.uint16).byteswap()
    count = width * height
    if not 0 < 2 * count <= len(data):
        raise ValueError(f"the raw frame of the FLIR data has {len(data)} bytes for {width}x{height} px")
    return np.frombuffer(data, f"{order}u2", count).reshape(height, width).astype(np.uint16)


def _camera(record: bytes) -> Camera:
    order = _order(record)
    values: dict[str, Any] = {
        name: float(struct.unpack_from(f"{order}f", record, at)[0]) for name, at in _FLOATS.items()
    }
    camera = Camera(**values, o=_integer(record, _OFFSET, f"{order}i"))
    positive = ("emissivity", "window_transmission", "reflected", "air", "window", "r1", "r2", "b")
    wrong = [name for name, value in values.items() if not np.isfinite(value) or (name in positive and value <= 0)]
    if wrong:
        raise ValueError(f"the camera constants of the FLIR data are no numbers of a camera ({', '.join(wrong)})")
    return camera
