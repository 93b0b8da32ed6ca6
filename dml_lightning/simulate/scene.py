"""Background of a frame, and the positions of animals on it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from dml_lightning.simulate.flight import HABITATS, Flight
from dml_lightning.simulate.lookalikes import lookalike_parts
from dml_lightning.simulate.shapes import Part, Posture, bird_parts, reflection
from dml_lightning.simulate.species import KNOWN, LOOKALIKES, NOVEL, SPECIES, Species

Field = NDArray[np.float32]
WATER_SHARE = {"water": 0.85, "marsh": 0.50, "field": 0.08}
TEXTURE_K = {"water": 0.41, "land": 0.50}  # standard deviation at texture 1, K; 0.41 was measured on a pond


@dataclass(frozen=True)
class Animal:
    """A bird or lookalike in a frame: name, posture, position in px, heading in rad, and parts."""

    name: str
    posture: str
    x: float
    y: float
    heading: float
    parts: tuple[Part, ...]


@lru_cache(maxsize=8)
def _amplitude(height: int, width: int, slope: float) -> Field:
    """Square root of the power spectrum f**-slope, flat below one cycle in 300 px."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.maximum(np.hypot(fy, fx), 1 / 300)
    amplitude: Field = (frequency ** (-0.5 * slope)).astype(np.float32)
    amplitude[0, 0] = 0.0
    return amplitude


def power_law(height: int, width: int, slope: float, rng: np.random.Generator) -> Field:
    """Random field (H, W) of mean 0 and standard deviation 1, with a power spectrum falling as f**-slope.

    Example:
        >>> field = power_law(64, 80, 3.0, np.random.default_rng(0))
        >>> field.shape, round(float(field.std()), 3)
        ((64, 80), 1.0)
    """
    amplitude = _amplitude(height, width, slope)
    white = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(np.complex64)
    field: Field = fft.irfft2(white[..., 0] * amplitude, s=(height, width), overwrite_x=True)
    field /= field.std()
    return field


