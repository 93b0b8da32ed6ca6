"""Split conformal calibration (rule C): known samples are refused with at most a chosen probability.

A fresh known sample is refused with probability at most alpha, on average over calibration draws, if it is
exchangeable with the n calibration samples, which are used for nothing else. Crops of one flight are not
exchangeable with those of another flight: for a statement about new flights calibrate on one crop per flight
(`one_per_group`), n being the number of flights.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml_lightning.metrics.ood import Scores, as_scores
from dml_lightning.openset import judge
from dml_lightning.openset.arrays import ArrayState
from dml_lightning.pairs.arrays import Vectors, to_numpy


def conformal_rank(samples: int, alpha: float) -> int:
    """Rank of the threshold among n calibration scores: ceil((n + 1)(1 - alpha)).

    A rank above n stands for an infinite threshold.

    Args:
        samples: Number n of calibration scores.
        alpha: Largest share of known samples to refuse, on average.

    Raises:
        ValueError: If alpha is not in (0, 1).

    Example:
        >>> conformal_rank(99, alpha=0.05)
        95
    """
    check_alpha(alpha)
    return math.ceil((samples + 1) * (1 - alpha) - 1e-9)  # 1e-9: (n + 1)(1 - alpha) is often whole


def conformal_value(scores: Scores, alpha: float, what: str = "") -> float:
    """Conformal threshold from calibration scores; infinite, with a warning, if they are too few.

    Args:
        scores: Calibration scores (n,), in any order.
        alpha: Largest share of known samples to refuse, on average.
        what: Words behind "calibration samples" in the warning.

    Example:
        >>> conformal_value(np.arange(1.0, 100.0), alpha=0.05)
        95.0
    """
    if conformal_rank(len(scores), alpha) > len(scores):
        warnings.warn(
            f"{len(scores)} calibration samples{what} are too few for alpha = {alpha:g}: "
            f"at least {samples_needed(alpha)} are needed. The threshold is infinite, nothing is refused.",
            UserWarning,
            stacklevel=3,
        )
    return conformal_quantile(scores, alpha)


def conformal_quantile(scores: Scores, alpha: float) -> float:
    """The `conformal_rank`-th smallest of calibration scores (n,); infinite if they are too few.

    Example:
        >>> conformal_quantile(np.arange(1.0, 100.0), alpha=0.05), conformal_quantile(np.arange(3.0), alpha=0.05)
        (95.0, inf)
    """
    rank = conformal_rank(len(scores), alpha)
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else float("inf")


def samples_needed(alpha: float) -> int:
    """Smallest number of calibration samples for a finite threshold: 1 / alpha - 1, rounded up.

    Raises:
        ValueError: If alpha is not in (0, 1).

    Example:
        >>> samples_needed(alpha=0.05)
        19
    """
    check_alpha(alpha)
    return math.ceil(1 / alpha - 1 - 1e-9)


def check_alpha(alpha: float) -> None:
    """Refuse a share that is not in (0, 1).

    Raises:
        ValueError: If it is not.

    Example:
        >>> check_alpha(0.05)
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}.")


def p_values(calibration_scores: Vectors, scores: Vectors) -> Scores:
    """Conformal p-values (N,): (1 + number of calibration scores at or above the score) / (n + 1).

    Refusing samples with p <= alpha is the same as refusing those above the conformal threshold at alpha.

    Args:
        calibration_scores: Scores (n,) of held-out known samples.
        scores: Scores (N,) of the samples to judge.

    Example:
        >>> p_values(np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0, 9.0]))
        array([1.  , 0.75, 0.25])
    """
    calibration = np.sort(as_scores(calibration_scores, "calibration_scores"))
    return judge.conformal_p_values(calibration, as_scores(scores, "scores"))


def refusal_rates(calibration_scores: Vectors, scores: Vectors, alphas: Vectors) -> Scores:
    """Measured share (A,) of `scores` that rule C refuses at each alpha, for a coverage plot.

    For known samples of new flights it should stay below alpha. It is 0 where n is too small for alpha, and NaN
    without scores.

    Args:
        calibration_scores: Scores (n,) of held-out known samples.
        scores: Scores (N,) of other known samples.
        alphas: Nominal shares (A,), each in (0, 1).

    Example:
        >>> refusal_rates(np.array([1.0, 2.0, 3.0]), np.array([0.5, 9.0]), alphas=np.array([0.2, 0.25]))
        array([0. , 0.5])
    """
    p = np.sort(p_values(calibration_scores, scores))
    refused = np.searchsorted(p, to_numpy(alphas) + 1e-9, side="right")  # 1e-9: as in the rank
    return np.asarray(refused / len(p) if len(p) else np.full(len(alphas), np.nan))


