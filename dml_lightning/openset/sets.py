"""Sets of species that hold the true one with a chosen probability: split conformal prediction, by class if possible.

The score of a class is its gap behind the best class (`openset.judge.gaps`), so that the best one is in every set. A
class with enough calibration crops has a threshold of its own and the promise for itself: of its crops at most a share
alpha have a set without it, on average over calibrations (Vovk, Lindsay, Nouretdinov and Gammerman, 2003, call this
Mondrian). The other classes share one threshold and the promise on average over their crops. It holds for known
species, before anything is refused, and for crops that are exchangeable with those of the calibration.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml_lightning.metrics.ood import Scores
from dml_lightning.openset.conformal import conformal_quantile, one_per_group, samples_needed


@dataclass(frozen=True, eq=False)
class SetThresholds:
    """Largest gap of each class in a set, and what it was chosen on."""

    values: Scores  # (C,) infinite where there are too few crops: the class is then in every set
    alpha: float  # largest share of known crops whose set lacks their class
    own: NDArray[np.bool_]  # (C,) whether the threshold is of the class alone
    samples: NDArray[np.int64]  # (C,) number of crops that it was chosen on
    per_flight: bool = False  # whether these are one crop of each flight

    def origin(self, names: Sequence[str]) -> str:
        """Which classes have a threshold of their own and which share one, as a sentence.

        Args:
            names: Names (C,) of the classes.

        Example:
            >>> thresholds = SetThresholds(np.ones(3), 0.1, np.array([True, False, False]), np.array([30, 12, 12]))
            >>> thresholds.origin(["coot", "gadwall", "teal"])
            'a threshold per class for coot (30 or more crops); one for gadwall, teal together (12 crops)'
        """
        what = "flights" if self.per_flight else "crops"
        single, shared = ([n for n, own in zip(names, self.own, strict=True) if own == kind] for kind in (True, False))
        parts = []
        if single:
            parts.append(
                f"a threshold per class for {', '.join(single)} ({self.samples[self.own].min()} or more {what})"
            )
        if shared:
            parts.append(f"one for {', '.join(shared)} together ({self.samples[~self.own][0]} {what})")
        return "; ".join(parts)


def set_thresholds(
    behind: Scores, labels: NDArray[np.int64], flights: NDArray[np.int64], alpha: float, per_flight: bool = False
) -> SetThresholds:
    """Choose the thresholds of sets on calibration crops.

    Classes with fewer crops than `samples_needed` share a threshold; where they are too few together, the classes with
    the fewest crops beyond join them.

    Args:
        behind: Gaps (n, C) of the calibration crops, from `openset.judge.gaps`.
        labels: True classes (n,).
        flights: Flights (n,).
        alpha: Largest share of known crops whose set lacks their class, on average.
        per_flight: Whether one random crop of each flight counts, of those that show the class or one of the classes
            that share a threshold. The promise is then for such a crop of a new flight.

    Raises:
        ValueError: If alpha is not in (0, 1).

    Example:
        >>> behind = np.array([[0.0, 3.0], [0.0, 2.0], [1.0, 0.0], [4.0, 0.0]])
        >>> set_thresholds(behind, np.array([0, 0, 0, 1]), np.arange(4), alpha=0.5).values
        array([0., 0.])
    """
    needed, classes = samples_needed(alpha), behind.shape[1]
    own_gap = behind[np.arange(len(labels)), labels]  # (n,)

    def rows(members: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """The crops that count for some classes together."""
        every = np.flatnonzero(np.isin(labels, members))
        return every[one_per_group(flights[every])] if per_flight else every

    sizes = np.array([len(rows([number])) for number in range(classes)])
    fewest = sizes.argsort(kind="stable")
    shared = int((sizes < needed).sum())
    while 0 < shared < classes and len(rows(fewest[:shared])) < needed:
        shared += 1
    values, own, samples = np.empty(classes), np.ones(classes, bool), np.empty(classes, np.int64)
    for members in [*fewest[shared:, None], *([fewest[:shared]] if shared else [])]:
        crops = rows(members)
        values[members], samples[members] = conformal_quantile(own_gap[crops], alpha), len(crops)
    own[fewest[:shared]] = False
    return SetThresholds(values, alpha, own, samples, per_flight)