def draw_background(flight: Flight, rng: np.random.Generator) -> tuple[Field, NDArray[np.bool_]]:
    """Draw the apparent temperature (H, W), degC, of water, shore, ground and reeds, and a mask (H, W) of the water."""
    height, width = flight.height, flight.width
    odds = [0.6 if habitat == flight.habitat else 0.2 for habitat in HABITATS]
    habitat = HABITATS[rng.choice(3, p=odds)]
    shore = power_law(height, width, 3.6, rng)
    level = np.quantile(shore[::8, ::8], WATER_SHARE[habitat])
    land = np.clip((shore - level) / 0.15 + 0.5, 0.0, 1.0)  # with a soft edge
    rough = power_law(height, width, 2.8, rng)
    reeds = np.roll(rough, (height // 3, width // 3), (0, 1)) + 1.2 * (shore - level)
    dense = 1.6 if habitat == "water" else 0.9
    cover = np.clip((reeds - dense) / 0.8, 0.0, 1.0) * (1.0 - land)
    ground = flight.land_offset + TEXTURE_K["land"] * flight.texture * rough
    ripple = TEXTURE_K["water"] * flight.texture * power_law(height, width, 3.2, rng)
    plants = flight.land_offset * 0.6 + 0.7 * flight.texture * rng.choice([-1.0, 1.0], p=[0.3, 0.7])
    surface = ripple + land * (ground - ripple) + np.float32(plants) * cover
    return (flight.water + surface).astype(np.float32), land < 0.5


def draw_animals(
    flight: Flight, frame: int, birds: int, lookalikes: int, water: NDArray[np.bool_], rng: np.random.Generator
) -> list[Animal]:
    """Draw flocks of birds, and lookalikes between them.

    The first bird of a flock is of the next species in a shuffled list of the flight, so that every species occurs in
    every flight of a few frames; the other birds of a mixed flock follow the flight's own abundances.

    Args:
        flight: Conditions of the flight.
        frame: Number of the frame, from 0.
        birds: Mean number of birds; it varies by up to a quarter.
        lookalikes: Number of lookalikes.
        water: Mask (H, W) of the water.
        rng: Random generator.
    """
    own = np.random.default_rng([flight.seed, 2, flight.number])
    deck = own.permutation([bird.name for bird in KNOWN + KNOWN + NOVEL])
    order = own.permutation(LOOKALIKES[:-1])
    abundance = 0.3 / len(deck) + 0.7 * own.dirichlet(np.full(len(deck), 2.0))
    crowd = _Crowd(flight, water, rng)
    wanted = int(rng.integers(round(0.75 * birds), round(1.25 * birds) + 1)) if birds else 0
    sizes = _flock_sizes(wanted, rng)
    for number, size in enumerate(sizes):
        leader = str(deck[(frame * 4 + number) % len(deck)])
        mixed = rng.random() < 0.5
        others = rng.choice(deck, size - 1, p=abundance) if mixed else [leader] * (size - 1)
        crowd.add_flock([SPECIES[leader], *(SPECIES[str(name)] for name in others)])
    for number in range(lookalikes):
        crowd.add_lookalike(str(order[(frame * lookalikes + number) % len(order)]))
    return crowd.animals


def _flock_sizes(birds: int, rng: np.random.Generator) -> list[int]:
    """Sizes of four flocks (fewer for few birds) that share the birds at random."""
    if birds == 0:
        return []
    cuts = np.sort(rng.permutation(birds - 1)[: min(4, birds) - 1] + 1)
    sizes: list[int] = np.diff([0, *cuts, birds]).tolist()
    return sizes


class _Crowd:
    """Animals of one frame, kept apart from each other."""

    def __init__(self, flight: Flight, water: NDArray[np.bool_], rng: np.random.Generator):
        self.flight, self.water, self.rng = flight, water, rng
        self.animals: list[Animal] = []
        self._taken: list[tuple[float, float, float]] = []  # x, y, radius in px

    def add_flock(self, members: list[Species]) -> None:
        """Place birds around one centre with similar headings; flocks differ in density."""
        rng, flight = self.rng, self.flight
        flies, heading = rng.random() < 0.15, rng.uniform(0.0, 2 * np.pi)
        spacing = rng.uniform(0.8, 3.0) / flight.gsd * np.sqrt(len(members))  # px
        centre = rng.uniform(0.05, 0.95, 2) * (flight.width, flight.height)
        for bird in members:
            for attempt in range(20):
                place = centre + rng.normal(0.0, spacing * (1 + 0.15 * attempt), 2)
                if self._free(place, 0.5 * bird.length[1] / flight.gsd):
                    break
            else:
                continue
            posture = self._posture(bird, place, flies)
            spread = {"flying": 0.15, "swimming": 0.8, "standing": 1.6}[posture]
            parts = bird_parts(bird, posture, flight, rng)
            own = heading + rng.normal(0.0, spread)
            if posture == "swimming":
                parts = reflection(parts, own, flight) + parts
            self._add(bird.name, posture, place, own, parts)

    def add_lookalike(self, name: str) -> None:
        """Place a single lookalike: glint on water, people on land, the others anywhere."""
        rng, flight = self.rng, self.flight
        wet = {"glint": True, "person": False}.get(name)
        for attempt in range(40):
            place = rng.uniform(0.02, 0.98, 2) * (flight.width, flight.height)
            right = wet is None or attempt >= 20 or self._wet(place) == wet
            if right and self._free(place, 0.6 / flight.gsd):
                heading = flight.light if name == "glint" else rng.uniform(0.0, 2 * np.pi)
                self._add(name, "none", place, heading, lookalike_parts(name, flight, rng))
                return

    def _posture(self, bird: Species, place: NDArray[np.float64], flies: bool) -> Posture:
        if flies:
            return "flying"
        return "swimming" if bird.swims and self._wet(place) else "standing"

    def _wet(self, place: NDArray[np.float64]) -> bool:
        return bool(self.water[int(place[1]), int(place[0])])

    def _free(self, place: NDArray[np.float64], radius: float) -> bool:
        x, y = place
        inside = 1 <= x < self.flight.width - 1 and 1 <= y < self.flight.height - 1
        return inside and all(
            np.hypot(x - other_x, y - other_y) > radius + other for other_x, other_y, other in self._taken
        )

    def _add(self, name: str, posture: str, place: NDArray[np.float64], heading: float, parts: list[Part]) -> None:
        x, y = float(place[0]), float(place[1])
        radius = max(np.hypot(part.x, part.y) + part.a for part in parts) / self.flight.gsd
        self._taken.append((x, y, float(radius)))
        self.animals.append(Animal(name, posture, x, y, heading, tuple(parts)))
