"""Exact Recall@1, R-precision and MAP@R: ours beside pytorch-metric-learning's AccuracyCalculator with faiss.

    python benchmarks/retrieval.py                                       # 5,000 rows; nothing is written
    python benchmarks/retrieval.py --rows 20000 100000 --threads 2 --save

`distances` is the mean of all intra- and inter-class distances, which the peer has not. Every measurement runs in a
process of its own, ours and the peer's in turn; memory is what the call adds to the resident size before it, at its
highest. The peer is left out beyond 20,000 rows (`--peer-rows`), where it takes 3 GB.

Half of our time is the float64 product and its rounding to float32. A float32 product in its place does not pay: its
error bound, 1.5e-5 of squared distances near 2, leaves 122 of the 740 irrelevant references among the R = 2,500 nearest
undecided, even with all relevant ones in float64, and their 2.4 million single products cost
about as much as the 0.9 s saved on one thread.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor

from dml_lightning.metrics.functional import distance_summary
from dml_lightning.metrics.retrieval import retrieval_summary
from measure import PeakMemory, Result, Stopwatch, in_turn, options, own_process, ratios, spread

PACKAGES = ("numpy", "pytorch-metric-learning", "faiss-cpu")
Values = dict[str, float]


def ours(vectors: Tensor, labels: Tensor) -> Values:
    found = retrieval_summary(vectors, labels)
    return {"precision_at_1": found.recall_at[1], "r_precision": found.r_precision, "map_at_r": found.map_at_r}


def peer(vectors: Tensor, labels: Tensor) -> Values:
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    # k=None would rank all references: 20 GB at 20,000 rows. The largest class is enough for these metrics.
    calculator = AccuracyCalculator(include=names, device=torch.device("cpu"), k="max_bin_count")
    found = calculator.get_accuracy(vectors, labels)
    return {"precision_at_1": found[names[0]], "r_precision": found[names[1]], "map_at_r": found[names[2]]}


def distances(vectors: Tensor, labels: Tensor) -> Values:
    found = distance_summary(vectors, labels)
    return {"intra": found.intra, "inter": found.inter}


METHODS: dict[str, Callable[[Tensor, Tensor], Values]] = {"ours": ours, "peer": peer, "distances": distances}


class Run(NamedTuple):
    """One method, once."""

    seconds: float
    cpu: float  # processor seconds
    added: float  # MB
    values: Values


def measure(method: str, rows: int, dim: int, classes: int) -> Run:
    """Runs one method once."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (rows,), generator=generator)
    centres = 0.5 * torch.randn(classes, dim, generator=generator)
    noise = torch.randn(rows, dim, generator=generator)
    vectors = torch.nn.functional.normalize(centres[labels] + noise, dim=1)  # (rows, dim)
    run = METHODS[method]
    run(vectors[:200], labels[:200])  # first-call costs
    with PeakMemory() as memory, Stopwatch() as watch:
        values = run(vectors, labels)
    return Run(watch.seconds, watch.cpu, memory.added, values)


def compare(rows: int, args: argparse.Namespace) -> Iterator[tuple[object, ...]]:
    """A row of the table for each method."""
    methods = [name for name in METHODS if name != "peer" or rows <= args.peer_rows]
    works = {name: partial(own_process, measure, name, rows, args.dim, args.classes) for name in methods}
    found = in_turn(works, args.repeat, warm=0)
    times = {name: [run.seconds for run in runs] for name, runs in found.items()}
    for name, runs in found.items():
        cpu, added = statistics.median(run.cpu for run in runs), statistics.median(run.added for run in runs)
        values = ", ".join(f"{key} {value:.8f}" for key, value in runs[0].values.items())
        by_ours = spread(ratios(times[name], times["ours"]))
        yield name, values, f"{rows:,}", spread(times[name]), by_ours, f"{cpu:.2f}", f"{added:.0f}"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000])
    parser.add_argument("--peer-rows", type=int, default=20_000, help="the peer's largest size")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    with Result(__file__, "Retrieval beside AccuracyCalculator", PACKAGES, args) as result:
        result.text(
            f"{args.dim} dimensions, {args.classes} classes. Medians of {args.repeat}, in brackets the range. Added "
            'memory is the peak above the resident size before the call. The peer uses `k="max_bin_count"`, its '
            "cheapest setting that is exact for these metrics."
        )
        heads = ("rows", "seconds", "seconds by ours", "processor seconds", "added memory, MB")
        table = (row for rows in args.rows for row in compare(rows, args))
        result.table(("method", "values", *heads), table, texts=2)


if __name__ == "__main__":
    main()
