"""From a score to a decision: three rules for the threshold, each with its evidence kept beside it.

A sample is refused if its score is *above* the threshold. Rule A takes the threshold from the reference set,
rule B from known and OOD validation samples, rule C (split conformal) from held-out known samples alone, with
a guarantee: a fresh known sample is refused with probability at most alpha, if it is exchangeable with the
calibration samples. Crops of one flight are not exchangeable with those of another; hence `one_per_group`.
"""

import math
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dml_lightning.metrics.blocks import Vectors, to_numpy
from dml_lightning.metrics.ood import Scores, as_scores, best_threshold

Rule = Literal["A", "B", "C"]


@dataclass(frozen=True)
class Threshold:
    """A threshold and where it came from."""

    rule: Rule
    value: float  # refuse scores above it
    alpha: float = float("nan")  # rule C: largest share of known samples refused, on average
    samples: int = 0  # known samples it was chosen on
    groups: int = 0  # flights they came from; 0 if nobody said
    scores: Scores = field(default_factory=lambda: np.empty(0), repr=False)  # rule C: ascending

    @property
    def name(self) -> str:
        """The rule in words, for tables."""
        if self.rule == "A":
            return "A: radius + epsilon"
        if self.rule == "B":
            return "B: best balanced accuracy on validation"
        return f"C: split conformal, alpha={self.alpha:g}, n={self.samples}"

    def refuses(self, scores: Vectors) -> NDArray[np.bool_]:
        """Whether each score (N,) is above the threshold."""
        refused: NDArray[np.bool_] = as_scores(scores, "scores") > self.value
        return refused

    def state(self) -> dict[str, NDArray[Any]]:
        """Plain arrays, for `numpy.savez`."""
        return {
            "rule": np.array(self.rule),
            "value": np.array(self.value),
            "alpha": np.array(self.alpha),
            "samples": np.array(self.samples),
            "groups": np.array(self.groups),
            "scores": self.scores,
        }

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> "Threshold":
        """The threshold that `state` came from."""
        return cls(
            rule=str(state["rule"]),  # type: ignore[arg-type] # written by `state`
            value=float(state["value"]),
            alpha=float(state["alpha"]),
            samples=int(state["samples"]),
            groups=int(state["groups"]),
            scores=np.asarray(state["scores"], dtype=np.float64),
        )


def validated_threshold(known_scores: Vectors, ood_scores: Vectors) -> Threshold:
    """Rule B: the highest balanced accuracy on known and OOD validation samples.

    Raises:
        ValueError: If either side is empty.
    """
    known = as_scores(known_scores, "known_scores")
    ood = as_scores(ood_scores, "ood_scores")
    if len(known) == 0 or len(ood) == 0:
        raise ValueError(
            f"rule B needs known and OOD samples, got {len(known)} and {len(ood)}; "
            "without OOD samples use rule C."
        )
    return Threshold("B", best_threshold(known, ood).value, samples=len(known))


def conformal_rank(samples: int, alpha: float) -> int:
    """ceil((n + 1)(1 - alpha)), the rank of the threshold among n calibration scores; above n: infinite.

    Raises:
        ValueError: If alpha is not in (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}.")
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
    """Fewest calibration samples for a finite threshold: 1 / alpha - 1, rounded up."""
    return math.ceil(1 / alpha - 1 - 1e-9)


def conformal_threshold(
    known_scores: Vectors, alpha: float = 0.05, *, groups: Vectors | None = None
) -> Threshold:
    """Rule C: the ceil((n + 1)(1 - alpha))-th smallest of n held-out known scores.

    Args:
        known_scores: (N,) scores of known samples used for nothing else.
        alpha: Largest share of fresh known samples to refuse, on average over calibration draws.
        groups: (N,) flight of each sample, to be counted. The guarantee needs exchangeable samples: for new
            flights pass one sample per flight (`one_per_group`).

    Raises:
        ValueError: If alpha is not in (0, 1), or for unusable scores.
    """
    scores = np.sort(as_scores(known_scores, "known_scores"))
    return Threshold(
        "C",
        conformal_value(scores, alpha),
        alpha=alpha,
        samples=len(scores),
        groups=0 if groups is None else len(np.unique(to_numpy(groups))),
        scores=scores,
    )


def p_values(calibration_scores: Vectors, scores: Vectors) -> Scores:
    """Conformal p-values (N,): (1 + calibration scores at or above the score) / (n + 1).

    Refusing p <= alpha is refusing by rule C.

    Args:
        calibration_scores: (n,) scores of held-out known samples.
        scores: (N,).
    """
    calibration = np.sort(as_scores(calibration_scores, "calibration_scores"))
    below = np.searchsorted(calibration, as_scores(scores, "scores"), side="left")
    return np.asarray((1 + len(calibration) - below) / (len(calibration) + 1), dtype=np.float64)


def one_per_group(groups: Vectors, seed: int = 0) -> NDArray[np.int64]:
    """Rows of one random sample per group, ordered by group: these are exchangeable if the flights are.

    Args:
        groups: (N,) flight of each sample, strings or integers.
        seed: Of the draw.
    """
    rows = np.random.default_rng(seed).permutation(len(groups))
    _, first = np.unique(to_numpy(groups)[rows], return_index=True)
    return rows[first]


@dataclass(frozen=True)
class ClassThresholds:
    """Rule C per class: a sample is refused only if every class refuses it.

    Applying the threshold of the predicted class alone would refuse more than alpha.
    """

    values: Scores  # (C,) threshold on the distance to each class
    alpha: float
    scores: tuple[Scores, ...]  # per class, ascending calibration distances

    def score(self, distances: Scores) -> Scores:
        """Excess over the threshold of the most lenient class, (N,), from distances (N, C); refused above 0."""
        excess: Scores = (distances - self.values).min(axis=1)
        return excess

    def p_values(self, distances: Scores) -> Scores:
        """Largest p-value over the classes (N,), from distances (N, C)."""
        columns = zip(self.scores, distances.T, strict=True)
        return np.max([p_values(calibration, column) for calibration, column in columns], axis=0)


def class_thresholds(distances: Scores, columns: NDArray[np.int64], alpha: float) -> ClassThresholds:
    """Rule C for each class on its own calibration samples.

    Args:
        distances: (N, C) of the calibration samples to every class.
        columns: (N,) true class of each sample, as a column of `distances`.
        alpha: As in `conformal_threshold`; a class with fewer than 1 / alpha - 1 samples refuses nothing, and
            then no sample is refused at all.
    """
    scores = tuple(
        np.sort(distances[columns == column, column]) for column in range(distances.shape[1])
    )
    values = [
        conformal_value(own, alpha, f" of class number {column}")
        for column, own in enumerate(scores)
    ]
    return ClassThresholds(np.array(values), alpha, scores)
