"""Scores of a k-nearest-neighbour detector at scale: ours beside scikit-learn (brute) and pytorch-ood.

    python benchmarks/knn_scale.py                                       # 4,000 queries; nothing is written
    python benchmarks/knn_scale.py --queries 20000 --references 10000 --threads 2 --save
    python benchmarks/knn_scale.py --queries 1000000 --references 50000 --repeat 1 --methods ours

Unit vectors of `--classes` classes; half of the queries are samples of these classes, half of as many others. They
are made by seed and scored in chunks, so that neither the benchmark nor the peers hold them all. The formula is
the same for all: the distance to the k-th nearest reference. Every measurement runs in a process of its own, the
methods in turn; memory is what fitting and scoring add to the resident size before them, at its highest.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.metrics.functional import auroc
from dml_lightning.openset import KNNDetector
from measure import PeakMemory, Result, Stopwatch, in_turn, options, own_process, ratios, spread

PACKAGES = ("numpy", "scikit-learn", "pytorch-ood")
Score = Callable[[Tensor], NDArray[np.float64]]


def ours(references: Tensor, labels: Tensor, k: int) -> Score:
    detector = KNNDetector(k).fit(references, labels)
    return lambda queries: detector.score(queries).numpy()


def scikit_learn(references: Tensor, labels: Tensor, k: int) -> Score:
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, algorithm="brute", n_jobs=-1).fit(references.numpy())
    return lambda queries: search.kneighbors(queries.numpy())[0][:, -1]


def pytorch_ood(references: Tensor, labels: Tensor, k: int) -> Score:
    from pytorch_ood.detector import KNN

    # Its default algorithm, "auto", is a tree in up to 15 dimensions and brute force beyond.
    detector = KNN(None, k=k, normalize=False).fit_features(references, labels)
    return lambda queries: detector.predict_features(queries).numpy()


METHODS = {"ours": ours, "scikit-learn": scikit_learn, "pytorch-ood": pytorch_ood}


def chunks(args: argparse.Namespace, size: int) -> Iterator[tuple[bool, Tensor]]:
    """(whether they are OOD, queries (size, D)), half of them OOD."""
    for number, start in enumerate(range(0, args.queries // 2, size)):
        rows = min(size, args.queries // 2 - start)
        for ood in (False, True):
            yield ood, vectors(rows, args, seed=2 + 2 * number + ood, ood=ood)[0]


def vectors(rows: int, args: argparse.Namespace, seed: int, ood: bool) -> tuple[Tensor, Tensor]:
    """Unit vectors (rows, D) and their classes (rows,), of the known classes or of as many others."""
    centres = 0.2 * torch.randn(2 * args.classes, args.dim, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(args.classes, (rows,), generator=generator) + args.classes * ood
    noise = torch.randn(rows, args.dim, generator=generator)
    return torch.nn.functional.normalize(centres[labels] + noise, dim=1), labels


class Run(NamedTuple):
    """One method, once; the making of data is not in it."""

    seconds: float
    cpu: float  # processor seconds
    added: float  # MB
    auroc: float


def measure(method: str, args: argparse.Namespace) -> Run:
    """Fits and scores once."""
    references, labels = vectors(args.references, args, seed=1, ood=False)
    fit = METHODS[method]
    fit(references[:200], labels[:200], args.k)(references[:200])  # imports and first-call costs
    chunk = min(args.chunk, max(1, args.queries // 2))
    next(chunks(args, chunk))  # the data's own memory is not what is measured
    scores: dict[bool, list[NDArray[np.float64]]] = {False: [], True: []}
    watch = Stopwatch()
    with PeakMemory() as memory:
        with watch:
            score = fit(references, labels, args.k)
        for ood, queries in chunks(args, chunk):
            with watch:
                scores[ood].append(score(queries))
    value = auroc(np.concatenate(scores[False]), np.concatenate(scores[True]))
    return Run(watch.seconds, watch.cpu, memory.added, value)


def rows(args: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """A row of the table for each method."""
    works = {name: partial(own_process, measure, name, args) for name in args.methods}
    found = in_turn(works, args.repeat, warm=0)
    times = {name: [run.seconds for run in runs] for name, runs in found.items()}
    for name, runs in found.items():
        cpu, added = statistics.median(run.cpu for run in runs), statistics.median(run.added for run in runs)
        by_ours = spread(ratios(times[name], times["ours"])) if "ours" in times else "-"
        yield name, spread(times[name]), by_ours, f"{cpu:.2f}", f"{added:.0f}", f"{runs[0].auroc:.8f}"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--queries", type=int, default=4_000)
    parser.add_argument("--references", type=int, default=4_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=50_000, help="queries scored by one call")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    args = parser.parse_args()
    with Result(__file__, "k nearest neighbours at scale", PACKAGES, args) as result:
        result.text(
            f"{args.queries:,} queries, {args.references:,} references, {args.dim} dimensions, k = {args.k}. "
            f"Medians of {args.repeat}, in brackets the range."
        )
        heads = ("seconds", "seconds by ours", "processor seconds", "added memory, MB", "AUROC")
        result.table(("method", *heads), rows(args))


if __name__ == "__main__":
    main()
