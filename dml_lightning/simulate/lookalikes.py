"""Lookalikes, which are no birds, as lists of soft ellipses in metres, x forward."""

from dataclasses import replace

import numpy as np

from dml_lightning.simulate.flight import Flight
from dml_lightning.simulate.shapes import Part, centred


def lookalike_parts(name: str, flight: Flight, rng: np.random.Generator) -> list[Part]:
    """Draw one lookalike.

    Args:
        name: "vegetation", "debris", "mammal", "person" or "glint".
        flight: Flight that it is seen in.
        rng: Random generator.
    """
    return {"vegetation": _vegetation, "debris": _debris, "mammal": _mammal, "person": _person, "glint": _glint}[name](
        flight, rng
    )


def _held_heat(flight: Flight, rng: np.random.Generator) -> float:
    """Temperature over the surface, K, of an object without body heat; mostly with the sign of the birds' plumage."""
    sign = (-1.0 if flight.cold_birds else 1.0) * (1.0 if rng.random() < 0.75 else -1.0)
    return sign * flight.gain * rng.uniform(1.2, 5.5)


def _vegetation(flight: Flight, rng: np.random.Generator) -> list[Part]:
    """An irregular clump of leaves."""
    size, kelvin = rng.uniform(0.10, 0.32), _held_heat(flight, rng)
    stretch = rng.uniform(1.0, 2.2)
    return [
        Part(
            rng.normal(0.0, 0.5) * size * stretch,
            rng.normal(0.0, 0.4) * size,
            size * rng.uniform(0.25, 0.75),
            size * rng.uniform(0.15, 0.5),
            kelvin * rng.uniform(0.5, 1.5),
            rng.uniform(0.0, np.pi),
            rng.uniform(0.6, 1.0),
        )
        for _ in range(rng.integers(4, 10))
    ]


def _debris(flight: Flight, rng: np.random.Generator) -> list[Part]:
    """A log with a knot, or one to three stones, of nearly even temperature."""
    kelvin = _held_heat(flight, rng)
    if rng.random() < 0.5:
        a = rng.uniform(0.15, 0.50)
        log = Part(0.0, 0.0, a, a * rng.uniform(0.12, 0.35), kelvin)
        knot = replace(log, x=rng.uniform(-0.6, 0.6) * a, a=0.25 * a, angle=rng.normal(0.0, 0.6))
        return [log, replace(knot, kelvin=kelvin * rng.uniform(0.8, 1.4))]
    return [
        Part(
            rng.normal(0.0, 0.15),
            rng.normal(0.0, 0.15),
            half := rng.uniform(0.08, 0.24),
            half * rng.uniform(0.5, 0.95),
            kelvin * rng.uniform(0.8, 1.2),
            rng.uniform(0.0, np.pi),
        )
        for _ in range(rng.integers(1, 4))
    ]


def _mammal(flight: Flight, rng: np.random.Generator) -> list[Part]:
    """A mammal of the size of a muskrat, a raccoon or a deer."""
    length, width, tail = [(0.30, 0.36, 0.24), (0.60, 0.34, 0.20), (1.25, 0.26, 0.10)][
        rng.choice(3, p=[0.55, 0.25, 0.20])
    ]
    length *= rng.normal(1.0, 0.10)
    fur, face = flight.apparent(rng.uniform(0.22, 0.42), 0.7), flight.apparent(0.75, 0.6)
    a, b, turn = 0.5 * length, 0.5 * length * width, rng.normal(0.0, 0.3)
    bend = rng.normal(0.0, 0.3)
    return centred(
        [
            Part(-a - 0.4 * tail, 0.4 * tail * bend, 0.5 * tail, 0.012, 0.6 * fur, -bend),
            Part(0.0, 0.0, a, b, fur),
            Part(-0.45 * a, 0.0, 0.5 * a, 1.1 * b, fur),
            Part(1.05 * a, 0.3 * a * turn, 0.30 * a, 0.55 * b, 0.5 * (fur + face), turn),
            Part(1.25 * a, 0.4 * a * turn, 0.14 * a, 0.35 * b, face, turn),
        ]
    )


def _person(flight: Flight, rng: np.random.Generator) -> list[Part]:
    """A walking person from above: shoulders, head, legs and an arm; clothes insulate worse than feathers."""
    clothes, skin = flight.apparent(rng.uniform(0.3, 0.55), 0.6), flight.apparent(0.95, 0.4)
    stride = rng.uniform(-0.3, 0.3)
    return [
        Part(stride, 0.10, 0.16, 0.08, clothes),
        Part(-stride, -0.10, 0.16, 0.08, clothes),
        Part(0.6 * stride, -0.26, 0.14, 0.05, 0.5 * (clothes + skin)),
        Part(0.0, 0.0, 0.14, 0.25, clothes),
        Part(0.04, 0.0, 0.11, 0.09, skin),
    ]


def _glint(flight: Flight, rng: np.random.Generator) -> list[Part]:
    """A few facets of waves that reflect the sun (hot, by day) or the cold sky."""
    kelvin = rng.uniform(6.0, 25.0) if flight.sun > 0 else -rng.uniform(3.0, 10.0)
    size = rng.uniform(0.10, 0.35)
    return [
        Part(
            rng.normal(0.0, 1.0) * size,
            rng.normal(0.0, 0.35) * size,
            rng.uniform(0.02, 0.08),
            rng.uniform(0.01, 0.03),
            kelvin * rng.uniform(0.4, 1.0),
            rng.normal(0.5 * np.pi, 0.3),
        )
        for _ in range(rng.integers(2, 9))
    ]
