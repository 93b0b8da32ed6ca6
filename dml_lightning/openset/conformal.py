"""Split conformal calibration: refuse known samples with a probability that was chosen beforehand.

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
from dml_lightning.pairs.blocks import Vectors, to_numpy


def conformal_rank(samples: int, alpha: float) -> int:
    """ceil((n + 1)(1 - alpha)), the rank of the threshold among n calibration scores; above n: infinite.

    Raises:
        ValueError: If alpha is not in (0, 1).
    """
    _check_alpha(alpha)
    return math.ceil((samples + 1) * (1 - alpha) - 1e-9)  # 1e-9: (n + 1)(1 - alpha) is often whole


def conformal_value(scores: Scores, alpha: float, what: str = "") -> float:
    """The conformal threshold of calibration `scores` (n,), with a warning if n is too small for it."""
    rank = conformal_rank(len(scores), alpha)
    if rank > len(scores):
        warnings.warn(
            f"{len(scores)} calibration samples{what} are too few for alpha = {alpha:g}: "
            f"at least {samples_needed(alpha)} are needed. The threshold is infinite, nothing is refused.",
            UserWarning,
            stacklevel=3,
        )
        return float("inf")
    return float(np.partition(scores, rank - 1)[rank - 1])


def samples_needed(alpha: float) -> int:
    """Fewest calibration samples for a finite threshold: 1 / alpha - 1, rounded up.

    Raises:
        ValueError: If alpha is not in (0, 1).
    """
    _check_alpha(alpha)
    return math.ceil(1 / alpha - 1 - 1e-9)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}.")


def p_values(calibration_scores: Vectors, scores: Vectors) -> Scores:
    """Conformal p-values (N,): (1 + calibration scores at or above the score) / (n + 1).

    Refusing p <= alpha is refusing by rule C.

    Args:
        calibration_scores: (n,) scores of held-out known samples.
        scores: (N,).
    """
    calibration = np.sort(as_scores(calibration_scores, "calibration_scores"))
    return judge.conformal_p_values(calibration, as_scores(scores, "scores"))


def refusal_rates(calibration_scores: Vectors, scores: Vectors, alphas: Vectors) -> Scores:
    """Share of `scores` that rule C refuses at each alpha (A,): the measured side of a coverage plot.

    For known samples of new flights this should stay below alpha; 0 where n is too small for alpha.

    Args:
        calibration_scores: (n,) scores of held-out known samples.
        scores: (N,) of other known samples.
        alphas: (A,).
    """
    p = np.sort(p_values(calibration_scores, scores))
    refused = np.searchsorted(p, to_numpy(alphas) + 1e-9, side="right")  # 1e-9: as in the rank
    return np.asarray(refused / len(p) if len(p) else np.full(len(alphas), np.nan))


def one_per_group(groups: Vectors, seed: int = 0) -> NDArray[np.int64]:
    """Rows of one random sample per group, ordered by group: these are exchangeable if the flights are.

    Args:
        groups: (N,) flight of each sample, strings or integers.
        seed: Of the draw.
    """
    rows = np.random.default_rng(seed).permutation(len(groups))
    _, first = np.unique(to_numpy(groups)[rows], return_index=True)
    return rows[first]


@dataclass(frozen=True, eq=False)
class ClassThresholds:
    """Rule C per class: a sample is refused only if every class refuses it.

    Applying the threshold of the predicted class alone would refuse more than alpha.
    """

    values: Scores  # (C,) threshold on the distance to each class
    alpha: float
    scores: tuple[Scores, ...]  # per class, ascending calibration distances

    def score(self, distances: Scores) -> Scores:
        """Excess over the threshold of the most lenient class, (N,), from distances (N, C); refused above 0."""
        return judge.score(distances, judge.DecisionRule(0.0, self.values))

    def p_values(self, distances: Scores) -> Scores:
        """Largest p-value over the classes (N,), from distances (N, C)."""
        columns = zip(self.scores, distances.T, strict=True)
        largest: Scores = np.max([p_values(own, column) for own, column in columns], axis=0)
        return largest

    def state(self) -> ArrayState:
        """Plain arrays: the calibration distances of all classes in a row, and how many each has."""
        return {
            "values": self.values,
            "alpha": np.array(self.alpha),
            "sizes": np.array([len(own) for own in self.scores]),
            "scores": np.concatenate(self.scores),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> "ClassThresholds":
        """The thresholds that `state` came from."""
        scores = np.split(np.asarray(state["scores"]), np.cumsum(state["sizes"])[:-1])
        return cls(np.asarray(state["values"]), float(state["alpha"]), tuple(scores))


def class_thresholds(distances: Scores, columns: NDArray[np.int64], alpha: float) -> ClassThresholds:
    """Rule C for each class on its own calibration samples.

    Args:
        distances: (N, C) of the calibration samples to every class.
        columns: (N,) true class of each sample, as a column of `distances`.
        alpha: As in `conformal_threshold`; a class with fewer than 1 / alpha - 1 samples refuses nothing, and
            then no sample is refused at all.
    """
    scores = tuple(np.sort(distances[columns == column, column]) for column in range(distances.shape[1]))
    values = [conformal_value(own, alpha, f" of class number {column}") for column, own in enumerate(scores)]
    return ClassThresholds(np.array(values), alpha, scores)
