"""What rule C promises and what it keeps: share of known crops refused against the alpha that was chosen.

    python benchmarks/conformal_coverage.py [--draws 500] [--correlation 0.5] [--seed 0]      # nothing is written
    python benchmarks/conformal_coverage.py --draws 1500 --save

Scores are normal, a flight's crops share an offset (intra-class correlation 0.5). Each draw calibrates anew and
then judges 100 crops of one new flight. The theory is exact for exchangeable samples: refused on average
1 - ceil((n + 1)(1 - alpha)) / (n + 1), at most alpha.

In the cases with the score chosen each draw also makes references and validation flights of three species and two
lookalikes, chooses the score on these as a fit does, and only then calibrates it. Numbers of crops are small, so that
the choice falls on many scores.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch.nn.functional import normalize

from dml_lightning.evaluation.choice import choose_score, fitted
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.openset import one_per_group, refusal_rates
from dml_lightning.openset.scores import score
from dml_lightning.types import SETS, Embeddings
from measure import Result, options

PACKAGES = ("numpy", "matplotlib")
ALPHAS = np.arange(2, 301) / 1000  # 0.2 % to 30 %
SHOWN = 0.05
FRESH = 100  # crops of the new flight
Scores = NDArray[np.float64]
Draw = Callable[[np.random.Generator, float], tuple[Scores, Scores]]


def flights(rng: np.random.Generator, count: int, crops: int, correlation: float) -> Scores:
    """Scores (count, crops) of variance 1."""
    shared, own = np.sqrt(correlation), np.sqrt(1 - correlation)
    scores: Scores = shared * rng.normal(size=(count, 1)) + own * rng.normal(size=(count, crops))
    return scores


def pooled(count: int, crops: int) -> Draw:
    """Calibrate on all crops of `count` flights."""

    def draw(rng: np.random.Generator, correlation: float) -> tuple[Scores, Scores]:
        return flights(rng, count, crops, correlation).ravel(), flights(rng, 1, FRESH, correlation)[0]

    return draw


def single(count: int, crops: int) -> Draw:
    """Calibrate on one crop of each of `count` flights."""
    names = np.repeat(np.arange(count), crops)

    def draw(rng: np.random.Generator, correlation: float) -> tuple[Scores, Scores]:
        rows = one_per_group(names, int(rng.integers(2**31)))
        known = flights(rng, count, crops, correlation).ravel()[rows]
        return known, flights(rng, 1, FRESH, correlation)[0]

    return draw


def exchangeable(count: int) -> Draw:
    """Calibrate on crops that share no flight, and judge such crops."""

    def draw(rng: np.random.Generator, correlation: float) -> tuple[Scores, Scores]:
        return rng.normal(size=count), rng.normal(size=FRESH)

    return draw


def birds(rng: np.random.Generator, count: int, crops: int, correlation: float, shift: float = 0.0) -> Embeddings:
    """Crops of `count` flights: three species, or lookalikes of them where there is a shift."""
    rows = count * crops
    labels = np.arange(rows) % 3
    noise = flights(rng, 8 * count, crops, correlation).reshape(8, rows).T
    centres = 4 * np.eye(4)[labels]
    vectors = torch.from_numpy(centres + shift / 2 + noise[:, :4])
    backbone = torch.from_numpy(centres + shift * np.array([0, 0, 0, 3]) + noise[:, 4:])
    known = torch.from_numpy(labels if shift == 0 else 3 + labels % 2)
    return Embeddings(vectors, known, torch.arange(rows), features=normalize(backbone, dim=1))


def chosen(count: int, crops: int, per_flight: bool, kinds: list[str] | None = None) -> Draw:
    """Choose the score on validation, then calibrate it on `count` flights; `kinds` receives the choices."""

    def draw(rng: np.random.Generator, correlation: float) -> tuple[Scores, Scores]:
        plan = {"reference": (6, 9), "known": (6, 6), "novel": (0, 1), "ood": (6, 6), "clutter": (0, 1)}
        plan["calibration"] = (count, crops)
        sets = {name: birds(rng, *plan[name], correlation, shift=0.7 * (name == "ood")) for name in SETS}
        groups = {name: np.repeat(np.arange(plan[name][0]), plan[name][1]).astype(str) for name in SETS}
        evidence = Evidence(sets, ["a", "b", "c", "x", "y"], 3, groups)
        choice = choose_score(evidence, draws=50)
        if kinds is not None:
            kinds.append(choice.kind)
        everything, fresh = fitted(evidence), birds(rng, 1, FRESH, correlation)
        arrays, parts = everything.arrays | choice.arrays, (sets["calibration"], fresh)
        known, new = (score(choice.kind, everything.crops(part), arrays) for part in parts)
        return known[one_per_group(groups["calibration"], int(rng.integers(2**31)))] if per_flight else known, new

    return draw


CASES: dict[str, tuple[Draw, str, str]] = {
    "exchangeable crops, n = 200": (exchangeable(200), "#1b7837", "-"),
    "all 200 crops of 5 flights": (pooled(5, 40), "#b2182b", "-"),
    "all 1,600 crops of 40 flights": (pooled(40, 40), "#ef8a62", "-"),
    "one crop per flight, 5 flights": (single(5, 40), "#2166ac", ":"),
    "one crop per flight, 40 flights": (single(40, 40), "#2166ac", "-"),
    "score chosen, all crops of 5 flights": (chosen(5, 40, per_flight=False), "#762a83", ":"),
    "score chosen, one crop per flight, 40 flights": (chosen(40, 6, per_flight=True), "#762a83", "-"),
}


def measure(draw: Draw, draws: int, correlation: float, seed: int) -> Scores:
    """Share of the fresh crops refused, (draws, alphas)."""
    rng = np.random.default_rng(seed)
    return np.array([refusal_rates(*draw(rng, correlation), ALPHAS) for _ in range(draws)])


def picture(rates: dict[str, Scores]) -> Figure:
    """Left: the mean against alpha. Right: how it spreads over new flights at one alpha."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(100 * ALPHAS, 100 * ALPHAS, color="0.6", lw=6, alpha=0.5, label="as promised")
    at = int(np.abs(ALPHAS - SHOWN).argmin())
    for name, values in rates.items():
        _, colour, style = CASES[name]
        left.step(100 * ALPHAS, 100 * values.mean(0), style, color=colour, label=name, where="post")
        shares = 100 * np.sort(values[:, at])
        right.plot(shares, 100 * np.arange(len(shares), 0, -1) / len(shares), style, color=colour)
    left.set(xlabel="alpha, %", ylabel="known crops refused, %, mean", xlim=(0, 30), ylim=(0, 32))
    left.set_title("On average over calibrations and new flights")
    left.legend(loc="upper left", fontsize=8)
    right.axvline(100 * SHOWN, color="0.6", lw=6, alpha=0.5)
    right.set(
        xlabel="known crops of the flight refused, %",
        ylabel="new flights with at least as many refused, %",
        xlim=(0, 60),
        ylim=(0, 100),
    )
    right.set_title(f"Flight by flight at alpha = {100 * SHOWN:g} %")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


