"""Thermal camera, from temperatures to counts: optics, lag, noise, vignetting, quantisation."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from dml_lightning.simulate.flight import GAIN, OFFSET, Flight
from dml_lightning.simulate.scene import Animal, Field, power_law
from dml_lightning.simulate.shapes import Part

SUPERSAMPLING = 4
FWHM_PER_SIGMA = 2.3548


def paint(animal: Animal, gsd: float, blur: float) -> tuple[int, int, Field, Field, Field]:
    """Paint an animal as the optics show it, on a patch just large enough.

    Args:
        animal: Animal to paint.
        gsd: Side of a pixel on the ground, m.
        blur: Full width at half maximum of the optical blur, px.

    Returns:
        Left and top edge of the patch in the frame, px, which may lie outside the frame; then three fields (h, w):
        share of each pixel that the parts cover, that share times their temperature over the surface, K, and the
        share that the animal covers without its reflection.
    """
    reach = max(np.hypot(part.x, part.y) + part.a for part in animal.parts) / gsd + 2.0
    left, top = int(np.floor(animal.x - reach)), int(np.floor(animal.y - reach))
    side = int(np.ceil(2 * reach)) + 1
    layers = np.zeros((3, side * SUPERSAMPLING, side * SUPERSAMPLING), np.float32)
    origin = (animal.x - left, animal.y - top)
    for part in animal.parts:
        _cover(layers, part, animal.heading, origin, gsd / SUPERSAMPLING)
    sigma = blur / FWHM_PER_SIGMA * SUPERSAMPLING
    seen = np.empty_like(layers)
    gaussian_filter(layers, (0.0, sigma, sigma), truncate=3.0, mode="constant", output=seen)
    shape = (3, side, SUPERSAMPLING, side, SUPERSAMPLING)
    coverage, kelvin, solid = seen.reshape(shape).mean((2, 4))  # the detector's own footprint
    return left, top, coverage, kelvin, solid


def _cover(layers: Field, part: Part, heading: float, origin: tuple[float, float], step: float) -> None:
    """Paint one ellipse over the layers in place; its edge is one subpixel soft.

    Args:
        layers: Coverage, temperature and solid coverage (3, h, w), on subpixels.
        part: Ellipse to paint.
        heading: Heading of the animal, rad.
        origin: Position (x, y) of the animal on the patch, px.
        step: Side of a subpixel, m.
    """
    cos, sin = np.cos(heading), np.sin(heading)
    column = origin[0] * SUPERSAMPLING - 0.5 + (part.x * cos - part.y * sin) / step
    row = origin[1] * SUPERSAMPLING - 0.5 + (part.x * sin + part.y * cos) / step
    a, b = max(part.a / step, 0.5), max(part.b / step, 0.5)  # subpixels
    reach = max(a, b) + 2.0
    rows = np.arange(max(int(row - reach), 0), min(int(row + reach) + 2, layers.shape[1]))
    columns = np.arange(max(int(column - reach), 0), min(int(column + reach) + 2, layers.shape[2]))
    south, east = (rows - row)[:, None], (columns - column)[None, :]
    cos, sin = np.cos(heading + part.angle), np.sin(heading + part.angle)
    along, across = (east * cos + south * sin) / a, (south * cos - east * sin) / b
    inside = (1.0 - np.sqrt(along * along + across * across)) * min(a, b)
    alpha = np.clip(inside + 0.5, 0.0, 1.0).astype(np.float32) * np.float32(part.opacity)
    window = layers[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    window *= 1.0 - alpha
    window[0] += alpha
    window[1] += alpha * np.float32(part.kelvin)
    if part.solid:
        window[2] += alpha


def lag(signal: Field, flight: Flight) -> Field:
    """Faint tail (H, W), K, that slow bolometers leave behind a moving target, along the columns.

    It decays as exp(-2 distance / tail) and starts at `tail_share` of the signal of a target that is 5 px long.

    Args:
        signal: Temperature of the animals over the surface (H, W), K.
        flight: Flight that the frame belongs to.
    """
    step = slice(None) if flight.tail_down else slice(None, None, -1)
    ahead = np.array([flight.tail_share / 5], np.float32)
    behind = np.array([1.0, -np.exp(-2.0 / flight.tail)], np.float32)
    return np.asarray(lfilter(ahead, behind, signal[step], axis=0)[step], np.float32)


@lru_cache(maxsize=2)
def fixed_pattern(flight: Flight) -> Field:
    """Fixed pattern (H, W), K, the same in all frames of a flight: non-uniformity, columns, vignetting."""
    rng = np.random.default_rng([flight.seed, 3, flight.number])
    shape = (flight.height, flight.width)
    grain = rng.standard_normal(shape, dtype=np.float32)
    cloud = power_law(*shape, 2.0, rng)
    pattern = np.float32(flight.fixed_pattern) * (0.8 * grain + 0.6 * cloud)
    columns = flight.column * rng.standard_normal(flight.width)
    cx, cy = rng.normal(0.0, 0.06, 2)
    x = np.linspace(-1.0, 1.0, flight.width)[None, :] - cx
    y = np.linspace(-1.0, 1.0, flight.height)[:, None] - cy
    shade = -0.5 * flight.vignetting * (x**2 + y**2)
    return np.asarray(pattern + columns[None, :] + shade, np.float32)


def expose(celsius: Field, flight: Flight, rng: np.random.Generator) -> Field:
    """Add the camera's noise and fixed pattern to a frame (H, W), degC."""
    temporal = np.float32(flight.temporal) * rng.standard_normal(celsius.shape, dtype=np.float32)
    rows = np.float32(flight.row) * rng.standard_normal((flight.height, 1), dtype=np.float32)
    noisy: Field = celsius + fixed_pattern(flight) + temporal + rows
    return noisy


def quantise(celsius: Field) -> NDArray[np.uint16]:
    """Convert degC to counts of 10 mK, clipped to 16 bits.

    Example:
        >>> quantise(np.array([[0.0, 20.0]], np.float32))
        array([[27315, 29315]], dtype=uint16)
    """
    counts: Field = np.rint((celsius - np.float32(OFFSET)) / np.float32(GAIN))
    return counts.clip(0, 65535).astype(np.uint16)
