"""What an interval of `dml count` promises and what it keeps: share of true counts inside, and widths, by setting.

    python benchmarks/count_coverage.py                              # few worlds; nothing is written
    python benchmarks/count_coverage.py --worlds 100 --again 12 --save # 1,000 flights per setting

A world is a confusion matrix that held-out flights measure, and ten flights to count: nine species and all else, with
uneven confusions. A flight's own confusion is drawn around the mean from a Dirichlet distribution of the given
intra-flight correlation. Held-out flights have 5 to 30 crops of a class, or none of it (two in five). Flights to count
are even, skewed (each species half as common as the one before), or of a single species. The commonest species is
that of the truth. Widths beside the field's library: `count_width.py`.
"""

import itertools
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.flights.confusion import Confusion
from dml_lightning.flights.counts import Correction
from measure import Result, options

PACKAGES = ("numpy", "scipy")
CLASSES = 10  # nine species and all else
FLIGHTS = 10  # to count, of a world
MIXTURES = ("even", "skewed", "single")
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
COLUMNS = ("accuracy", "correlation", "held-out flights", "mixture", "boxes")


class Setting(NamedTuple):
    """What the worlds of one cell share."""

    accuracy: float
    correlation: float
    held_out: int  # flights
    mixture: str
    boxes: int  # of a flight


class World(NamedTuple):
    """Held-out crops and flights to count."""

    held_out: Floats  # (F, R, K)
    truth: Counts  # (G, R)
    answers: Counts  # (G, K)


def add_settings(parser: ArgumentParser) -> None:
    """Options of `settings`, by default all that are promised something."""
    parser.add_argument("--accuracies", type=float, nargs="+", default=[0.65, 0.9])
    parser.add_argument("--correlations", type=float, nargs="+", default=[0.05, 0.1])
    parser.add_argument("--held_out", type=int, nargs="+", default=[5, 10, 20], help="flights")
    parser.add_argument("--mixtures", nargs="+", default=list(MIXTURES), choices=MIXTURES)
    parser.add_argument("--boxes", type=int, nargs="+", default=[20, 100, 500], help="of a flight")


def settings(args: Namespace) -> Iterator[Setting]:
    """Every combination."""
    for values in itertools.product(args.accuracies, args.correlations, args.held_out, args.mixtures, args.boxes):
        yield Setting(*values)


def matrix(accuracy: float) -> Floats:
    """Mean confusion (R, K): the rest of each row is spread unevenly, always in the same way."""
    rng = np.random.default_rng(7)
    means = np.empty((CLASSES, CLASSES))
    for row in range(CLASSES):
        means[row] = np.insert((1 - accuracy) * rng.dirichlet(np.full(CLASSES - 1, 0.7)), row, accuracy)
    return means


def answered(rng: np.random.Generator, truth: Counts, means: Floats, correlation: float) -> Counts:
    """Answers (R, K) to boxes (R,) of one flight, whose confusion is its own."""
    own = rng.standard_gamma(means * (1 / correlation - 1)) if correlation else means
    own = np.maximum(own, 1e-300)
    return np.array([rng.multinomial(n, row / row.sum()) for n, row in zip(truth, own, strict=True)])


def mixed(rng: np.random.Generator, mixture: str, boxes: int) -> Counts:
    """True counts (R,) of a flight."""
    if mixture == "single":
        return boxes * np.eye(CLASSES, dtype=np.int64)[rng.integers(CLASSES - 1)]
    shares = np.full(CLASSES, 1 / CLASSES) if mixture == "even" else 0.5 ** np.arange(CLASSES)
    return rng.multinomial(boxes, rng.permutation(shares / shares.sum()))


def world(setting: Setting, seed: int) -> World:
    """World number `seed` of a setting."""
    rng = np.random.default_rng([seed, setting.held_out, setting.boxes, MIXTURES.index(setting.mixture)])
    means, correlation = matrix(setting.accuracy), setting.correlation
    sizes = rng.integers(5, 31, (setting.held_out, CLASSES)) * (rng.random((setting.held_out, CLASSES)) < 0.6)
    held_out = np.array([answered(rng, own, means, correlation) for own in sizes], dtype=float)
    truth = np.array([mixed(rng, setting.mixture, setting.boxes) for _ in range(FLIGHTS)])
    answers = np.array([answered(rng, own, means, correlation).sum(axis=0) for own in truth])
    return World(held_out, truth, answers)