def one_per_group(groups: Vectors, seed: int = 0) -> NDArray[np.int64]:
    """Rows of one random sample per group, ordered by group; exchangeable if the flights are.

    Args:
        groups: Flight (N,) of each sample, strings or integers.
        seed: Seed of the draw.

    Example:
        >>> one_per_group(np.array(["a", "b", "a", "a"]), seed=0)
        array([2, 1])
    """
    rows = np.random.default_rng(seed).permutation(len(groups))
    _, first = np.unique(to_numpy(groups)[rows], return_index=True)
    return rows[first]


def counted_rows(groups: Vectors, alpha: float, per_group: bool) -> NDArray[np.int64]:
    """Rows of the calibration samples that rule C counts: one random sample per group, or all.

    All count, too, where the groups are too few for alpha: a threshold of one sample each would be infinite.

    Args:
        groups: Flight (N,) of each sample.
        alpha: Largest share of known samples to refuse, on average.
        per_group: Whether one sample per group is wanted.

    Example:
        >>> counted_rows(np.array(["a", "a", "b"]), alpha=0.5, per_group=True)
        array([0, 2])
        >>> counted_rows(np.array(["a", "a", "b"]), alpha=0.05, per_group=True)
        array([0, 1, 2])
    """
    single = one_per_group(groups)
    return single if per_group and len(single) >= samples_needed(alpha) else np.arange(len(groups))


def refused_when_left_out(scores: Scores, groups: Vectors, alpha: float) -> float:
    """Share of a group's samples that the threshold of the other groups refuses, mean over the groups.

    It measures by how much samples that are not exchangeable between groups break the promise of alpha. A group whose
    others are too few for alpha is left out of the mean; NaN if all are.

    Args:
        scores: Calibration scores (n,).
        groups: Flight (n,) of each sample.
        alpha: Largest share of known samples to refuse, on average.

    Example:
        >>> refused_when_left_out(np.array([1.0, 2.0, 3.0, 9.0]), np.array(["a", "a", "b", "b"]), alpha=0.4)
        0.5
    """
    names, shares = to_numpy(groups), []
    for own in (names == name for name in np.unique(names)):
        limit = conformal_quantile(scores[~own], alpha)
        if np.isfinite(limit):
            shares.append(float((scores[own] > limit).mean()))
    return float(np.mean(shares)) if shares else float("nan")


@dataclass(frozen=True, eq=False)
class ClassThresholds:
    """Conformal thresholds by class (rule C): a sample is refused only if every class refuses it.

    Applying the threshold of the predicted class alone would refuse more than alpha.

    Example:
        >>> thresholds = ClassThresholds(np.array([2.0, 3.0]), 0.5, (np.array([1.0, 2.0]), np.array([3.0])))
        >>> thresholds.score(np.array([[1.5, 9.0], [6.0, 5.0]]))
        array([-0.5,  2. ])
    """

    values: Scores  # (C,) threshold on the distance to each class
    alpha: float
    scores: tuple[Scores, ...]  # by class, calibration distances, ascending

    def score(self, distances: Scores) -> Scores:
        """Smallest excess of distances (N, C) over the thresholds of their classes, (N,); refused above 0."""
        return judge.score(distances, judge.DecisionRule(0.0, self.values))

    def p_values(self, distances: Scores) -> Scores:
        """Largest p-value (N,) over the classes, from distances (N, C)."""
        columns = zip(self.scores, distances.T, strict=True)
        largest: Scores = np.max([p_values(own, column) for own, column in columns], axis=0)
        return largest

    def state(self) -> ArrayState:
        """Plain arrays: the calibration distances of all classes, joined, and the number of each class."""
        return {
            "values": self.values,
            "alpha": np.array(self.alpha),
            "sizes": np.array([len(own) for own in self.scores]),
            "scores": np.concatenate(self.scores),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> "ClassThresholds":
        """The thresholds whose `state` this is."""
        scores = np.split(np.asarray(state["scores"]), np.cumsum(state["sizes"])[:-1])
        return cls(np.asarray(state["values"]), float(state["alpha"]), tuple(scores))


def class_thresholds(distances: Scores, columns: NDArray[np.int64], alpha: float) -> ClassThresholds:
    """Conformal threshold of each class (rule C) from its own calibration samples.

    Args:
        distances: Distances (N, C) of the calibration samples to every class.
        columns: True class (N,) of each sample, as a column of `distances`.
        alpha: Largest share of the known samples to refuse, on average. A class with fewer than 1 / alpha - 1
            samples has an infinite threshold, and then no sample is refused by all classes.

    Raises:
        ValueError: If alpha is not in (0, 1).

    Example:
        >>> distances = np.array([[1.0, 9.0], [2.0, 8.0], [7.0, 3.0]])
        >>> class_thresholds(distances, columns=np.array([0, 0, 1]), alpha=0.5).values
        array([2., 3.])
    """
    scores = tuple(np.sort(distances[columns == column, column]) for column in range(distances.shape[1]))
    values = [conformal_value(own, alpha, f" of class number {column}") for column, own in enumerate(scores)]
    return ClassThresholds(np.array(values), alpha, scores)
