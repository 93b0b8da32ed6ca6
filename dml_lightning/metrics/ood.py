"""How well a score tells known samples from out-of-distribution (OOD) ones. Scores: larger = more OOD.

Everything is computed from ranks or order statistics in float64: no sigmoid, no clipping, any range of scores,
ties count one half in AUROC and stand together in every curve. Where the positive class matters it is named.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from dml_lightning.pairs.blocks import Vectors, to_numpy

Positive = Literal["ood", "known"]
Scores = NDArray[np.float64]


def as_scores(values: Vectors, name: str) -> Scores:
    """Check that `values` are scores, one per sample, and return them as (N,) float64.

    Infinite scores are legal: they order.

    Raises:
        ValueError: If the shape is not (N,), or a score is NaN.
    """
    scores = to_numpy(values).astype(np.float64)
    if scores.ndim != 1:
        raise ValueError(f"{name} must have shape (N,), one score per sample, got {scores.shape}.")
    if np.isnan(scores).any():
        raise ValueError(f"{name} must not be NaN, but number {int(np.isnan(scores).argmax())} is.")
    return scores


def _oriented(known: Vectors, ood: Vectors, positive: Positive) -> tuple[Scores, Scores]:
    """Scores of (positives, negatives), such that positives should be the larger ones."""
    if positive not in ("ood", "known"):
        raise ValueError(f'positive must be "ood" or "known", got {positive!r}.')
    known_scores = as_scores(known, "known_scores")
    ood_scores = as_scores(ood, "ood_scores")
    return (ood_scores, known_scores) if positive == "ood" else (-known_scores, -ood_scores)


def auroc(known_scores: Vectors, ood_scores: Vectors) -> float:
    """Probability that an OOD sample scores above a known one, ties counting one half.

    The same for either positive class. NaN if a side is empty.

    Args:
        known_scores: (N,).
        ood_scores: (M,).

    Raises:
        ValueError: If the scores are not one-dimensional or hold NaN.
    """
    positives, negatives = _oriented(known_scores, ood_scores, "ood")
    n, m = len(negatives), len(positives)
    if n == 0 or m == 0:
        return float("nan")
    ranks = rankdata(np.concatenate([positives, negatives]))  # average ranks, from 1
    return float((ranks[:m].sum() - m * (m + 1) / 2) / (n * m))


def fpr_at_tpr(known_scores: Vectors, ood_scores: Vectors, tpr: float = 0.95, positive: Positive = "ood") -> float:
    """False-positive rate at the strictest threshold that finds at least a share `tpr` of the positives.

    The two conventions differ widely; say which one a number follows. NaN if a side is empty.

    Args:
        known_scores: (N,).
        ood_scores: (M,).
        tpr: In (0, 1].
        positive: "ood": share of known samples refused when 95 % of the OOD ones are. "known": share of
            OOD samples accepted when 95 % of the known ones are.

    Raises:
        ValueError: If `tpr` is not in (0, 1], or for unusable scores.
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must lie in (0, 1], got {tpr}.")
    positives, negatives = _oriented(known_scores, ood_scores, positive)
    if len(positives) == 0 or len(negatives) == 0:
        return float("nan")
    needed = int(np.searchsorted(np.arange(1, len(positives) + 1) / len(positives), tpr)) + 1
    threshold = np.partition(positives, len(positives) - needed)[len(positives) - needed]
    return float((negatives >= threshold).mean())


class CumulativeCounts(NamedTuple):
    """Counts at or above each distinct score, scores descending."""

    thresholds: Scores  # (T,)
    true_positives: NDArray[np.int64]  # (T,)
    false_positives: NDArray[np.int64]  # (T,)


