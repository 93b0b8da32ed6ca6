"""Weighted split conformal: calibration crops count by how much they resemble those of the new flights.

Where new crops are drawn from another distribution of embeddings, and scores given an embedding are distributed as
before (covariate shift), each calibration crop counts with the ratio of the two densities at it. A fresh known crop is
then refused with probability at most alpha, on average, if the ratio is known up to a factor. An estimated ratio
promises that only as far as it is right, and a species whose scores change at a given embedding is no such shift.

Source: Tibshirani, Foygel Barber, Candès and Ramdas, Conformal Prediction Under Covariate Shift, NeurIPS 2019.

Letters: n calibration crops, N new crops, D embedding size.

>>> rng = np.random.default_rng(0)
>>> calibration, new = rng.normal(0, 1, (300, 2)), rng.normal(1, 1, (200, 2))
>>> weights = shift_weights(calibration, new)
>>> weights.effective_samples < 150, bool(weights.calibration[calibration.sum(1) > 1].mean() > 1)
(True, True)
>>> limits = weighted_thresholds(calibration[:, 0], weights.calibration, weights.new, alpha=0.1)  # of (N,) new crops
>>> limits.shape
(200,)
"""

from typing import NamedTuple

import numpy as np

from dml_lightning.metrics.ood import Scores, as_scores
from dml_lightning.openset.conformal import check_alpha
from dml_lightning.pairs.blocks import Vectors, as_vectors, check_widths

MOST_WEIGHT = 20.0  # largest ratio of densities, and the inverse of the smallest
FOLDS = 5


def weighted_thresholds(calibration_scores: Vectors, weights: Vectors, new_weights: Vectors, alpha: float) -> Scores:
    """Conformal threshold (N,) of each new crop: the weighted quantile of level 1 - alpha.

    Shares are of all weights and that of the new crop, which lies at infinity: where the calibration crops below every
    score do not make up 1 - alpha, the threshold is infinite and the crop is not refused. With equal weights it is
    `conformal_value`.

    Args:
        calibration_scores: Scores (n,) of held-out known crops.
        weights: Their weights (n,), at least 0, up to a factor that is that of `new_weights`.
        new_weights: Weights (N,) of the new crops.
        alpha: Largest share of known crops to refuse, on average.

    Raises:
        ValueError: If alpha is not in (0, 1), a weight is negative or not finite, all are 0, or shapes disagree.

    Example:
        >>> scores, weights = np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 4.0])
        >>> weighted_thresholds(scores, weights, np.array([1.0, 9.0]), alpha=0.5)
        array([ 3., inf])
    """
    check_alpha(alpha)
    scores, own, new = _checked(calibration_scores, weights, new_weights)
    order = scores.argsort(kind="stable")
    total = own[order].cumsum()  # (n,)
    target = (total[-1] + new) * (1 - alpha) - 1e-9  # 1e-9: as in the rank, in units of the largest weight
    limits: Scores = np.append(scores[order], np.inf)[np.searchsorted(total, target)]
    return limits


def weighted_p_values(calibration_scores: Vectors, weights: Vectors, scores: Vectors, new_weights: Vectors) -> Scores:
    """Conformal p-values (N,): the share of weight at or above the score, with that of the new crop itself.

    Refusing crops with p <= alpha is the same as refusing those above their threshold at alpha. With equal weights they
    are those of `p_values`.

    Args:
        calibration_scores: Scores (n,) of held-out known crops.
        weights: Their weights (n,), at least 0.
        scores: Scores (N,) of the new crops.
        new_weights: Their weights (N,).

    Raises:
        ValueError: If a weight is negative or not finite, all are 0, or shapes disagree.

    Example:
        >>> scores, weights = np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 4.0])
        >>> weighted_p_values(scores, weights, np.array([0.5, 3.0]), np.array([1.0, 2.0]))
        array([1.  , 0.75])
    """
    calibration, own, new = _checked(calibration_scores, weights, new_weights)
    judged = as_scores(scores, "scores")
    if judged.shape != new.shape:
        raise ValueError(f"there are {len(judged)} scores and {len(new)} new_weights: give one for each new crop.")
    order = calibration.argsort(kind="stable")
    above = np.append(own[order][::-1].cumsum()[::-1], 0.0)  # (n + 1,) weight from each place on
    at_or_above = above[np.searchsorted(calibration[order], judged, side="left")]
    return np.asarray((at_or_above + new) / (above[0] + new))


