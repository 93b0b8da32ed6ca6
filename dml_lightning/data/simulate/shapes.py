"""Animals and lookalikes as lists of soft ellipses in metres, x forward, before they are painted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dml_lightning.data.simulate.flight import Flight
from dml_lightning.data.simulate.species import Species

Posture = Literal["swimming", "standing", "flying"]
SHOWN: dict[Posture, float] = {"swimming": 2 / 3, "standing": 0.9, "flying": 1.0}  # of the length
NECK: dict[Posture, float] = {"swimming": 0.2, "standing": 0.65, "flying": 1.0}  # of the neck


@dataclass(frozen=True)
class Part:
    """A filled ellipse; later parts cover earlier ones.

    Attributes:
        x: centre, m forward.
        y: centre, m to the left.
        a: half length, m.
        b: half width, m.
        kelvin: apparent temperature over the surface, K.
        angle: of the long axis against x, rad.
        opacity: 1 covers what lies below.
        solid: whether it belongs to the animal (and its box); reflections do not.
    """

    x: float
    y: float
    a: float
    b: float
    kelvin: float
    angle: float = 0.0
    opacity: float = 1.0
    solid: bool = True


def bird_parts(
    bird: Species, posture: Posture, flight: Flight, rng: np.random.Generator
) -> list[Part]:
    """One individual: its own length, warmth, pose of head and wings."""
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
    tucked = posture != "flying" and rng.random() < 0.12  # asleep, bill under the back feathers
    unit = SHOWN[posture] * length / (tail + body + neck + bird.head + bird.bill)
    half = 0.5 * bird.width * length * rng.normal(1.0, 0.05)
    chest = 0.5 * body * unit  # x of the breast; the body's middle is 0
    crown = np.clip(0.26 * half + 0.30 * bird.head * unit, 0.02, 0.6 * half)  # head half width
    tail_angle, turn = rng.normal(0.0, 0.05), rng.normal(0.0, 0.1 if posture == "flying" else 0.25)
    reach, size = neck * unit, 0.5 * bird.head * unit
    face = (chest + (reach + size) * np.cos(turn), (reach + size) * np.sin(turn))
    tip = size + 0.5 * bird.bill * unit
    if tucked:
        face = (rng.uniform(-0.1, 0.4) * chest, rng.uniform(-0.3, 0.3) * half)
    parts = [
        Part(-chest - 0.35 * tail * unit, 0.0, 0.70 * tail * unit, 0.40 * half, rump, tail_angle),
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
    if not tucked:
        middle = chest + 0.5 * reach * np.cos(turn)
        collar = 0.5 * (breast + head)
        parts += [
            Part(
                middle, 0.5 * reach * np.sin(turn), 0.5 * reach + size, 0.75 * crown, collar, turn
            ),
            Part(
                face[0] + tip * np.cos(turn),
                face[1] + tip * np.sin(turn),
                0.5 * bird.bill * unit + 0.2 * size,
                crown * bird.bill_width,
                bill,
                turn,
            ),
        ]
    parts.append(Part(*face, size, crown, 0.5 * (flank + head) if tucked else head, turn))
    return _centred(parts)


def _wings(
    bird: Species,
    length: float,
    chest: float,
    kelvin: Callable[[float, float], float],
    rng: np.random.Generator,
) -> list[Part]:
    """Two wings of an arm and a hand each; a stroke foreshortens both alike."""
    share = (length - bird.length[0]) / (bird.length[1] - bird.length[0])
    half_span = 0.5 * (bird.span[0] + share * (bird.span[1] - bird.span[0])) * rng.uniform(0.6, 1.0)
    chord, sweep = 0.085 * bird.span[1] * rng.normal(1.0, 0.06), rng.uniform(0.0, 0.45)
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


def _between(
    start: tuple[float, float], end: tuple[float, float], half_width: float, kelvin: float
) -> Part:
    """An ellipse from one point to another, a little longer so that neighbours join."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    half = 0.56 * float(np.hypot(dx, dy))
    middle = (0.5 * (start[0] + end[0]), 0.5 * (start[1] + end[1]))
    return Part(*middle, half, min(half_width, half), kelvin, float(np.arctan2(dy, dx)))


def _centred(parts: list[Part]) -> list[Part]:
    """The same parts around the middle of their extent along x."""
    middle = 0.5 * (max(p.x + p.a for p in parts) + min(p.x - p.a for p in parts))
    return [replace(part, x=part.x - middle) for part in parts]


def reflection(parts: list[Part], heading: float, flight: Flight) -> list[Part]:
    """A weak, displaced copy of a swimming bird on the water, seen off the vertical."""
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


def lookalike_parts(name: str, flight: Flight, rng: np.random.Generator) -> list[Part]:
    """What is no bird: vegetation, debris, mammal, person or glint."""
    return {
        "vegetation": _vegetation,
        "debris": _debris,
        "mammal": _mammal,
        "person": _person,
        "glint": _glint,
    }[name](flight, rng)


def _held_heat(flight: Flight, rng: np.random.Generator) -> float:
    """K of a dead or rooted thing: mostly the same side of the water as the birds' plumage."""
    sign = (-1.0 if flight.cold_birds else 1.0) * (1.0 if rng.random() < 0.75 else -1.0)
    return sign * flight.gain * rng.uniform(1.2, 5.5)


def _vegetation(flight: Flight, rng: np.random.Generator) -> list[Part]:
    """An irregular clump of leaves, often with a warm heart."""
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
    """A stick or log, or one to three stones: even temperature, no warm head."""
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
    """A muskrat with its tail, something of a raccoon's size, or a deer."""
    length, width, tail = [(0.30, 0.36, 0.24), (0.60, 0.34, 0.20), (1.25, 0.26, 0.10)][
        rng.choice(3, p=[0.55, 0.25, 0.20])
    ]
    length *= rng.normal(1.0, 0.10)
    fur, face = flight.apparent(rng.uniform(0.22, 0.42), 0.7), flight.apparent(0.75, 0.6)
    a, b, turn = 0.5 * length, 0.5 * length * width, rng.normal(0.0, 0.3)
    bend = rng.normal(0.0, 0.3)
    return _centred(
        [
            Part(-a - 0.4 * tail, 0.4 * tail * bend, 0.5 * tail, 0.012, 0.6 * fur, -bend),
            Part(0.0, 0.0, a, b, fur),
            Part(-0.45 * a, 0.0, 0.5 * a, 1.1 * b, fur),
            Part(1.05 * a, 0.3 * a * turn, 0.30 * a, 0.55 * b, 0.5 * (fur + face), turn),
            Part(1.25 * a, 0.4 * a * turn, 0.14 * a, 0.35 * b, face, turn),
        ]
    )


def _person(flight: Flight, rng: np.random.Generator) -> list[Part]:
    """Shoulders, head, and one leg and arm in mid-stride; clothes insulate worse than feathers."""
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
    """A few facets of waves that mirror the sun (hot, by day) or the cold sky."""
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