def _cumulative_counts(positives: Scores, negatives: Scores) -> CumulativeCounts:
    scores = np.concatenate([positives, negatives])
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(order < len(positives))
    ordered = scores[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # the last of each group of equal scores
    rank = np.arange(1, len(scores) + 1)
    return CumulativeCounts(ordered[last], found[last], (rank - found)[last])


def aupr(known_scores: Vectors, ood_scores: Vectors, positive: Positive = "ood") -> float:
    """Area under precision over recall, as average precision (steps, no interpolation).

    It depends on the share of positives, so it cannot be compared between sets. NaN if a side is empty.

    Args:
        known_scores: (N,).
        ood_scores: (M,).
        positive: The class to be found.
    """
    positives, negatives = _oriented(known_scores, ood_scores, positive)
    if len(positives) == 0 or len(negatives) == 0:
        return float("nan")
    _, true, false = _cumulative_counts(positives, negatives)
    return float((np.diff(true, prepend=0) * (true / (true + false))).sum() / len(positives))


class BestThreshold(NamedTuple):
    """The cut between known and OOD with the highest balanced accuracy."""

    value: float  # a sample is refused if its score is above it
    balanced_accuracy: float


def best_threshold(known_scores: Vectors, ood_scores: Vectors) -> BestThreshold:
    """Find the threshold that maximises the mean of the shares of known samples kept and OOD ones refused.

    It lies halfway between two neighbouring scores. Of equally good ones the highest is taken, which refuses
    the fewest. NaN if a side is empty.
    """
    positives, negatives = _oriented(known_scores, ood_scores, "ood")
    if len(positives) == 0 or len(negatives) == 0:
        return BestThreshold(float("nan"), float("nan"))
    thresholds, true, false = _cumulative_counts(positives, negatives)
    found = np.append(0, true)  # refused OOD samples: above the highest score none, then ever more
    lost = np.append(0, false)  # refused known samples
    best = int((found * len(negatives) - lost * len(positives)).argmax())  # exact in integers
    accuracy = (found[best] / len(positives) + 1 - lost[best] / len(negatives)) / 2
    return BestThreshold(_between(thresholds, best), float(accuracy))


def _between(descending: Scores, refused: int) -> float:
    """A threshold above which exactly the first `refused` of the distinct scores lie."""
    if refused == 0:
        return float(descending[0])
    if refused == len(descending):
        return float("-inf")
    high, low = float(descending[refused - 1]), float(descending[refused])
    middle = low + (high - low) / 2
    return middle if low <= middle < high else low  # rounding, or an infinite end


def detection_accuracy(known_scores: Vectors, ood_scores: Vectors) -> float:
    """Best balanced accuracy over all thresholds: both classes weigh the same, whatever their sizes.

    Source: 1 minus the detection error of Liang, Li and Srikant, ICLR 2018, section 4.3.
    """
    return best_threshold(known_scores, ood_scores).balanced_accuracy


class OODMetrics(NamedTuple):
    """Everything that is said about one set of OOD samples against the known ones."""

    auroc: float
    fpr95_ood_positive: float  # known samples refused when 95 % of the OOD ones are
    fpr95_known_positive: float  # OOD samples accepted when 95 % of the known ones are
    aupr_ood_positive: float
    aupr_known_positive: float
    detection_accuracy: float
    known: int  # samples
    ood: int


def ood_metrics(known_scores: Vectors, ood_scores: Vectors) -> OODMetrics:
    """Every metric of this file on one pair of score sets, (N,) and (M,)."""
    return OODMetrics(
        auroc=auroc(known_scores, ood_scores),
        fpr95_ood_positive=fpr_at_tpr(known_scores, ood_scores, positive="ood"),
        fpr95_known_positive=fpr_at_tpr(known_scores, ood_scores, positive="known"),
        aupr_ood_positive=aupr(known_scores, ood_scores, positive="ood"),
        aupr_known_positive=aupr(known_scores, ood_scores, positive="known"),
        detection_accuracy=detection_accuracy(known_scores, ood_scores),
        known=len(known_scores),
        ood=len(ood_scores),
    )
