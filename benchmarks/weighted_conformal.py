"""What plain and weighted conformal refuse of the known birds of a flight that is unlike those of the calibration.

    python benchmarks/weighted_conformal.py [--flights 40] [--draws 20] [--alpha 0.1] [--seed 0]    # nothing is written
    python benchmarks/weighted_conformal.py --flights 40 --draws 12 --epochs 4 --batches 40 --save

Two short runs on simulated flights (enough to run on, not to judge by) embed the known birds of other flights. Each
draw takes some of these flights at random for calibration, and ten of the rest to count on, each weighed alone.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.data.sources import CocoJson
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.openset.conformal import conformal_value
from dml_lightning.openset.weighted import shift_weights, weighted_thresholds
from dml_lightning.simulate import simulate
from measure import Result, options
from short_runs import fitted_runs

PACKAGES = ("torch", "numpy", "scikit-learn")
COUNTED = 10  # flights of a draw that are counted on
FEWEST = 10  # known birds of a flight that is counted on


@dataclass(frozen=True)
class Birds:
    """Known birds of flights that no training saw."""

    vectors: NDArray[np.float64]  # (N, D)
    scores: NDArray[np.float64]  # (N,) distance to the nearest prototype
    flights: NDArray[np.int64]  # (N,)


def birds_of(run: Path, frames: Path) -> Birds:
    """Embed the known birds of simulated flights with a run."""
    trained = TrainedRun.load(str(run))
    table = CocoJson(frames, annotations="annotations.json").read().table
    table = table[table["label"].isin(trained.gallery.class_names)].reset_index(drop=True)
    parts = list(trained.embed_table(table, 256, "stop", {}))
    rows = torch.cat([part.index for part in parts]).numpy()
    vectors = torch.cat([part.vectors for part in parts]).double().numpy()
    scores = np.asarray(trained.gallery.prototypes.distances(vectors)).min(axis=1)
    return Birds(vectors, scores, np.unique(table["group"].to_numpy(str)[rows], return_inverse=True)[1])


def refused(birds: Birds, calibration: int, draws: int, alpha: float, seed: int) -> NDArray[np.float64]:
    """A row (F, 4) per flight counted on.

    Share refused by plain and by weighted conformal, effective samples, and share of birds with an infinite threshold.
    """
    rng, results = np.random.default_rng(seed), []
    for _ in range(draws):
        flights = rng.permutation(birds.flights.max() + 1)
        held = np.isin(birds.flights, flights[:calibration])
        vectors, scores = birds.vectors[held], birds.scores[held]
        for flight in flights[calibration : calibration + COUNTED]:
            fresh = birds.flights == flight
            if fresh.sum() >= FEWEST:
                weights = shift_weights(vectors, birds.vectors[fresh])
                limits = weighted_thresholds(scores, weights.calibration, weights.new, alpha)
                plain = (birds.scores[fresh] > conformal_value(scores, alpha)).mean()
                share, infinite = (birds.scores[fresh] > limits).mean(), np.isinf(limits).mean()
                results.append((plain, share, weights.effective_samples, infinite))
    return np.array(results)


def cells(results: NDArray[np.float64], alpha: float) -> Iterator[tuple[str, ...]]:
    """Cells of the table for plain and for weighted conformal."""
    for name, shares in (("plain", results[:, 0]), ("weighted", results[:, 1])):
        weights = (f"{np.median(results[:, 2]):.0f}", f"{100 * results[:, 3].mean():.0f} %")
        summary = (f"{100 * value:.1f} %" for value in (shares.mean(), shares.std(), (shares > 2 * alpha).mean()))
        yield name, *summary, *(weights if name == "weighted" else ("", ""))


def rows(work: Path, args: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    runs = fitted_runs(work, epochs=args.epochs, batches=args.batches)
    simulate(work / "others", flights=args.flights, frames=2, seed=1, workers=1, progress=False)
    for arm, (run,) in runs.items():
        birds = birds_of(run, work / "others")
        for calibration in (4, 12):
            results = refused(birds, calibration, args.draws, args.alpha, args.seed)
            for line in cells(results, args.alpha):
                yield arm, str(calibration), *line


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--flights", type=int, default=40, help="flights left out")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batches", type=int, default=20, help="of an epoch")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--alpha", type=float, default=0.1, help="largest share of known birds to refuse")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with (
        Result(__file__, "Weighted conformal on flights left out", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as work,
    ):
        result.text(
            f"{args.draws} draws of calibration flights of {args.flights}, all crops of them. Promised for "
            f"exchangeable crops: at most {100 * args.alpha:g} % of known birds refused. Share, deviation and the "
            "share of flights refused twice as often as that are over draws and flights, weighed by a regression on "
            "the crops of each."
        )
        heads = ("arm", "calibration flights", "conformal", "refused", "SD", "flights above twice")
        result.table((*heads, "effective crops", "infinite threshold"), rows(Path(work), args))
        result.text(
            "Effective crops: median of the effective sample size of the calibration crops. Infinite threshold: share "
            "of birds that the weighted one cannot refuse, whatever their score."
        )


if __name__ == "__main__":
    main()
