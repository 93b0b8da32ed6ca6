"""A look at the pixels of some frames: kind of file, unit, range and what is missing."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dml_lightning.data.frames import FrameError, Radiometry, Unit, read_frame
from dml_lightning.data.pixels import kind_of

MOST_FRAMES = 200  # whose pixels are read
MOST_ROWS = 2048  # and columns of a frame; of larger ones every k-th is looked at


class FrameLook(NamedTuple):
    """What one frame holds.

    Attributes:
        frame: Path.
        kind: Of the file and its numbers, such as "TIFF uint16".
        unit: Of the three values.
        low: Smallest value.
        median: Median.
        high: Largest value.
        missing: Share of pixels that are marked as missing.
    """

    frame: str
    kind: str
    unit: Unit
    low: float
    median: float
    high: float
    missing: float


def look_at(frame: str, radiometry: Radiometry | None = None) -> FrameLook:
    """Looks at one frame.

    Raises:
        FrameError: It cannot be read, or nothing of it is there.
    """
    shown = read_frame(frame, radiometry)
    step = -(-max(shown.pixels.shape) // MOST_ROWS)
    pixels = np.asarray(shown.pixels[::step, ::step])
    present = pixels[~np.isnan(pixels)]
    if not present.size:
        raise FrameError(frame, "all of the pixels looked at are marked as missing", "a frame shows something")
    kind = kind_of(frame).upper()
    if shown.unit == "counts":
        kind += " with missing pixels" if pixels.dtype.kind == "f" else f" {pixels.dtype}"
    values = (float(present.min()), float(np.median(present)), float(present.max()))
    return FrameLook(frame, kind, shown.unit, *values, 1 - present.size / pixels.size)


def evenly(frames: Sequence[str], most: int = MOST_FRAMES) -> list[str]:
    """At most so many frames, evenly spaced, the first and the last among them.

    >>> evenly(["a", "b", "c", "d", "e"], 3)
    ['a', 'c', 'e']
    """
    return [frames[round(place)] for place in np.linspace(0, len(frames) - 1, min(most, len(frames)))]


def look_at_all(frames: Sequence[str], radiometry: Radiometry | None = None) -> tuple[list[FrameLook], list[str]]:
    """Looks at each of some frames; second, one sentence for each that cannot be read."""
    looks, bad = list[FrameLook](), list[str]()
    for frame in frames:
        try:
            looks.append(look_at(frame, radiometry))
        except FrameError as error:
            bad.append(str(error))
    return looks, bad
