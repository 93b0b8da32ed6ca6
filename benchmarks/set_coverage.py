"""What sets of species hold on flights left out: the true species, its genus, group and family, and with rule C.

    python benchmarks/set_coverage.py [--flights 60] [--draws 100] [--alpha 0.1] [--seed 0]    # nothing is written
    python benchmarks/set_coverage.py --flights 120 --draws 400 --epochs 10 --batches 100 --save

Two short runs on simulated flights (enough to run on, not to judge by) embed the known birds of other flights. Each
draw takes two thirds of these flights, at random, for the calibration of rule C and of the sets, and the rest to count
on.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.data.sources import CocoJson
from dml_lightning.flights.taxonomy import SPECIES, Taxonomy, read_taxonomy
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.openset.judge import gaps, species_sets
from dml_lightning.openset.sets import set_thresholds
from dml_lightning.openset.thresholds import conformal_threshold
from dml_lightning.simulate import simulate
from measure import Result, options
from short_runs import fitted_runs

PACKAGES = ("torch", "numpy")
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Birds:
    """Known birds of flights that no training saw."""

    behind: NDArray[np.float64]  # (N, C) gaps
    scores: NDArray[np.float64]  # (N,) of rule C
    labels: NDArray[np.int64]  # (N,)
    flights: NDArray[np.int64]  # (N,)

    def of(self, chosen: NDArray[np.int64]) -> "Birds":
        """Those of some flights."""
        rows = np.isin(self.flights, chosen)
        return Birds(self.behind[rows], self.scores[rows], self.labels[rows], self.flights[rows])


def birds_of(run: Path, frames: Path) -> tuple[Birds, Gallery]:
    """Embed the known birds of simulated flights with a run."""
    trained = TrainedRun.load(str(run))
    gallery = trained.gallery
    table = CocoJson(frames, annotations="annotations.json").read().table
    table = table[table["label"].isin(gallery.class_names)].reset_index(drop=True)
    parts = list(trained.embed_table(table, 256, "stop", {}))
    rows = torch.cat([part.index for part in parts]).numpy()
    logits = (
        torch.cat([part.logits for part in parts if part.logits is not None]) if parts[0].logits is not None else None
    )
    distances = np.asarray(gallery.prototypes.distances(torch.cat([part.vectors for part in parts]).numpy()))
    return (
        Birds(
            gaps(distances, None if logits is None or gallery.prediction_rule != "softmax" else logits.numpy()),
            distances.min(axis=1),
            table["label"].map(gallery.class_names.index).to_numpy()[rows],
            np.unique(table["group"].to_numpy(str)[rows], return_inverse=True)[1],
        ),
        gallery,
    )


def nodes_by_level(names: Sequence[str], taxonomy: Taxonomy) -> dict[str, NDArray[np.int64]]:
    """Number of each species' node (C,), by level from the species upwards."""
    above = {level: [taxonomy.nodes[name][at] for name in names] for at, level in enumerate(taxonomy.levels)}
    return {
        level: np.unique(nodes, return_inverse=True)[1] for level, nodes in ({SPECIES: list(names)} | above).items()
    }


def at_level(members: Bools, nodes: NDArray[np.int64]) -> Bools:
    """Sets (N, M) of the nodes of one level that hold the species of each set (N, C)."""
    return np.stack([members[:, nodes == node].any(axis=1) for node in range(nodes.max() + 1)], axis=1)


def draw(birds: Birds, rng: np.random.Generator, alpha: float, per_flight: bool) -> tuple[Birds, Bools, Bools]:
    """Birds to count on, their sets (N, C), and whether rule C accepts each (N,)."""
    flights = rng.permutation(birds.flights.max() + 1)
    cut = 2 * len(flights) // 3
    known, fresh = birds.of(flights[:cut]), birds.of(flights[cut:])
    sets = set_thresholds(known.behind, known.labels, known.flights, alpha, per_flight)
    rows = rng.permutation(len(known.labels))
    if per_flight:
        rows = rows[np.unique(known.flights[rows], return_index=True)[1]]
    threshold = conformal_threshold(known.scores[rows], alpha)
    return (
        fresh,
        species_sets(fresh.behind, sets.values, np.empty((len(fresh.labels), 0))),
        ~threshold.refuses(fresh.scores),
    )


