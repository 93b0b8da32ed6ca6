"""Conditions of one flight, shared by all of its frames: weather, water, height and camera."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Habitat = Literal["water", "marsh", "field"]
HABITATS: tuple[Habitat, ...] = ("water", "marsh", "field")
GAIN, OFFSET = 0.01, -273.15  # degC = GAIN * counts + OFFSET (centikelvin)
SCALE = f"degC = {GAIN} * counts - {-OFFSET}"


@dataclass(frozen=True)
class Flight:
    """Conditions that the frames of one flight share.

    Temperatures are in degC, differences in K, noise in K (one standard deviation).
    """

    number: int
    seed: int
    width: int  # px
    height: int  # px
    gsd: float  # m per px on the ground
    altitude: float  # m
    habitat: Habitat  # most common background
    cold_birds: bool  # clear cold sky: plumage appears colder than water and ground
    water: float  # degC
    land_offset: float  # K, ground minus water
    texture: float  # factor on the variation of the background
    plumage: float  # K over the surface, of perfectly insulating plumage
    leak: float  # K that bare skin adds
    sun: float  # K, black minus white plumage
    gain: float  # factor on every contrast: haze, wind, emissivity, wet plumage
    blur: float  # px, full width at half maximum of the Airy disc
    temporal: float  # K, noise of each pixel in each frame
    row: float  # K, noise of each row in each frame
    column: float  # K, noise of each column, fixed
    fixed_pattern: float  # K, residual non-uniformity
    vignetting: float  # K, centre to corner
    tail: float  # px until the bolometers' lag has faded to exp(-2)
    tail_share: float  # start of the tail, as a share of the signal of a target 5 px long
    tail_down: bool  # whether the tail points down the columns
    light: float  # rad, azimuth of sun, sky glint and reflections

    def apparent(self, leak: float, dark: float) -> float:
        """Apparent temperature of a part over the surface, K.

        Args:
            leak: Heat that it lets through: 0 is perfect insulation, 1 bare skin.
            dark: Share of sunlight that it absorbs.
        """
        return self.gain * (self.plumage + self.leak * leak + self.sun * (dark - 0.5))


def ground_sample_distance(altitude: float, lens_mm: float, pitch_um: float = 12.0) -> float:
    """Side of a pixel on the ground straight below, m: altitude * pitch / focal length.

    Args:
        altitude: Height above ground, m.
        lens_mm: Focal length, mm.
        pitch_um: Side of a pixel on the detector, um.

    Example:
        >>> round(ground_sample_distance(altitude=60.0, lens_mm=13.5), 4)
        0.0533
    """
    return altitude * pitch_um * 1e-3 / lens_mm


def draw_flight(number: int, seed: int, altitude: float, lens_mm: float, width: int, height: int) -> Flight:
    """Draw the conditions of one flight; polarity alternates and habitats take turns, so that few flights cover all.

    Ranges are measured ones where they exist: temporal noise 21-50 mK, rows 4-7 mK, columns 6-11 mK, residual fixed
    pattern 59-104 mK, Airy disc 0.6-0.9 px, water 2.6-18.5 degC, plumage 4.3-5.4 K and bare parts 10-15 K over water
    at gain 1.

    Args:
        number: Number of the flight, from 0.
        seed: Seed of the data set.
        altitude: Nominal height above ground, m; a flight varies by up to 7 % around it.
        lens_mm: Focal length, mm.
        width: Frame width, px.
        height: Frame height, px.

    Example:
        >>> flights = [draw_flight(number, 0, 60.0, 13.5, 640, 512) for number in range(2)]
        >>> flights[0].cold_birds != flights[1].cold_birds
        True
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


def folder_of(flight: Flight) -> str:
    """Name of the folder of a flight."""
    return f"flight_{flight.number:02d}"


def frame_file(job: tuple[Flight, int]) -> str:
    """Path of a frame, given by its flight and number, below the folder of all flights."""
    return f"{folder_of(job[0])}/frame_{job[1]:04d}.tiff"
