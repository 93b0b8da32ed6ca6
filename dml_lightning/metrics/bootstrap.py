"""Bootstrap intervals that resample flights, not crops: crops of one flight are not independent."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dml_lightning.metrics.blocks import Vectors, to_numpy
from dml_lightning.metrics.ood import Scores, as_scores, auroc


@dataclass(frozen=True)
class Interval:
    """An estimate and its bootstrap interval."""

    estimate: float  # on all samples
    low: float  # NaN with fewer than two groups
    high: float
    groups: int
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
    """Percentile interval of `statistic(known, ood)` over groups drawn with replacement.

    A group keeps its known and its OOD samples together. With few groups (below about ten) percentile
    intervals are too short: read them as a lower bound of the uncertainty.

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
    labels = [to_numpy(known_groups), to_numpy(ood_groups)]
    for name, scores, groups in zip(("known", "ood"), (known, ood), labels, strict=True):
        if groups.shape != scores.shape:
            raise ValueError(f"{name}_groups must have shape {scores.shape}, got {groups.shape}.")
    names, owners = np.unique(np.concatenate(labels), return_inverse=True)
    known_owners, ood_owners = owners[: len(known)], owners[len(known) :]
    rng = np.random.default_rng(seed)
    values = np.empty(n)
    for draw in range(n):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        drawn = np.repeat(known, times[known_owners]), np.repeat(ood, times[ood_owners])
        values[draw] = statistic(*drawn) if all(map(len, drawn)) else np.nan
    values = values[~np.isnan(values)]
    usable = len(names) > 1 and len(values) > 0
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail]) if usable else (np.nan, np.nan)
    return Interval(statistic(known, ood), float(low), float(high), len(names), len(values))
