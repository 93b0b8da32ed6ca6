"""Rendering of one frame, with the boxes of its animals."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from dml_lightning.simulate.camera import expose, lag, paint, quantise
from dml_lightning.simulate.flight import SCALE, Flight, frame_file
from dml_lightning.simulate.scene import Field, draw_animals, draw_background

VISIBLE = 0.25  # smallest coverage of a pixel that counts as part of the animal
MIN_BOX = 2  # smallest side of a box, px


class Annotation(NamedTuple):
    """One animal in one frame."""

    name: str
    posture: str
    box: tuple[int, int, int, int]  # left, top, width, height in px


def render_frame(
    flight: Flight, frame: int, birds: int, lookalikes: int
) -> tuple[NDArray[np.uint16], list[Annotation]]:
    """Render the counts (H, W) and the annotations of one frame.

    The result depends on the arguments alone, not on frames rendered before.

    Args:
        flight: Conditions of the flight.
        frame: Number of the frame, from 0.
        birds: Mean number of birds; it varies by up to a quarter.
        lookalikes: Number of lookalikes beside the detector's dead pixels; 0 leaves these out too.
    """
    rng = np.random.default_rng([flight.seed, 4, flight.number, frame])
    surface, water = draw_background(flight, rng)
    signal = np.zeros_like(surface)
    animals = draw_animals(flight, frame, birds, lookalikes, water, rng)
    notes = []
    for animal in animals:
        left, top, coverage, kelvin, solid = paint(animal, flight.gsd, flight.blur)
        box = _tight_box(solid, left, top, flight)
        if box is None:
            continue
        notes.append(Annotation(animal.name, animal.posture, box))
        level = _level(surface, animal.x, animal.y)
        _blend(signal, surface, level, coverage, kelvin, left, top)
    celsius = expose(surface + signal + lag(signal, flight), flight, rng)
    if lookalikes:
        notes += _dead_pixels(celsius, flight, rng)
    return quantise(celsius), notes


def write_frame(job: tuple[Flight, int], folder: Path, birds: int, lookalikes: int) -> list[Annotation]:
    """Render and write one frame, given by its flight and number; returns its annotations."""
    counts, notes = render_frame(*job, birds, lookalikes)
    tifffile.imwrite(  # compressed: 2 ms more to write and 1 ms to read for half the size
        folder / frame_file(job),
        counts,
        description=SCALE,
        metadata=None,
        compression="zlib",
        compressionargs={"level": 1},
        predictor=True,
    )
    return notes


def _level(surface: Field, x: float, y: float) -> float:
    """Temperature of the surface around an animal, degC: mean of 9 by 9 px."""
    row, column = int(y), int(x)
    around = surface[max(row - 4, 0) : row + 5, max(column - 4, 0) : column + 5]
    return float(around.mean())


def _blend(signal: Field, surface: Field, level: float, coverage: Field, kelvin: Field, left: int, top: int) -> None:
    """Add to `signal` (H, W) the difference, K, that an animal makes by hiding what lies below it."""
    height, width = signal.shape
    rows = slice(max(top, 0), min(top + coverage.shape[0], height))
    columns = slice(max(left, 0), min(left + coverage.shape[1], width))
    patch = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    below = surface[rows, columns] + signal[rows, columns]
    signal[rows, columns] += kelvin[patch] + coverage[patch] * (np.float32(level) - below)


def _tight_box(solid: Field, left: int, top: int, flight: Flight) -> tuple[int, int, int, int] | None:
    """Smallest box around the visible pixels of an animal, with sides of at least MIN_BOX; None outside the frame."""
    seen = solid >= min(VISIBLE, 0.5 * float(solid.max()))
    rows, columns = np.flatnonzero(seen.any(1)) + top, np.flatnonzero(seen.any(0)) + left
    x, width = _span(columns[0], columns[-1], flight.width)
    y, height = _span(rows[0], rows[-1], flight.height)
    return (x, y, width, height) if width and height else None


def _span(first: int, last: int, size: int) -> tuple[int, int]:
    """Start and extent of first..last clipped to 0..size-1; extent 0 when all of it is outside."""
    first, last = max(int(first), 0), min(int(last), size - 1)
    if first > last:
        return 0, 0
    extent = max(last - first + 1, MIN_BOX)
    return min(first, size - extent), extent


def _dead_pixels(celsius: Field, flight: Flight, rng: np.random.Generator) -> list[Annotation]:
    """Add the detector's two defects: at fixed positions, in half of the frames, not blurred by the optics."""
    own = np.random.default_rng([flight.seed, 5, flight.number])
    notes = []
    for _ in range(2):
        x, y = (int(own.integers(1, side - 3)) for side in (flight.width, flight.height))
        width, height = [(1, 1), (1, 1), (2, 1), (1, 2), (2, 2)][own.integers(5)]
        error = own.choice([-1.0, 1.0]) * own.uniform(3.0, 20.0)
        if rng.random() < 0.5:
            celsius[y : y + height, x : x + width] += np.float32(error)
            notes.append(Annotation("dead_pixel", "none", (x, y, max(width, 2), max(height, 2))))
    return notes
