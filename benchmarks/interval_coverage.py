"""What the intervals over independent units promise and what they keep, by number of units.

    python benchmarks/interval_coverage.py                    # few worlds; nothing is written
    python benchmarks/interval_coverage.py --worlds 2000 --save

Each world draws units anew and asks whether the 95 % interval holds the truth: of the mean difference of two arms over
seeds (Student's t, `stats.paired`) and over flights (expanded percentiles of a bootstrap, `stats.flights`), for normal
and for skewed (exponential) differences; and of the OOD AUROC over flights (`metrics.bootstrap`), where a third of the
variance of a score is shared by the crops of its flight, of which there are 12 known and 6 OOD. Below five units no
interval is printed; what it would have held is in brackets.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from dml_lightning.metrics.bootstrap import (
    FEWEST_UNITS,
    Resampled,
    expanded_level,
    group_draws,
    percentile_interval,
)
from dml_lightning.stats.paired import t_interval
from measure import Result, options

PACKAGES = ("numpy", "scipy")
UNITS = (3, 4, 5, 6, 8, 10, 20, 40)
LEVEL = 0.95
DRAWS = 500
SHARED = 1 / 3  # of the variance of a score, by the crops of a flight
SHIFT = 1.2  # of the mean OOD score, in standard deviations
KNOWN, OOD = 12, 6  # crops of a flight
Floats = NDArray[np.float64]


def normal(rng: np.random.Generator, units: int) -> Floats:
    """Differences of mean 0."""
    return rng.normal(size=units)


def skewed(rng: np.random.Generator, units: int) -> Floats:
    """Differences of mean 0 with a long tail."""
    return rng.exponential(size=units) - 1


def over_seeds(values: Floats) -> tuple[float, float]:
    """Student's interval."""
    low, high = t_interval(values, LEVEL)
    return float(low), float(high)


def over_flights(values: Floats) -> tuple[float, float]:
    """Expanded percentiles, for any number of flights."""
    means = group_draws(len(values), DRAWS, seed=0) @ values / len(values)
    return percentile_interval(means, expanded_level(len(values), LEVEL))


def holds(
    draw: Callable[[np.random.Generator, int], Floats], interval: Callable[[Floats], tuple[float, float]]
) -> "Held":
    """Whether the interval of drawn differences holds their mean, 0."""

    def held(rng: np.random.Generator, units: int) -> bool:
        low, high = interval(draw(rng, units))
        return low <= 0 <= high

    return held


def scores(rng: np.random.Generator, units: int, crops: int) -> Floats:
    """Scores (units · crops,) of variance 1."""
    shared = rng.normal(size=(units, 1)) * np.sqrt(SHARED)
    return (shared + rng.normal(size=(units, crops)) * np.sqrt(1 - SHARED)).ravel()


def auroc_held(rng: np.random.Generator, units: int) -> bool:
    """Whether the interval of an AUROC over flights holds the probability that it estimates."""
    flights = np.arange(units).astype(str)
    known, ood = scores(rng, units, KNOWN), scores(rng, units, OOD) + SHIFT
    resampled = Resampled.of(np.repeat(flights, KNOWN), np.repeat(flights, OOD), DRAWS, seed=0)
    values = resampled.aurocs(known, ood, np.ones((1, len(ood)), dtype=bool))[:, 0]
    low, high = percentile_interval(values, expanded_level(units, LEVEL))
    return bool(low <= norm.cdf(SHIFT / np.sqrt(2)) <= high)


Held = Callable[[np.random.Generator, int], bool]
KINDS: dict[str, Held] = {
    "difference over seeds, normal": holds(normal, over_seeds),
    "over seeds, skewed": holds(skewed, over_seeds),
    "difference over flights, normal": holds(normal, over_flights),
    "over flights, skewed": holds(skewed, over_flights),
    "OOD AUROC over flights": auroc_held,
}


def coverage(held: Held, units: int, worlds: int) -> float:
    """Share of worlds whose interval holds the truth."""
    return float(np.mean([held(np.random.default_rng([seed, units]), units) for seed in range(worlds)]))


def main() -> None:
    """Print the table, and write it with `--save`."""
    parser = options(__doc__)
    parser.add_argument("--worlds", type=int, default=100, help="of each cell (default 100)")
    args = parser.parse_args()
    with Result(__file__, "Coverage of the intervals over units, at 95 %", PACKAGES, args) as result:
        error = 100 * np.sqrt(LEVEL * (1 - LEVEL) / args.worlds)
        result.text(
            f"{args.worlds} worlds per cell, standard error {error:.1f} %. In brackets: no interval is printed."
        )
        rows = []
        for units in UNITS:
            cells = [f"{100 * coverage(held, units, args.worlds):.1f} %" for held in KINDS.values()]
            rows.append([str(units), *(cells if units >= FEWEST_UNITS else [f"({cell})" for cell in cells])])
        result.table(["units", *KINDS], rows)


if __name__ == "__main__":
    main()
