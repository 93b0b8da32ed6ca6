"""How well a score tells known samples from out-of-distribution (OOD) ones. Scores: larger = more OOD.

Everything is computed from ranks or order statistics in float64: no sigmoid, no clipping, any range of scores. Ties
count one half in AUROC and stay together in every curve. Where the positive class matters, it is an argument.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.pairs.arrays import Vectors, to_numpy

Positive = Literal["ood", "known"]
Scores = NDArray[np.float64]


def as_scores(values: Vectors, name: str) -> Scores:
    """Check that `values` are scores, one per sample, and return them as (N,) float64.

    Infinite scores are allowed, since only the order counts.

    Raises:
        ValueError: If the shape is not (N,), or a score is NaN.

    Example:
        >>> as_scores(np.array([1, 2]), "scores")
        array([1., 2.])
    """
    scores = to_numpy(values).astype(np.float64)
    if scores.ndim != 1:
        raise ValueError(f"{name} must have shape (N,), one score per sample, got {scores.shape}.")
    if np.isnan(scores).any():
        raise ValueError(f"{name} must not be NaN, but number {int(np.isnan(scores).argmax())} is.")
    return scores


def _oriented(known: Vectors, ood: Vectors, positive: Positive) -> tuple[Scores, Scores]:
    """Scores of positives and of negatives, with the sign by which positives should have the larger ones."""
    if positive not in ("ood", "known"):
        raise ValueError(f'positive must be "ood" or "known", got {positive!r}.')
    known_scores = as_scores(known, "known_scores")
    ood_scores = as_scores(ood, "ood_scores")
    return (ood_scores, known_scores) if positive == "ood" else (-known_scores, -ood_scores)


def auroc(known_scores: Vectors, ood_scores: Vectors) -> float:
    """Probability that an OOD sample scores above a known one, ties counting one half.

    The same for either positive class. NaN if a side is empty.

    Args:
        known_scores: Scores (N,).
        ood_scores: Scores (M,).

    Raises:
        ValueError: If the scores are not one-dimensional or hold NaN.

    Example:
        >>> auroc(np.array([0.1, 0.6]), np.array([0.5, 0.9]))
        0.75
    """
    positives, negatives = _oriented(known_scores, ood_scores, "ood")
    n, m = len(negatives), len(positives)
    if n == 0 or m == 0:
        return float("nan")
    negatives = np.sort(negatives)
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return float(below.sum() / (2 * n * m))  # an equal pair counts half


def fpr_at_tpr(known_scores: Vectors, ood_scores: Vectors, tpr: float = 0.95, positive: Positive = "ood") -> float:
    """False-positive rate at the strictest threshold with a true-positive rate of at least `tpr`.

    Values for the two positive classes differ widely: state which one was used. NaN if a side is empty.

    Args:
        known_scores: Scores (N,).
        ood_scores: Scores (M,).
        tpr: True-positive rate in (0, 1].
        positive: "ood": share of known samples refused when 95 % of the OOD ones are. "known": share of
            OOD samples accepted when 95 % of the known ones are.

    Raises:
        ValueError: If `tpr` is not in (0, 1], `positive` is neither, or the scores are not one-dimensional or hold
            NaN.

    Example:
        >>> known, ood = np.array([0.1, 0.2, 0.3, 0.6]), np.array([0.5, 0.9])
        >>> fpr_at_tpr(known, ood, positive="ood"), fpr_at_tpr(known, ood, positive="known")
        (0.25, 0.5)
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
    hits = np.cumsum(order < len(positives))
    ordered = scores[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # the last of each group of equal scores
    rank = np.arange(1, len(scores) + 1)
    return CumulativeCounts(ordered[last], hits[last], (rank - hits)[last])


def aupr(known_scores: Vectors, ood_scores: Vectors, positive: Positive = "ood") -> float:
    """Area under precision over recall, as average precision (steps, no interpolation).

    It depends on the share of positives, so it cannot be compared between sets. NaN if a side is empty.

    Args:
        known_scores: Scores (N,).
        ood_scores: Scores (M,).
        positive: Class that counts as positive.

    Raises:
        ValueError: If `positive` is neither, or the scores are not one-dimensional or hold NaN.

    Example:
        >>> round(aupr(np.array([0.1, 0.6]), np.array([0.5, 0.9])), 4)  # (1 + 2/3) / 2
        0.8333
    """
    positives, negatives = _oriented(known_scores, ood_scores, positive)
    if len(positives) == 0 or len(negatives) == 0:
        return float("nan")
    _, true, false = _cumulative_counts(positives, negatives)
    return float((np.diff(true, prepend=0) * (true / (true + false))).sum() / len(positives))


class BestThreshold(NamedTuple):
    """Threshold between known and OOD samples with the highest balanced accuracy."""

    value: float  # a sample is refused if its score is above it
    balanced_accuracy: float


def best_threshold(known_scores: Vectors, ood_scores: Vectors, most_refused: float = 1.0) -> BestThreshold:
    """Find the threshold that maximises the mean of the shares of known samples kept and OOD ones refused.

    It lies halfway between two neighbouring scores. Of equally good ones the highest is taken, which refuses
    the fewest samples. NaN if a side is empty.

    Args:
        known_scores: Scores (N,).
        ood_scores: Scores (M,).
        most_refused: Largest share of the known samples that it may refuse.

    Raises:
        ValueError: If the scores, (N,) and (M,), are not one-dimensional or hold NaN.

    Example:
        >>> best_threshold(np.array([1.0, 2.0, 5.0]), np.array([4.0, 6.0]))
        BestThreshold(value=3.0, balanced_accuracy=0.8333333333333334)
        >>> best_threshold(np.array([1.0, 2.0, 5.0]), np.array([4.0, 6.0]), most_refused=0.1)
        BestThreshold(value=5.5, balanced_accuracy=0.75)
    """
    positives, negatives = _oriented(known_scores, ood_scores, "ood")
    if len(positives) == 0 or len(negatives) == 0:
        return BestThreshold(float("nan"), float("nan"))
    thresholds, true, false = _cumulative_counts(positives, negatives)
    caught = np.append(0, true)  # OOD samples refused by ever lower thresholds, at first none
    lost = np.append(0, false)  # known samples refused by them
    allowed = np.searchsorted(lost, most_refused * len(negatives) + 1e-9, side="right")  # 1e-9: often whole
    best = int((caught * len(negatives) - lost * len(positives))[:allowed].argmax())  # exact in integers
    accuracy = (caught[best] / len(positives) + 1 - lost[best] / len(negatives)) / 2
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

    Example:
        >>> round(detection_accuracy(np.array([1.0, 2.0, 5.0]), np.array([4.0, 6.0])), 4)
        0.8333
    """
    return best_threshold(known_scores, ood_scores).balanced_accuracy


class OODMetrics(NamedTuple):
    """All metrics of one set of OOD samples against the known ones."""

    auroc: float
    fpr95_ood_positive: float  # known samples refused when 95 % of the OOD ones are
    fpr95_known_positive: float  # OOD samples accepted when 95 % of the known ones are
    aupr_ood_positive: float
    aupr_known_positive: float
    detection_accuracy: float
    known: int  # number of known samples
    ood: int  # number of OOD samples


def ood_metrics(known_scores: Vectors, ood_scores: Vectors) -> OODMetrics:
    """All metrics of `OODMetrics` for scores (N,) of known and (M,) of OOD samples.

    Raises:
        ValueError: If the scores are not one-dimensional or hold NaN.

    Example:
        >>> metrics = ood_metrics(np.array([0.1, 0.6]), np.array([0.5, 0.9]))
        >>> metrics.auroc, metrics.fpr95_ood_positive, metrics.known
        (0.75, 0.5, 2)
    """
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