def flight_mean(values: NDArray[np.float64] | Bools, flights: NDArray[np.int64]) -> float:
    """Mean over flights of the mean over each flight's birds: of a random bird of a random flight."""
    return float(np.mean([values[flights == flight].mean() for flight in np.unique(flights)]))


def measure(
    birds: Birds, names: Sequence[str], taxonomy: Taxonomy, draws: int, alpha: float, seed: int, per_flight: bool
) -> dict[str, list[str]]:
    """Cells of the table by level, and of the line on rule C, as means over draws."""
    levels, rng = nodes_by_level(names, taxonomy), np.random.default_rng(seed)
    results: dict[str, list[tuple[float, ...]]] = {level: [] for level in (*levels, "with rule C", "hardest species")}
    for _ in range(draws):
        fresh, members, accepted = draw(birds, rng, alpha, per_flight)
        mean = (lambda values, own=fresh: flight_mean(values, own.flights)) if per_flight else np.mean
        rows = np.arange(len(fresh.labels))
        for level, nodes in levels.items():
            sets = at_level(members, nodes)
            right, sizes = sets[rows, nodes[fresh.labels]], sets.sum(axis=1)
            results[level].append((mean(right), sizes.mean(), (sizes == 1).mean()))
        right = members[rows, fresh.labels]
        results["with rule C"].append((mean(right & accepted),))
        results["hardest species"].append(tuple(right[fresh.labels == label].mean() for label in range(len(names))))
    cells = {}
    for level, values in results.items():
        means = np.nanmean(np.array(values), axis=0)
        if level in levels:
            cells[level] = [f"{100 * means[0]:.1f} %", f"{means[1]:.2f}", f"{100 * means[2]:.0f} %"]
        else:
            cells[level] = [f"{100 * means.min():.1f} %", "", ""]
    return cells


def rows(work: Path, args: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    runs = fitted_runs(work, epochs=args.epochs, batches=args.batches)
    simulate(work / "others", flights=args.flights, frames=2, seed=1, workers=1, progress=False)
    for arm, (run,) in runs.items():
        birds, gallery = birds_of(run, work / "others")
        taxonomy = read_taxonomy(work / "others" / "taxonomy.csv", gallery.class_names)
        for per_flight in (False, True):
            settings = (args.draws, args.alpha, args.seed, per_flight)
            for level, cells in measure(birds, gallery.class_names, taxonomy, *settings).items():
                yield arm, "one per flight" if per_flight else "all crops", level, *cells


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--flights", type=int, default=60, help="flights left out")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batches", type=int, default=20, help="of an epoch")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--alpha", type=float, default=0.1, help="of the sets and of rule C")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with (
        Result(__file__, "Sets of species on flights left out", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as work,
    ):
        alpha = args.alpha
        result.text(
            f"{args.draws} draws of two thirds of {args.flights} flights for calibration. Promised: the set of a known "
            f"bird holds its species in {100 * (1 - alpha):g} %, and so the nodes above hold its genus, group and "
            f"family; accepted by rule C and held in {100 * (1 - 2 * alpha):g} % (union bound). One per flight: "
            "calibrated on one crop of each flight, and counted over flights; the promise then speaks of new flights."
        )
        heads = ("arm", "calibration", "level", "held", "mean size", "a single node")
        result.table(heads, rows(Path(work), args))
        result.text(
            "The hardest species has the lowest share held of all, by its own threshold if it has enough crops."
        )


if __name__ == "__main__":
    main()
