"""Bootstrap intervals that resample flights, not crops: crops of one flight are not independent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dml_lightning.metrics.ood import Scores, as_scores, auroc
from dml_lightning.pairs.blocks import Vectors, row_blocks, to_numpy


def group_draws(groups: int, draws: int, seed: int) -> NDArray[np.int64]:
    """How often each of `groups` groups comes when as many are drawn with replacement, (draws, groups).

    A single group has nothing to vary and gives no draws, (0, 1).
    """
    rng = np.random.default_rng(seed)
    times = np.zeros((draws if groups > 1 else 0, groups), np.int64)
    for row in times:
        row[:] = np.bincount(rng.integers(groups, size=groups), minlength=groups)
    return times


def percentile_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of resampled values, those that are NaN left out; NaN if none is left."""
    found = np.asarray(values, dtype=float)
    found = found[~np.isnan(found)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def expanded_level(groups: int, level: float = 0.95) -> float:
    """Level of the percentiles that makes an interval over `groups` groups (two or more) cover `level`.

    Percentiles of a mean are too narrow by sqrt((n − 1)/n) and by the normal instead of Student's quantile; this
    undoes both: Hesterberg, The American Statistician 69, 2015, section 3.3, "expanded percentile interval".
    """
    half = np.sqrt(groups / (groups - 1)) * stats.t.isf((1 - level) / 2, groups - 1)
    return float(1 - 2 * stats.norm.sf(half))


def expanded_interval(values: ArrayLike, groups: int, level: float = 0.95) -> tuple[float, float]:
    """Ends of the interval of a mean from its resampled values (T,); NaN with fewer than two groups.

    This is the interval of every bootstrapped number here. For the mean of n normal values it held the truth in 51 %
    of simulations with n = 2, 74 % with 3, 91 % with 5 and 94 to 96 % with 10 to 40; plain percentiles in 51, 74, 84
    and 91 to 94 %.

    Args:
        values: Of resamples of groups; NaN where a resample gave none.
        groups: How many there were to draw from, on the side that has fewer.
        level: Coverage.
    """
    if groups < 2:
        return float("nan"), float("nan")
    return percentile_interval(values, expanded_level(groups, level))


@dataclass(frozen=True)
class Interval:
    """An estimate and its bootstrap interval."""

    estimate: float  # on all samples
    low: float  # NaN where a side comes from fewer than two groups
    high: float
    groups: int  # that were drawn from
    draws: int  # resamples that gave a value; the others lacked known or OOD samples


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

    A group keeps its known and its OOD samples together. AUROCs are faster by `Resampled`, with the same draws.

    Args:
        known_scores: (N,).
        ood_scores: (M,).
        known_groups: (N,) flight or frame of each known sample, strings or integers.
        ood_groups: (M,) likewise.
        statistic: Takes known and OOD scores.
        n: Resamples.
        seed: Of the resampling.
        level: Coverage of the interval.

    Raises:
        ValueError: If there is not one group per score.
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

    A drawn flight counts its samples as often as it was drawn, instead of repeating them.
    """

    times: Scores  # (T, G) how often each draw holds each flight
    known: NDArray[np.int64]  # (N,) flight of each known sample
    others: NDArray[np.int64]  # (M,) flight of each other sample

    @classmethod
    def of(cls, known_groups: NDArray[np.str_], other_groups: NDArray[np.str_], draws: int, seed: int) -> "Resampled":
        """Draw as many flights as there are; a single one has nothing to vary and gives no draws.

        Args:
            known_groups: (N,) flight of each known sample.
            other_groups: (M,) flight of each sample to be told from them.
            draws: T.
            seed: Of the draws.
        """
        names, owners = np.unique(np.concatenate([known_groups, other_groups]), return_inverse=True)
        times = group_draws(len(names), draws, seed).astype(np.float64)
        return cls(times, owners[: len(known_groups)], owners[len(known_groups) :])

    @property
    def flights(self) -> int:
        """How many there are to draw from."""
        return int(self.times.shape[1])

    def aurocs(self, known: Scores, others: Scores, sets: NDArray[np.bool_]) -> Scores:
        """AUROC (T, P) of each draw for each set; NaN where the draw lacks known samples or those of the set.

        Args:
            known: (N,) scores.
            others: (M,) scores.
            sets: (P, M) which of the other samples belong to a set.
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

    def interval(self, values: Scores, sets: NDArray[np.bool_]) -> tuple[float, float]:
        """95 % interval of the mean over the sets that a draw holds; NaN where a side comes from a single flight.

        Args:
            values: (T, P) of `aurocs`.
            sets: (P, M) as there.
        """
        held = (~np.isnan(values)).sum(axis=1)  # (T,)
        means = np.divide(np.nansum(values, axis=1), held, out=np.full(len(held), np.nan), where=held > 0)
        sides = (self.known, self.others[sets.any(axis=0)])
        return expanded_interval(means, min(len(np.unique(side)) for side in sides))
