"""The bootstrap over groups as one would write it down: drawn groups repeat their samples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.metrics.ood import auroc


class Slow(NamedTuple):
    """Percentiles of a statistic over resamples."""

    estimate: float
    low: float
    high: float
    draws: int  # resamples that had both sides


def slow_bootstrap(
    known: NDArray[Any],
    ood: NDArray[Any],
    known_groups: NDArray[Any],
    ood_groups: NDArray[Any],
    draws: int,
    seed: int = 0,
    level: float = 0.95,
    statistic: Callable[[NDArray[Any], NDArray[Any]], float] = auroc,
) -> Slow:
    """Scores (N,) and (M,) of groups (N,) and (M,)."""
    known, ood = np.asarray(known, float), np.asarray(ood, float)
    names = sorted({*known_groups.tolist(), *ood_groups.tolist()})
    rng, values = np.random.default_rng(seed), []
    for _ in range(draws if len(names) > 1 else 0):
        drawn = [names[i] for i in rng.integers(len(names), size=len(names))]
        sides = [
            np.concatenate([scores[groups == name] for name in drawn])
            for scores, groups in ((known, known_groups), (ood, ood_groups))
        ]
        if all(map(len, sides)):
            values.append(statistic(*sides))
    ends = np.quantile(values, [(1 - level) / 2, (1 + level) / 2]) if values else (np.nan, np.nan)
    return Slow(statistic(known, ood), float(ends[0]), float(ends[1]), len(values))
