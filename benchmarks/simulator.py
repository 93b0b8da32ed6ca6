"""How fast the simulator writes, how its output compares with measured figures, and what can be learnt from it at most.

    python benchmarks/simulator.py                                    # a few minutes; nothing is written
    python benchmarks/simulator.py runs/softmax/* runs/triplet/* --save

Runs are tested ones of configs/data/simulated.yaml, all on one data set, whose test flights are then those of the
reference; without runs it has 24 flights of its own and stands alone. The reference (`truth.py`) is told true
parameters, and learns from as many draws of the simulator as it likes: what it reaches is a lower bound of what is
reachable from them, and what no parameter tells cannot be learnt from crops.

Speed is the wall time of `simulate(..., flights=6, frames=20)`, workers' start included. Figures are
measured on painted birds and exposed frames; only the noise under "peak over noise" is a setting.
"""

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from dml_lightning.data.sources import CocoJson
from dml_lightning.data.splits import build_table
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.files import read_json
from dml_lightning.runs.folder import read_metrics
from dml_lightning.runs.recipes import read_recipe
from dml_lightning.simulate import simulate
from dml_lightning.simulate.camera import expose, paint, quantise
from dml_lightning.simulate.flight import GAIN, OFFSET, Flight, draw_flight, ground_sample_distance
from dml_lightning.simulate.scene import Animal
from dml_lightning.simulate.shapes import Part, Posture, bird_parts
from dml_lightning.simulate.species import KNOWN, SPECIES
from dml_lightning.yaml_files import read_yaml
from measure import ROOT, Result, options, seconds
from truth import KNOWLEDGE, SURROUNDINGS, drawn, giveaways, reachable_accuracy, reachable_auroc, truth

PACKAGES = ("numpy", "scipy", "tifffile", "scikit-learn")
KINDS = ("vegetation", "mammal", "person")  # lookalikes of the test that are animals of a frame
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


def tested(folder: Path, animals: pd.DataFrame) -> pd.DataFrame:
    """Those of a folder's animals that are in the test split of configs/data/simulated.yaml."""
    data = read_yaml(ROOT / "configs" / "data" / "simulated.yaml")["data"]
    lists = ("novel_val", "novel_test", "ood_train", "ood_val", "ood_test")
    names = (*lists, "background", "split_fractions", "context", "min_side")
    source = CocoJson(str(folder), annotations="annotations.json", group_by="parent")
    table = build_table(source.read(), **{name: data[name] for name in names})
    test = table.loc[table["split"] == "test", ["frame", *BOX_COLUMNS, "label"]]
    return animals.merge(test, on=["frame", *BOX_COLUMNS, "label"])


def references(folder: Path, animals: pd.DataFrame, draws: int) -> Iterable[tuple[str, ...]]:
    """For each kind of knowledge: balanced accuracy, and OOD AUROC without and with lookalikes among the draws.

    Posture counts for the accuracy alone: lookalikes have none.
    """
    animals = tested(folder, animals)
    train = drawn(read_json(folder / "simulation.json"), [*(bird.name for bird in KNOWN), *KINDS], draws)
    for name, columns in KNOWLEDGE.items():
        told = [] if name.endswith("posture") else [False, True]  # lookalikes have no posture
        aurocs = [np.mean(reachable_auroc(train, animals, columns, KINDS, seen)) for seen in told]
        yield (
            name,
            f"{reachable_accuracy(train, animals, columns):.3f}",
            *([f"{each:.3f}" for each in aurocs] or ["-"] * 2),
        )


def arms(runs: Sequence[Path]) -> Iterable[tuple[str, ...]]:
    """Balanced accuracy and OOD AUROC, over the same kinds, of each tested run."""
    for run in runs:
        classes = pd.read_csv(run / "tables" / "test_classes.csv").set_index("class")
        auroc = f"{classes.loc[list(KINDS), 'ood_auroc'].mean():.3f}"
        yield run.parent.name, f"{read_metrics(run, 'test')['balanced_accuracy']:.3f}", auroc, "-"


def ceiling(result: Result, runs: Sequence[Path], draws: int) -> None:
    """Adds what the reference and the runs reach, and how far the surroundings of a crop give its kind away."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "out")
        if runs:
            roots = {read_recipe(run)["data"]["source"]["init_args"]["root"] for run in runs}
            assert len(roots) == 1, f"the runs are of several data sets: {roots}"
            folder = Path(roots.pop())
        else:
            simulate(folder, flights=24, frames=20, workers=1, progress=False)
        animals = truth(folder)
        rows = chain(references(folder, animals, draws), arms(runs))
        result.table(("told", "balanced accuracy", "OOD AUROC, species learnt", "species and lookalikes learnt"), rows)
    result.table(
        ("AUROC of what surrounds known species against", *SURROUNDINGS),
        (
            (kind, *(f"{each:.2f}" for each in row))
            for kind, row in zip(KINDS, giveaways(animals, KINDS, SURROUNDINGS), strict=True)
        ),
    )


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of tested runs")
    parser.add_argument("--draws", type=int, default=600, help="animals of each kind that the reference learns from")
    args = parser.parse_args()
    with Result(__file__, "Simulator: speed, realism and what can be learnt", PACKAGES, args) as result:
        speeds = map(speed, (1, 2))
        result.table(
            ("workers", "frames/s (640 by 512 px, 20 birds)", "CPU ms per frame", "MB per frame"), speeds, texts=0
        )
        figures = (row for part in (sizes, warmth, noise) for row in part())
        result.table(("figure", "published or measured on real frames", "simulated"), figures, texts=3)
        ceiling(result, args.runs, args.draws)


if __name__ == "__main__":
    main()
