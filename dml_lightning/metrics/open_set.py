"""Naming with the right to refuse: right names against unknown samples that are named, and errors against coverage.

Scores: larger = more OOD. At a threshold t every sample with a score of at most t is named, the others are refused.
Equal scores are named together, so that a curve has one point per distinct score: neither curve nor area depends on
the order of the samples. All functions take O(n log n) time and O(n) memory for n samples in all.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.metrics.ood import Scores, as_scores, auroc
from dml_lightning.pairs.blocks import Vectors, to_numpy

Mask = NDArray[np.bool_]


class OSCRCurve(NamedTuple):
    """Shares at every threshold, ascending; the first point names nothing."""

    thresholds: Scores  # (T,) from -inf to the highest score
    correct: Scores  # (T,) correct classification rate: share of known samples that are named, and named right
    false: Scores  # (T,) false positive rate: share of unknown samples that are named


def oscr_curve(known_scores: Vectors, right: Vectors, ood_scores: Vectors) -> OSCRCurve:
    """Open-set classification rate: correct classification rate against false positive rate.

    Source: Dhamija, Günther and Boult, Reducing Network Agnostophobia, NeurIPS 2018, section 4.1, whose score is the
    largest softmax probability, larger for known samples.

    Args:
        known_scores: Scores (N,) of known samples.
        right: Whether (N,) the name that each of them would get is right, booleans.
        ood_scores: Scores (M,) of unknown samples.

    Returns:
        The curve from (0, 0) to (accuracy without refusal, 1); NaN for a side without samples.

    Raises:
        ValueError: If shapes disagree, a score is NaN, or `right` is no array of booleans.

    Example:
        >>> curve = oscr_curve(np.array([0.1, 0.2, 0.6]), np.array([True, False, True]), np.array([0.2, 0.9]))
        >>> curve.correct.round(2).tolist(), curve.false.tolist()
        ([0.0, 0.33, 0.33, 0.67, 0.67], [0.0, 0.0, 0.5, 0.5, 1.0])
    """
    known, ood = as_scores(known_scores, "known_scores"), as_scores(ood_scores, "ood_scores")
    named_right = known[_as_mask(right, known, "right")]
    thresholds = np.unique(np.concatenate([known, ood]))
    shares = [
        np.append(0, np.searchsorted(np.sort(scores), thresholds, side="right")) / (size or np.nan)
        for scores, size in ((named_right, len(known)), (ood, len(ood)))
    ]
    return OSCRCurve(np.append(-np.inf, thresholds), *shares)


def oscr(known_scores: Vectors, right: Vectors, ood_scores: Vectors) -> float:
    """Area under `oscr_curve` by the trapezoidal rule, in [0, accuracy]; NaN if a side is empty.

    It is the probability that a random known sample would be named right and scores below a random unknown one, ties
    counting one half, and so the accuracy times the AUROC of the samples that are named right. Arguments and errors as
    in `oscr_curve`.

    Example:
        >>> round(oscr(np.array([0.1, 0.2, 0.6]), np.array([True, False, True]), np.array([0.2, 0.9])), 4)  # 3/6
        0.5
    """
    known = as_scores(known_scores, "known_scores")
    mask = _as_mask(right, known, "right")
    ood = as_scores(ood_scores, "ood_scores")
    if not len(known) or not len(ood):
        return float("nan")
    return float(mask.mean()) * auroc(known[mask], ood) if mask.any() else 0.0


class RiskCoverageCurve(NamedTuple):
    """Error among the named samples at every threshold, ascending."""

    thresholds: Scores  # (T,) distinct scores
    coverage: Scores  # (T,) share of the samples that are named
    risk: Scores  # (T,) share of the named ones that are named wrong


def risk_coverage_curve(scores: Vectors, wrong: Vectors) -> RiskCoverageCurve:
    """Selective risk against coverage.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017, equations 1 and 2,
    with the 0/1 loss. Unknown samples may be among the samples, each of them named wrong; the curve then depends on
    how many there are.

    Args:
        scores: Scores (N,).
        wrong: Whether (N,) the name that each sample would get is wrong, booleans.

    Raises:
        ValueError: If shapes disagree, a score is NaN, or `wrong` is no array of booleans.

    Example:
        >>> curve = risk_coverage_curve(np.array([0.1, 0.2, 0.6, 0.6]), np.array([False, True, False, False]))
        >>> curve.coverage.tolist(), curve.risk.tolist()
        ([0.25, 0.5, 1.0], [0.0, 0.5, 0.25])
    """
    values = as_scores(scores, "scores")
    mistakes = values[_as_mask(wrong, values, "wrong")]
    thresholds = np.unique(values)
    named, errors = (np.searchsorted(np.sort(each), thresholds, side="right") for each in (values, mistakes))
    return RiskCoverageCurve(thresholds, named / max(1, len(values)), errors / np.maximum(1, named))


def aurc(scores: Vectors, wrong: Vectors) -> float:
    """Area under the risk-coverage curve: mean over the samples of the risk at their own score; NaN without samples.

    Smaller is better. 0 is perfect; a score that knows nothing of the errors gives about the error rate. Source:
    Geifman, Uziel and El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, ICLR 2019, equation 2.
    Arguments and errors as in `risk_coverage_curve`.

    Example:
        >>> aurc(np.array([0.1, 0.2, 0.6, 0.6]), np.array([False, True, False, False]))  # (0 + 1/2 + 1/4 + 1/4) / 4
        0.25
    """
    curve = risk_coverage_curve(scores, wrong)
    return float(curve.risk @ np.diff(curve.coverage, prepend=0.0)) if len(curve.risk) else float("nan")


def _as_mask(values: Vectors, scores: Scores, name: str) -> Mask:
    """Booleans (N,), one per score."""
    mask = to_numpy(values)
    if mask.dtype != np.bool_ or mask.shape != scores.shape:
        raise ValueError(f"{name} must be booleans of shape {scores.shape}, got {mask.dtype} {mask.shape}.")
    return mask