def effective_samples(weights: Vectors) -> float:
    """Kish's effective sample size, (sum of w)² / sum of w²: n for equal weights, 1 if a single one counts.

    Example:
        >>> effective_samples(np.array([2.0, 2.0, 0.0]))
        2.0
    """
    own = as_scores(weights, "weights")
    return float(own.sum() ** 2 / np.square(own).sum())


class ShiftWeights(NamedTuple):
    """Estimated ratios of the density of new crops to that of calibration crops."""

    calibration: Scores  # (n,)
    new: Scores  # (N,)
    effective_samples: float  # of the calibration's weights: a threshold at alpha wants well over 1 / alpha of them
    clipped: float  # share of all crops whose ratio was beyond the limits


def shift_weights(
    calibration: Vectors, new: Vectors, *, most: float = MOST_WEIGHT, folds: int = FOLDS, seed: int = 0
) -> ShiftWeights:
    """Weights of calibration and new crops, from a logistic regression that tells their embeddings apart.

    The odds that a crop is new, times n / N, estimate the ratio of densities. The odds of each crop are by a regression
    on the other folds, with embeddings scaled to unit variance and an L2 penalty of 1, because a regression that has
    seen a crop tells it apart too well. Labels of the new crops are not needed; crops that are no birds shift the
    weights, too.

    Args:
        calibration: Embeddings (n, D) of the calibration crops.
        new: Embeddings (N, D) of the crops of new flights, of the same encoder.
        most: Largest ratio, and the inverse of the smallest; ratios beyond are clipped, which costs the promise where
            they are right.
        folds: Number of folds.
        seed: Seed of the folds.

    Raises:
        ValueError: If there are fewer crops of a kind than folds, `most` is not above 1, embedding sizes disagree, or
            an embedding is not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    old_rows, new_rows = as_vectors(calibration, "calibration"), as_vectors(new, "new")
    check_widths(new_rows, old_rows)
    if not most > 1:
        raise ValueError(f"most must be above 1, got {most}.")
    if min(len(old_rows), len(new_rows)) < folds:
        raise ValueError(
            f"there are {len(old_rows)} calibration and {len(new_rows)} new crops: weights by {folds} folds need at "
            f"least {folds} of each."
        )
    rows = np.concatenate([old_rows.double().cpu().numpy(), new_rows.double().cpu().numpy()])
    is_new = np.repeat([0, 1], [len(old_rows), len(new_rows)])
    odds = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        rows,
        is_new,
        cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
        method="decision_function",
    )
    ratios = odds + np.log(len(old_rows) / len(new_rows))  # logarithms
    limit = np.log(most)
    weights = np.exp(ratios.clip(-limit, limit))
    own, fresh = weights[is_new == 0], weights[is_new == 1]
    return ShiftWeights(own, fresh, effective_samples(own), float((np.abs(ratios) > limit).mean()))


def _checked(scores: Vectors, weights: Vectors, new_weights: Vectors) -> tuple[Scores, Scores, Scores]:
    """Scores (n,), and weights (n,) and (N,) in units of the largest one: equal weights are then 1 exactly."""
    own, new = as_scores(weights, "weights"), as_scores(new_weights, "new_weights")
    calibration = as_scores(scores, "calibration_scores")
    if calibration.shape != own.shape:
        raise ValueError(f"there are {len(calibration)} calibration_scores and {len(own)} weights: give one for each.")
    for name, values in (("weights", own), ("new_weights", new)):
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(f"{name} must be finite and at least 0.")
    if not own.any():
        raise ValueError("weights must not all be 0: no calibration crop resembles the new ones.")
    return calibration, own / own.max(), new / own.max()