class Coverage(NamedTuple):
    """Shares of true counts inside their intervals, and the mean width of those of the commonest species."""

    commonest: float
    every: float
    width: float
    summed: float  # every species in the sum over the ten flights
    error: float  # standard error of `commonest`, over worlds: flights of one share its confusion


def coverage(setting: Setting, worlds: int, level: float = 0.95, first: int = 0) -> Coverage:
    """What the package's intervals hold in `worlds` worlds from number `first` on."""
    rows = []
    names = [str(name) for name in range(CLASSES)]
    for seed in range(first, first + worlds):
        held_out, truth, answers = world(setting, seed)
        flights = [str(flight) for flight in range(len(held_out))]
        correction = Correction(Confusion(names, names, held_out, flights), level)
        each, whole = correction.flights(answers), correction.together(answers)
        inside, top = (each.low <= truth) & (truth <= each.high), (np.arange(len(truth)), truth.argmax(axis=1))
        total = truth.sum(axis=0)
        sums = (whole.low[0] <= total) & (total <= whole.high[0])
        rows.append((inside[top].mean(), inside.mean(), (each.high - each.low)[top].mean(), sums.mean()))
    error = np.std([row[0] for row in rows], ddof=1) / len(rows) ** 0.5
    return Coverage(*np.mean(rows, axis=0).tolist(), float(error))


def main() -> None:
    """Print the tables, and write them with `--save`."""
    parser = options(__doc__)
    parser.add_argument("--worlds", type=int, default=4, help="of each setting, ten flights in each (default 4)")
    add_settings(parser)
    parser.add_argument("--again", type=int, default=0, help="lowest rows to measure in 4 times as many new worlds")
    args = parser.parse_args()
    cells = list(settings(args))
    with Result(__file__, "Coverage of corrected counts, at 95 %", PACKAGES, args) as result:
        result.text(
            f"{args.worlds * FLIGHTS} flights per row. `commonest`: share of intervals of a flight's commonest species "
            "that hold its true count, and their mean width in boxes; `every`: of all ten classes; `sum`: of all "
            f"classes in the sum over {FLIGHTS} flights."
        )
        heads = [*COLUMNS, "commonest", "width", "every", "sum"]
        rows, found = [], []
        for cell in cells:
            own = coverage(cell, args.worlds)
            found.append(own)
            numbers = [f"{own.commonest:.3f}", f"{own.width:.1f}", f"{own.every:.3f}", f"{own.summed:.3f}"]
            rows.append([*map(str, cell), *numbers])
        result.table(heads, rows)
        inside = [own.commonest for cell, own in zip(cells, found, strict=True) if cell.mixture != "single"]
        least = min(found, key=lambda own: own.commonest)
        result.text(
            f"Commonest species: least {least.commonest:.3f} (standard error {least.error:.3f}), mean over even and "
            f"skewed flights {np.mean(inside or np.nan):.3f}. Sums: least {min(own.summed for own in found):.3f}, "
            f"mean {np.mean([own.summed for own in found]):.3f}."
        )
        if args.again:
            order = sorted(range(len(cells)), key=lambda i: found[i].commonest)
            again(result, [cells[i] for i in order[: args.again]], args.worlds)


def again(result: Result, cells: list[Setting], worlds: int) -> None:
    """The table of rows that came out low, in new worlds: the least of many is low by chance as well."""
    result.text(f"The lowest rows once more, in {4 * worlds} new worlds each; lower bound at 95 %, one-sided.")
    rows = []
    for cell in cells:
        own = coverage(cell, 4 * worlds, first=worlds)
        numbers = (own.commonest, own.error, own.commonest - 1.645 * own.error, own.summed)
        rows.append([*map(str, cell), *(f"{number:.3f}" for number in numbers)])
    result.table([*COLUMNS, "commonest", "standard error", "lower bound", "sum"], rows)


if __name__ == "__main__":
    main()