def rows(rates: dict[str, Scores]) -> Iterator[tuple[str, ...]]:
    """Means at three alphas, and how many flights are refused above twice the first."""
    columns = [int(np.abs(ALPHAS - alpha).argmin()) for alpha in (SHOWN, 0.1, 0.2)]
    for name, values in rates.items():
        means = [f"{100 * values[:, c].mean():.1f} %" for c in columns]
        yield name, *means, f"{100 * (values[:, columns[0]] > 2 * SHOWN).mean():.0f} %"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--correlation", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with Result(__file__, "What rule C keeps of its promise", PACKAGES, args) as result:
        result.text(f"{args.draws} draws, intra-class correlation {args.correlation}, seed {args.seed}.")
        rates = {name: measure(draw, args.draws, args.correlation, args.seed) for name, (draw, _, _) in CASES.items()}
        heads = ("calibrated on", "refused at 5 %", "at 10 %", "at 20 %", "flights above 10 %, at 5 %")
        result.table(heads, rows(rates))
        result.text(
            "One crop per flight keeps the promise on average over flights; no rule keeps it flight by flight. Five "
            "flights are too few for any alpha below 1/6, so nothing is refused there. A score chosen on validation "
            "keeps the promise as one that is given does, since the choice never sees the calibration."
        )
        result.figure(picture(rates))


if __name__ == "__main__":
    main()
