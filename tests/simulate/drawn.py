"""Flights and birds as the tests of the simulator draw them, and what a camera sees of their parts."""

from dataclasses import replace

import numpy as np

from dml_lightning.simulate.camera import paint
from dml_lightning.simulate.flight import Flight, draw_flight
from dml_lightning.simulate.scene import Animal, Field
from dml_lightning.simulate.shapes import Part, Posture, bird_parts
from dml_lightning.simulate.species import SPECIES

FINE = 0.01  # m per px, close enough to resolve a head


def flight(number: int = 0, seed: int = 0, **changes: object) -> Flight:
    """Flight at 60 m with a lens of 13.5 mm, in frames of 640 by 512 px."""
    return replace(draw_flight(number, seed, 60.0, 13.5, 640, 512), **changes)


def warm(**changes: object) -> Flight:
    """A warm night flight with contrasts as measured (gain 1, no sun)."""
    own = next(f for f in map(flight, range(12)) if not f.cold_birds)
    return replace(own, gain=1.0, sun=0.0, **changes)


def cold(**changes: object) -> Flight:
    """A flight under a cold sky with contrasts as measured (gain 1)."""
    own = next(f for f in map(flight, range(12)) if f.cold_birds)
    return replace(own, gain=1.0, **changes)


def individuals(name: str, posture: Posture, own: Flight, number: int = 40) -> list[list[Part]]:
    """Parts of so many birds of one species."""
    rng = np.random.default_rng(7)
    return [bird_parts(SPECIES[name], posture, own, rng) for _ in range(number)]


def seen(parts: list[Part], gsd: float, blur: float = 0.75, heading: float = 0.0) -> tuple[Field, Field]:
    """Coverage and mean temperature of the covered share (h, w)."""
    _, _, coverage, kelvin, _ = paint(Animal("", "", 0.0, 0.0, heading, tuple(parts)), gsd, blur)
    return coverage, np.asarray(kelvin / np.maximum(coverage, 1e-6), np.float32)


def extent(parts: list[Part], axis: str) -> float:
    """Outermost edge to outermost edge along x or y, m, from each tilted ellipse's bounds."""
    along = np.cos if axis == "x" else np.sin
    across = np.sin if axis == "x" else np.cos
    half = [np.hypot(p.a * along(p.angle), p.b * across(p.angle)) for p in parts]
    place = [getattr(p, axis) for p in parts]
    return max(np.add(place, half)) - min(np.subtract(place, half))
