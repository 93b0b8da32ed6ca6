"""Shapes of birds as lists of soft ellipses in metres, x forward."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dml_lightning.simulate.flight import Flight
from dml_lightning.simulate.species import Species

Posture = Literal["swimming", "standing", "flying"]
SHOWN: dict[Posture, float] = {"swimming": 2 / 3, "standing": 0.9, "flying": 1.0}  # share of the length that is seen
NECK: dict[Posture, float] = {"swimming": 0.2, "standing": 0.65, "flying": 1.0}  # share of the neck that is stretched


@dataclass(frozen=True)
class Part:
    """A filled ellipse; later parts cover earlier ones.

    Attributes:
        x: Centre, m forward.
        y: Centre, m to the right.
        a: Half length, m.
        b: Half width, m.
        kelvin: Apparent temperature over the surface, K.
        angle: Angle of the long axis to x, rad.
        opacity: Share of what lies below that it hides.
        solid: Whether it belongs to the animal and its box; a reflection does not.
    """

    x: float
    y: float
    a: float
    b: float
    kelvin: float
    angle: float = 0.0
    opacity: float = 1.0
    solid: bool = True


def bird_parts(bird: Species, posture: Posture, flight: Flight, rng: np.random.Generator) -> list[Part]:
    """Draw one individual, with its own length, warmth, and pose of head and wings.

    Args:
        bird: Species.
        posture: Posture of the bird.
        flight: Flight that it is seen in.
        rng: Random generator.
    """
    length = np.clip(rng.normal(0.5, 0.2), 0.0, 1.0) * (bird.length[1] - bird.length[0])
    length += bird.length[0]
    warmth = np.exp(rng.normal(0.0, 0.08))

    def kelvin(leak: float, dark: float) -> float:
        own = leak * warmth * np.exp(rng.normal(0.0, 0.06))
        return flight.apparent(min(own, 1.1), dark) + flight.gain * rng.normal(0.0, 0.15)

    flank, back, breast, rump, head, bill = map(kelvin, bird.leak, (*bird.dark[:5], 0.5))
    neck = bird.neck * NECK[posture]
    tail = bird.tail * (0.6 if posture == "swimming" else 1.0)
    body = 1.0 - bird.tail - bird.neck - bird.head - bird.bill
    unit = SHOWN[posture] * length / (tail + body + neck + bird.head + bird.bill)  # length of the stretched bird, m
    half = 0.5 * bird.width * length * rng.normal(1.0, 0.04)
    chest, tail = 0.5 * body * unit, tail * unit  # the body reaches from -chest to chest
    parts = [
        Part(-chest - 0.35 * tail, 0.0, 0.70 * tail, 0.40 * half, rump, rng.normal(0.0, 0.05)),
        Part(0.0, 0.0, chest, half, flank),
        Part(-0.08 * chest, 0.0, 0.72 * chest, 0.68 * half, back),
        Part(-0.75 * chest, 0.0, 0.30 * chest, 0.55 * half, rump),
        Part(0.72 * chest, 0.0, 0.30 * chest, 0.68 * half, breast),
    ]
    if posture == "flying":
        parts = _wings(bird, length, chest, kelvin, rng) + parts
    if posture == "standing":
        leg = kelvin(0.9, 0.5)
        parts += [Part(rng.normal(0, 0.2) * chest, s * half, 0.018, 0.010, leg) for s in (-1, 1)]
    if posture != "flying" and rng.random() < 0.08:  # asleep, bill under the back feathers
        x, y = rng.uniform(-0.1, 0.4) * chest, rng.uniform(-0.3, 0.3) * half
        parts.append(Part(x, y, 0.5 * bird.head * unit, 0.3 * half, 0.5 * (flank + head)))
    else:
        turn = rng.normal(0.0, 0.1 if posture == "flying" else 0.25)
        parts += _head(bird, unit, (chest, half, neck * unit), turn, (breast, head, bill))
    return centred(parts)


def _head(
    bird: Species, unit: float, body: tuple[float, float, float], turn: float, kelvin: tuple[float, float, float]
) -> list[Part]:
    """Neck, bill and head on one line from the breast.

    Args:
        bird: Species.
        unit: Length of the stretched bird, m.
        body: Half length and half width of the body, and length of the neck, m.
        turn: Angle of the line to x, rad.
        kelvin: Temperatures of breast, head and bill over the surface, K.
    """
    chest, half, neck = body
    breast, head, bill = kelvin
    size, beak = 0.5 * bird.head * unit, 0.5 * bird.bill * unit  # half lengths
    crown = np.clip(0.26 * half + 0.6 * size, 0.02, 0.6 * half)  # the head's half width
    cos, sin = np.cos(turn), np.sin(turn)
    face, tip = neck + size, neck + 2 * size + beak  # distances from the breast
    width = crown * bird.bill_width
    return [
        Part(chest + 0.5 * neck * cos, 0.5 * neck * sin, 0.5 * neck + size, 0.75 * crown, 0.5 * (breast + head), turn),
        Part(chest + tip * cos, tip * sin, beak + 0.2 * size, width, bill, turn),
        Part(chest + face * cos, face * sin, size, crown, head, turn),
    ]


def _wings(
    bird: Species, length: float, chest: float, kelvin: Callable[[float, float], float], rng: np.random.Generator
) -> list[Part]:
    """Two wings of an arm and a hand each, foreshortened alike by the wing beat."""
    share = (length - bird.length[0]) / (bird.length[1] - bird.length[0])
    half_span = 0.5 * (bird.span[0] + share * (bird.span[1] - bird.span[0])) * rng.uniform(0.6, 1.0)
    chord, sweep = 0.075 * bird.span[1] * rng.normal(1.0, 0.06), rng.uniform(0.0, 0.45)
    arm, hand = kelvin(0.16, bird.dark[1]), kelvin(0.08, bird.dark[5])
    parts = []
    for side in (-1.0, 1.0):
        along = side * (0.5 * np.pi - 0.3 * sweep)
        beyond = side * (0.5 * np.pi + sweep)
        wrist = 0.55 * half_span
        start = (0.25 * chest, 0.0)
        joint = (start[0] + wrist * np.cos(along), wrist * np.sin(along))
        reach = 0.45 * half_span
        end = (joint[0] + reach * np.cos(beyond), joint[1] + reach * np.sin(beyond))
        parts.append(_between(joint, end, 0.75 * chord, hand))
        parts.append(_between(start, joint, chord, arm))
    return parts


def _between(start: tuple[float, float], end: tuple[float, float], half_width: float, kelvin: float) -> Part:
    """Ellipse from one point to another, a little longer so that neighbours join."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    half = 0.64 * float(np.hypot(dx, dy))
    middle = (0.5 * (start[0] + end[0]), 0.5 * (start[1] + end[1]))
    return Part(*middle, half, min(half_width, half), kelvin, float(np.arctan2(dy, dx)))


def centred(parts: list[Part]) -> list[Part]:
    """Shift parts along x, so that their extent is centred on 0.

    Example:
        >>> [part.x for part in centred([Part(1.0, 0.0, 1.0, 0.5, 3.0), Part(4.0, 0.0, 2.0, 0.5, 3.0)])]
        [-2.0, 1.0]
    """
    middle = 0.5 * (max(p.x + p.a for p in parts) + min(p.x - p.a for p in parts))
    return [replace(part, x=part.x - middle) for part in parts]


def reflection(parts: list[Part], heading: float, flight: Flight) -> list[Part]:
    """Reflection of a swimming bird in the water: a weak, displaced copy of its largest part.

    Args:
        parts: Parts of the bird.
        heading: Heading of the bird, rad.
        flight: Flight that it is seen in.
    """
    body = max(parts, key=lambda part: part.a * part.b)
    shift, away = 1.5 * body.b, flight.light - heading
    return [
        replace(
            body,
            x=body.x + shift * float(np.cos(away)),
            y=body.y + shift * float(np.sin(away)),
            opacity=0.2,
            solid=False,
        )
    ]
