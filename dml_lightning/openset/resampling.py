"""AUROC on flights drawn with replacement, fast enough for every detector of a table.

The same draws as `metrics.bootstrap.cluster_bootstrap` makes with the same seed, and the same values: a drawn
flight counts its samples as often as it was drawn, instead of repeating them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.metrics.blocks import row_blocks
from dml_lightning.metrics.bootstrap import group_draws, percentile_interval
from dml_lightning.metrics.ood import Scores


class Resampled(NamedTuple):
    """Flights drawn with replacement, once for all scores that are to be compared."""

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


def interval(values: Scores) -> tuple[float, float]:
    """95 % percentile interval of the mean over the sets that a draw holds, from (T, P); NaN if none holds any."""
    held = (~np.isnan(values)).sum(axis=1)  # (T,)
    means = np.divide(np.nansum(values, axis=1), held, out=np.full(len(held), np.nan), where=held > 0)
    return percentile_interval(means)
