"""One flight: weather, water, height and camera, drawn once and shared by all of its frames."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Habitat = Literal["water", "marsh", "field"]
HABITATS: tuple[Habitat, ...] = ("water", "marsh", "field")


@dataclass(frozen=True)
class Flight:
    """What one flight's frames have in common. Temperatures are degC, differences K, noise K (1 sd)."""

    number: int
    seed: int
    width: int  # px
    height: int  # px
    gsd: float  # m per px on the ground
    altitude: float  # m
    habitat: Habitat  # the commonest background
    cold_birds: bool  # clear cold sky: plumage looks colder than water and ground
    water: float  # degC
    land_offset: float  # K, ground against water
    texture: float  # factor on the background's own variation
    plumage: float  # K over the surface, perfectly insulating plumage
    leak: float  # K, added by bare skin
    sun: float  # K, black against white plumage
    gain: float  # factor on every contrast: haze, wind, emissivity, wet plumage
    blur: float  # px, full width at half maximum of the Airy disc
    temporal: float
    row: float
    column: float
    fixed_pattern: float
    vignetting: float  # K, centre to corner
    tail: float  # px until the bolometers' lag has faded to exp(-2)
    tail_share: float  # of the signal of a target 5 px long
    tail_down: bool
    light: float  # rad, azimuth of sun, sky glint and reflections

    def apparent(self, leak: float, dark: float) -> float:
        """K over the surface of a part that leaks this much heat and absorbs this much sun."""
        return self.gain * (self.plumage + self.leak * leak + self.sun * (dark - 0.5))


def ground_sample_distance(altitude: float, lens_mm: float, pitch_um: float = 12.0) -> float:
    """Metres on the ground per pixel, straight down: altitude * pitch / focal length."""
    return altitude * pitch_um * 1e-3 / lens_mm


def draw_flight(number: int, seed: int, altitude: float, lens_mm: float, width: int, height: int) -> Flight:
    """The flight with this number; polarity alternates and habitats take turns, so few flights cover all.

    Ranges are measured ones where they exist: temporal noise 21-50 mK, rows 4-7 mK, columns
    6-11 mK, residual fixed pattern 59-104 mK, Airy disc 0.6-0.9 px, water 2.6-18.5 degC, plumage
    4.3-5.4 K and bare parts 10-15 K over water at gain 1.
    """
    phase = np.random.default_rng([seed, 0]).integers(6)
    rng = np.random.default_rng([seed, 1, number])
    turn = number + int(phase)
    cold = turn % 2 == 0
    day = not cold and bool(rng.random() < 0.6)
    height_m = altitude * rng.uniform(0.93, 1.07)
    return Flight(
        number=number,
        seed=seed,
        width=width,
        height=height,
        gsd=ground_sample_distance(height_m, lens_mm),
        altitude=height_m,
        habitat=HABITATS[(turn // 2) % 3],
        cold_birds=cold,
        water=rng.uniform(2.6, 18.5),
        land_offset=rng.uniform(0.5, 3.0) if day else -rng.uniform(0.3, 2.0),
        texture=rng.uniform(0.5, 1.1),
        plumage=-rng.uniform(5.0, 6.0) if cold else rng.uniform(1.2, 1.9),
        leak=rng.uniform(11.0, 12.5) if cold else rng.uniform(12.0, 13.5),
        sun=rng.uniform(0.4, 1.4) if day else 0.0,
        gain=np.exp(rng.uniform(np.log(0.55), np.log(1.25))),
        blur=rng.uniform(0.6, 0.9),
        temporal=rng.uniform(0.021, 0.050),
        row=rng.uniform(0.004, 0.007),
        column=rng.uniform(0.006, 0.011),
        fixed_pattern=rng.uniform(0.059, 0.104),
        vignetting=rng.uniform(0.4, 1.8),
        tail=rng.uniform(10.0, 30.0),
        tail_share=rng.uniform(0.03, 0.08),
        tail_down=bool(rng.random() < 0.5),
        light=rng.uniform(0.0, 2.0 * np.pi),
    )
