"""Bootstrap intervals that resample flights, not crops: crops of one flight are not independent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from dml_lightning.metrics.ood import Scores, as_scores, auroc
from dml_lightning.pairs.arrays import Vectors, row_blocks, to_numpy

FEWEST_UNITS = 5  # independent units from which on there is an interval; of fewer, single values and their range


def group_draws(groups: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Counts (draws, groups) of how often each group comes up in draws with replacement of as many groups.

    A single group cannot vary, so it gives no draws: (0, 1).

    Args:
        groups: Number of groups.
        draws: Number of draws.
        seed: Seed of the draws.

    Example:
        >>> group_draws(3, draws=4, seed=0).sum(axis=1)
        array([3, 3, 3, 3])
    """
    rng = np.random.default_rng(seed)
    times = np.zeros((draws if groups > 1 else 0, groups), np.int64)
    for row in times:
        row[:] = np.bincount(rng.integers(groups, size=groups), minlength=groups)
    return times


def percentile_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Ends of the middle `level` of resampled values (T,), those that are NaN left out; NaN if none is left.

    Example:
        >>> percentile_interval([0.0, 1.0, 2.0, 3.0, 4.0, float("nan")], level=0.5)
        (1.0, 3.0)
    """
    numbers = np.asarray(values, dtype=float)
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        return float("nan"), float("nan")
    low, high = np.quantile(numbers, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def expanded_level(groups: int, level: float = 0.95) -> float:
    """Level of the percentiles that makes an interval over `groups` groups (two or more) cover `level`.

    Percentiles of a mean are too narrow by sqrt((n − 1)/n) and by the normal instead of Student's quantile; this
    undoes both: Hesterberg, The American Statistician 69, 2015, section 3.3, "expanded percentile interval".

    Example:
        >>> round(expanded_level(groups=10), 4)
        0.9829
    """
    half = np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, (1 + level) / 2)
    return float(1 - 2 * ndtr(-half))


def expanded_interval(values: ArrayLike, groups: int, level: float = 0.95) -> tuple[float, float]:
    """Ends of the interval of a mean from its resampled values (T,); NaN with fewer than `FEWEST_UNITS` groups.

    This is the interval of every bootstrapped number here. For the mean of n normal values it covered the true mean in
    91 to 92 % of simulations with n = 5, 93 % with 6 and 8, and 95 % from 10 on; plain percentiles in 84 to 94 %. With
    2, 3 and 4 values it covered 51, 74 and 86 %: of so few, the single values and their range say more.

    Args:
        values: Values (T,) of resamples of groups; NaN where a resample gave none.
        groups: Number of groups to draw from, on the side (known or OOD) that has fewer.
        level: Coverage.

    Example:
        >>> low, high = expanded_interval(np.linspace(0, 1, 101), groups=10)
        >>> round(low, 3), round(high, 3)
        (0.009, 0.991)
    """
    if groups < FEWEST_UNITS:
        return float("nan"), float("nan")
    return percentile_interval(values, expanded_level(groups, level))


def value_range(values: ArrayLike) -> tuple[float, float]:
    """Smallest and largest of the values (G,) of single groups, NaN left out; NaN if fewer than two are left.

    Example:
        >>> value_range([0.7, float("nan"), 0.5])
        (0.5, 0.7)
    """
    several = np.count_nonzero(~np.isnan(np.asarray(values, dtype=float))) > 1
    return percentile_interval(values, level=1.0) if several else (float("nan"), float("nan"))


@dataclass(frozen=True)
class Interval:
    """An estimate and its bootstrap interval."""

    estimate: float  # on all samples
    low: float  # NaN if known or OOD samples come from fewer than `FEWEST_UNITS` groups
    high: float
    groups: int  # number of groups to draw from
    draws: int  # number of resamples that gave a value; the others lacked known or OOD samples


def cluster_bootstrap(
    known_scores: Vectors,
    ood_scores: Vectors,
    known_groups: Vectors,
    ood_groups: Vectors,
    statistic: Callable[[Scores, Scores], float] = auroc,
    n: int = 1000,
    seed: int = 0,
    *,
    level: float = 0.95,
) -> Interval:
    """`expanded_interval` of `statistic(known, ood)` over groups drawn with replacement.

    A group keeps its known and its OOD samples together. `Resampled` is faster for AUROCs, with the same draws.

    Args:
        known_scores: Scores (N,).
        ood_scores: Scores (M,).
        known_groups: Group (N,) of each known sample, such as its flight or frame, strings or integers.
        ood_groups: Group (M,) of each OOD sample.
        statistic: Function of known and OOD scores.
        n: Number of resamples.
        seed: Seed of the resampling.
        level: Coverage of the interval.

    Raises:
        ValueError: If there is not one group per score.

    Example:
        >>> flights = np.array(["a", "a", "b", "b"])
        >>> known, ood = np.array([0.1, 0.2, 0.3, 0.6]), np.array([0.5, 0.9, 0.4, 0.8])
        >>> interval = cluster_bootstrap(known, ood, flights, flights, n=100)
        >>> interval.estimate, interval.groups
        (0.875, 2)
    """
    known, ood = as_scores(known_scores, "known_scores"), as_scores(ood_scores, "ood_scores")
    sides = [to_numpy(known_groups), to_numpy(ood_groups)]
    for name, scores, groups in zip(("known", "ood"), (known, ood), sides, strict=True):
        if groups.shape != scores.shape:
            raise ValueError(f"{name}_groups must have shape {scores.shape}, got {groups.shape}.")
    names, owners = np.unique(np.concatenate(sides), return_inverse=True)
    known_owners, ood_owners = owners[: len(known)], owners[len(known) :]
    values = []
    for times in group_draws(len(names), n, seed):
        drawn = np.repeat(known, times[known_owners]), np.repeat(ood, times[ood_owners])
        values.append(statistic(*drawn) if all(map(len, drawn)) else float("nan"))
    low, high = expanded_interval(values, min(len(np.unique(side)) for side in sides), level)
    return Interval(statistic(known, ood), low, high, len(names), int(np.count_nonzero(~np.isnan(values))))


class Resampled(NamedTuple):
    """Flights drawn with replacement, once for all scores that are to be compared.

    The samples of a flight are weighted by how often it was drawn, instead of being repeated.

    Example:
        >>> flights = np.array(["a", "b", "c", "d", "e"])
        >>> known, ood = np.array([0.1, 0.2, 0.3, 0.6, 0.3]), np.array([0.5, 0.9, 0.4, 0.8, 0.7])
        >>> resampled = Resampled.of(flights, flights, draws=100, seed=0)
        >>> all_ood = np.ones((1, 5), dtype=bool)
        >>> aurocs = resampled.aurocs(known, ood, all_ood)
        >>> aurocs.shape, resampled.interval(aurocs, all_ood)[1]
        ((100, 1), 1.0)
    """

    times: Scores  # (T, G) how often each of G flights comes up in each draw
    known: NDArray[np.int64]  # (N,) flight of each known sample
    others: NDArray[np.int64]  # (M,) flight of each other sample

    @classmethod
    def of(cls, known_groups: NDArray[np.str_], other_groups: NDArray[np.str_], draws: int, seed: int) -> "Resampled":
        """Draw as many flights as there are; a single one cannot vary and gives no draws.

        Args:
            known_groups: Flight (N,) of each known sample.
            other_groups: Flight (M,) of each sample to be told from them.
            draws: Number of draws T.
            seed: Seed of the draws.
        """
        names, owners = np.unique(np.concatenate([known_groups, other_groups]), return_inverse=True)
        times = group_draws(len(names), draws, seed).astype(np.float64)
        return cls(times, owners[: len(known_groups)], owners[len(known_groups) :])

    @property
    def flights(self) -> int:
        """Number of flights to draw from."""
        return int(self.times.shape[1])

    def aurocs(self, known: Scores, others: Scores, sets: NDArray[np.bool_]) -> Scores:
        """AUROC (T, P) of each draw for each set; NaN where the draw lacks known samples or those of the set.

        Args:
            known: Scores (N,).
            others: Scores (M,).
            sets: Whether (P, M) each of the other samples belongs to each set.
        """
        order = np.argsort(known, kind="stable")
        left, right = (np.searchsorted(known[order], others, side) for side in ("left", "right"))
        owners, members = self.known[order], sets.T.astype(np.float64)  # (N,), (M, P)
        values = np.full((len(self.times), len(sets)), np.nan)
        for rows in row_blocks(len(self.times), len(known) + len(others)):
            times = self.times[rows]
            below = np.zeros((len(times), len(known) + 1))  # drawn known samples up to a rank
            np.cumsum(times[:, owners], axis=1, out=below[:, 1:])
            weights = times[:, self.others]  # (rows, M)
            hits = (weights * (below[:, left] + below[:, right]) / 2) @ members  # ties count half
            pairs = (weights @ members) * below[:, -1:]
            np.divide(hits, pairs, out=values[rows], where=pairs > 0)
        return values

    def fewest(self, sets: NDArray[np.bool_]) -> int:
        """Number of flights of the known samples or of those in the sets (P, M), whichever has fewer."""
        return min(len(np.unique(side)) for side in (self.known, self.others[sets.any(axis=0)]))

    def interval(self, values: Scores, sets: NDArray[np.bool_]) -> tuple[float, float]:
        """95 % interval of the mean over the sets that a draw holds; NaN if either side has too few flights.

        Args:
            values: Result (T, P) of `aurocs`.
            sets: Its argument (P, M).
        """
        return expanded_interval(mean_of_held(values), self.fewest(sets))

    def of_flights(self, known: Scores, others: Scores, sets: NDArray[np.bool_]) -> Scores:
        """Mean AUROC (G,) over the sets within each flight alone; NaN where it lacks a side.

        Args:
            known: Scores (N,).
            others: Scores (M,).
            sets: Whether (P, M) each of the other samples belongs to each set.
        """
        alone = self._replace(times=np.eye(self.flights))
        return mean_of_held(alone.aurocs(known, others, sets))


def mean_of_held(values: Scores) -> Scores:
    """Mean (T,) of the values (T, P) that are not NaN; NaN where all are."""
    held = (~np.isnan(values)).sum(axis=1)
    means = np.full(len(held), np.nan)
    np.divide(np.nansum(values, axis=1), held, out=means, where=held > 0)
    return means
