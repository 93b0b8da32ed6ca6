"""How fast the simulator writes, and how its output compares with published and measured figures.

    python benchmarks/simulator.py            # about half a minute; nothing is written
    python benchmarks/simulator.py --save

Speed is the wall time of `simulate(..., flights=6, frames=20)`, workers' start included. Figures are
measured on painted birds and exposed frames; only the noise under "peak over noise" is a setting.
"""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dml_lightning.simulate import simulate
from dml_lightning.simulate.camera import expose, paint, quantise
from dml_lightning.simulate.flight import GAIN, OFFSET, Flight, draw_flight, ground_sample_distance
from dml_lightning.simulate.scene import Animal
from dml_lightning.simulate.shapes import Part, Posture, bird_parts
from dml_lightning.simulate.species import KNOWN, SPECIES
from measure import Result, options, seconds

PACKAGES = ("numpy", "scipy", "tifffile")
ALTITUDE, LENS = 60.0, 13.5
FLIGHTS = [draw_flight(number, 0, ALTITUDE, LENS, 640, 512) for number in range(12)]
Row = tuple[str, str, str]


def speed(workers: int, flights: int = 6, frames: int = 20) -> tuple[str, ...]:
    """Workers, frames per second, CPU ms per frame over all processes, and MB per frame."""
    before = os.times()
    with tempfile.TemporaryDirectory() as folder:
        out, number = Path(folder, "out"), flights * frames
        took = seconds(lambda: simulate(out, flights=flights, frames=frames, workers=workers, progress=False))
        cpu = sum(os.times()[:4]) - sum(before[:4])
        size = sum(path.stat().st_size for path in out.rglob("*.tiff"))
    return str(workers), f"{number / took:.1f}", f"{1e3 * cpu / number:.0f}", f"{size / 1e6 / number:.2f}"


def painted(
    name: str, posture: Posture, flight: Flight, gsd: float, number: int = 60
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Coverage and temperature over the surface (K) of some individuals; wings are left out."""
    rng = np.random.default_rng(0)
    for _ in range(number):
        parts: list[Part] = bird_parts(SPECIES[name], posture, flight, rng)
        trunk = tuple(part for part in parts if abs(part.angle) < 0.9)
        _, _, coverage, kelvin, _ = paint(Animal(name, posture, 0, 0, 0, trunk), gsd, flight.blur)
        yield coverage, kelvin


def sizes() -> list[Row]:
    """Lengths on the frame at 60 m."""
    gsd = ground_sample_distance(ALTITUDE, LENS)
    rows = []
    for name, published in [("mallard", "11"), ("green_winged_teal", "6.6"), ("canada_goose", "17")]:
        length = [(c > 0.25).any(0).sum() for c, _ in painted(name, "flying", FLIGHTS[0], gsd)]
        rows.append((f"{name}, stretched, px at 60 m", published, f"{np.mean(length):.1f}"))
    afloat = [(c > 0.25).any(0).sum() for c, _ in painted("mallard", "swimming", FLIGHTS[0], gsd)]
    return [*rows, ("mallard, swimming, px at 60 m", "2/3 of 11", f"{np.mean(afloat):.1f}")]


def warmth() -> list[Row]:
    """Resolved mallards over water at gain 1, birds of all flights at the frame's own resolution."""
    warm = replace(next(f for f in FLIGHTS if not f.cold_birds), gain=1.0, sun=0.0)
    resolved = [(c, k / np.maximum(c, 1e-6)) for c, k in painted("mallard", "swimming", warm, 0.01)]
    body = np.mean([np.median(kelvin[cover > 0.9]) for cover, kelvin in resolved])
    head = np.mean([kelvin[cover > 0.9].max() for cover, kelvin in resolved])
    sums, peaks, bright = [], [], []
    for flight in FLIGHTS:
        noise = np.hypot(flight.temporal, flight.fixed_pattern)
        for bird in KNOWN:
            for _, kelvin in painted(bird.name, "swimming", flight, flight.gsd, 10):
                (sums if flight.cold_birds else peaks).append(
                    kelvin.sum() if flight.cold_birds else kelvin.max() / noise
                )
                if flight.cold_birds:
                    bright.append(kelvin.max() > 0.5)
    low, middle, high = np.quantile(peaks, [0.05, 0.5, 0.95])
    return [
        ("mallard body over water, K", "4.3 to 5.4", f"{body:.1f}"),
        ("mallard hottest part over water, K", "10 to 15", f"{head:.1f}"),
        ("birds darker than the water under a cold sky", "96 %", f"{np.mean(np.less(sums, 0)):.0%}"),
        ("of these flights' birds, with a bright spot", "many", f"{np.mean(bright):.0%}"),
        (
            "peak over noise, warm flights (5, 50, 95 %)",
            "19 to 36, higher flights",
            f"{low:.0f}, {middle:.0f}, {high:.0f}",
        ),
    ]


def noise() -> list[Row]:
    """An even scene exposed 8 times in each of 12 flights: smallest and largest sd, mK."""
    found = []
    for flight in (replace(flight, vignetting=0.0) for flight in FLIGHTS):
        rng, scene = np.random.default_rng(0), np.full((512, 640), 8.5, np.float32)
        frames = np.stack([quantise(expose(scene, flight, rng)) for _ in range(8)]) * GAIN + OFFSET
        still, moving = frames.mean(0), frames - frames.mean(0)
        rows = moving.mean(2, keepdims=True)
        columns = np.diff(still.mean(0)).std() / np.sqrt(2)
        unbiased = np.sqrt(8 / 7)
        found.append([(moving - rows).std() * unbiased, rows.std() * unbiased, columns, still.std()])
    names = ("temporal", "row", "column", "residual fixed pattern")
    limits = ("21 to 50", "4 to 7", "6 to 11", "59 to 104")
    low, high = 1e3 * np.min(found, 0), 1e3 * np.max(found, 0)
    return [
        (f"{name} noise, mK", limit, f"{a:.0f} to {b:.0f}")
        for name, limit, a, b in zip(names, limits, low, high, strict=True)
    ]


def main() -> None:
    args = options(__doc__).parse_args()
    with Result(__file__, "Simulator: speed and realism", PACKAGES, args) as result:
        speeds = map(speed, (1, 2))
        result.table(
            ("workers", "frames/s (640 by 512 px, 20 birds)", "CPU ms per frame", "MB per frame"), speeds, texts=0
        )
        figures = (row for part in (sizes, warmth, noise) for row in part())
        result.table(("figure", "published or measured on real frames", "simulated"), figures, texts=3)


if __name__ == "__main__":
    main()
