"""From temperatures to counts: optics, lag, noise, vignetting, quantisation."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from dml_lightning.data.simulate.flight import Flight
from dml_lightning.data.simulate.scene import Animal, Field, power_law
from dml_lightning.data.simulate.shapes import Part

GAIN, OFFSET = 0.01, -273.15  # degC = GAIN * counts + OFFSET (centikelvin)
SUPERSAMPLING = 4
FWHM_PER_SIGMA = 2.3548


def paint(animal: Animal, gsd: float, blur: float) -> tuple[int, int, Field, Field, Field]:
    """An animal as the optics see it, on a patch just large enough.

    Returns:
        left, top: of the patch in the frame, px (may lie outside the frame).
        coverage: (h, w) share of each pixel that the parts cover.
        kelvin: (h, w) coverage times temperature over the surface, K.
        solid: (h, w) coverage by the animal alone, without its reflection.
    """
    reach = max(np.hypot(part.x, part.y) + part.a for part in animal.parts) / gsd + 2.0
    left, top = int(np.floor(animal.x - reach)), int(np.floor(animal.y - reach))
    side = int(np.ceil(2 * reach)) + 1
    fine = ((np.arange(side * SUPERSAMPLING) + 0.5) / SUPERSAMPLING).astype(np.float32)
    east = ((fine + left - animal.x) * gsd)[None, :]
    south = ((fine + top - animal.y) * gsd)[:, None]
    cos, sin = np.float32(np.cos(animal.heading)), np.float32(np.sin(animal.heading))
    x, y = east * cos + south * sin, south * cos - east * sin
    layers = np.zeros((3, fine.size, fine.size), np.float32)
    edge = gsd / SUPERSAMPLING
    for part in animal.parts:
        _cover(layers, x, y, part, edge)
    sigma = blur / FWHM_PER_SIGMA * SUPERSAMPLING
    gaussian_filter(layers, (0.0, sigma, sigma), truncate=3.0, mode="constant", output=layers)
    shape = (3, side, SUPERSAMPLING, side, SUPERSAMPLING)
    coverage, kelvin, solid = layers.reshape(shape).mean((2, 4), dtype=np.float32)  # the detector's own footprint
    return left, top, coverage, kelvin, solid


def _cover(layers: Field, x: Field, y: Field, part: Part, edge: float) -> None:
    """Paint one ellipse over coverage, temperature and solid coverage, edges one subpixel soft."""
    cos, sin = np.float32(np.cos(part.angle)), np.float32(np.sin(part.angle))
    u, v = (x - part.x) * cos + (y - part.y) * sin, (y - part.y) * cos - (x - part.x) * sin
    a, b = max(part.a, 0.5 * edge), max(part.b, 0.5 * edge)
    inside = (1.0 - np.hypot(u / np.float32(a), v / np.float32(b))) * np.float32(min(a, b) / edge)
    alpha = np.clip(inside + 0.5, 0.0, 1.0) * np.float32(part.opacity)
    layers *= 1.0 - alpha
    layers[0] += alpha
    layers[1] += alpha * np.float32(part.kelvin)
    if part.solid:
        layers[2] += alpha


def lag(signal: Field, flight: Flight) -> Field:
    """The faint tail that slow bolometers leave behind a moving target, along the columns."""
    keep = np.float32(np.exp(-2.0 / flight.tail))
    step = slice(None) if flight.tail_down else slice(None, None, -1)
    gain = np.array([flight.tail_share * (1 - keep) * flight.tail / 4], np.float32)
    tail: Field = lfilter(gain, np.array([1.0, -keep], np.float32), signal[step], axis=0)[step]
    return tail


@lru_cache(maxsize=2)
def fixed_pattern(flight: Flight) -> Field:
    """What stays the same all flight, K (H, W): residual non-uniformity, columns, vignetting."""
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
    return (pattern + columns[None, :] + shade).astype(np.float32)


def expose(celsius: Field, flight: Flight, rng: np.random.Generator) -> Field:
    """The frame with all of the camera's noise, degC (H, W)."""
    noisy = rng.standard_normal(celsius.shape, dtype=np.float32)
    noisy *= np.float32(flight.temporal)
    noisy += celsius
    noisy += fixed_pattern(flight)
    noisy += (flight.row * rng.standard_normal((flight.height, 1))).astype(np.float32)
    return noisy


def quantise(celsius: Field) -> NDArray[np.uint16]:
    """From degC to counts of 10 mK."""
    counts: Field = np.rint((celsius - np.float32(OFFSET)) / np.float32(GAIN))
    return counts.clip(0, 65535).astype(np.uint16)
