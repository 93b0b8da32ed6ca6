"""Calibration of a classifier's probabilities: negative log-likelihood, calibration errors, and a temperature.

The calibration error of Naeini, Cooper and Hauskrecht (AAAI 2015) compares, bin by bin, the mean probability of the
named class with the share named right. Bins are of equal width: [0, 1/B), ..., [1 - 1/B, 1]. It is biased upwards with
few samples in a bin, the more so the more bins there are. The classwise error (Kull et al., NeurIPS 2019) does the same
for the probability of each class, and takes the mean over classes. Temperature scaling (Guo et al., ICML 2017) divides
the logits by one number, which changes no name.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from dml_lightning.pairs.blocks import Vectors, to_numpy

BINS = 15
LOWEST, HIGHEST = (
    0.01,
    100.0,
)  # bounds of a temperature, which has no minimum where all samples are named right or wrong
Floats = NDArray[np.float64]


def probabilities(logits: Vectors, temperature: float = 1.0) -> Floats:
    """Softmax probabilities (N, C) of logits (N, C) divided by a temperature.

    Example:
        >>> probabilities(np.array([[0.0, np.log(3.0)]])).round(2).tolist()
        [[0.25, 0.75]]
    """
    return np.asarray(softmax(to_numpy(logits).astype(np.float64) / temperature, axis=1))


def negative_log_likelihood(logits: Vectors, labels: Vectors, temperature: float = 1.0) -> float:
    """Mean of -log of the true class's probability, from logits (N, C) and labels (N,); NaN without samples.

    Example:
        >>> round(negative_log_likelihood(np.array([[0.0, 0.0]]), np.array([1])), 4)
        0.6931
    """
    scaled, owners = to_numpy(logits).astype(np.float64) / temperature, to_numpy(labels)
    if not len(owners):
        return float("nan")
    return float(-log_softmax(scaled, axis=1)[np.arange(len(owners)), owners].mean())


def calibration_error(shares: Vectors, labels: Vectors, bins: int = BINS) -> float:
    """Expected calibration error of the named class; NaN without samples.

    Args:
        shares: Probabilities (N, C).
        labels: True classes (N,).
        bins: Number B of bins of equal width.

    Raises:
        ValueError: If there is no bin, or probabilities and labels do not fit.

    Example:
        >>> round(calibration_error(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])), 2)
        0.3
    """
    given, owners = _checked(shares, labels, bins)
    return _error(given.max(axis=1), given.argmax(axis=1) == owners, bins) if len(owners) else float("nan")


def classwise_calibration_error(shares: Vectors, labels: Vectors, bins: int = BINS) -> float:
    """Mean over all classes of the calibration error of the class's probability; NaN without samples.

    Args:
        shares: Probabilities (N, C).
        labels: True classes (N,).
        bins: Number B of bins of equal width, for each class.

    Raises:
        ValueError: If there is no bin, or probabilities and labels do not fit.

    Example:
        >>> round(classwise_calibration_error(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])), 2)
        0.3
    """
    given, owners = _checked(shares, labels, bins)
    if not len(owners):
        return float("nan")
    return float(np.mean([_error(column, owners == number, bins) for number, column in enumerate(given.T)]))


def fit_temperature(logits: Vectors, labels: Vectors) -> float:
    """Temperature of the smallest negative log-likelihood, between 0.01 and 100.

    The log-likelihood is a concave function of 1 / temperature, so that there is one minimum. Where every sample is
    named right it lies at 0, and the result is so small that the loss is 0.

    Args:
        logits: Logits (N, C) of held-out samples.
        labels: True classes (N,).

    Raises:
        ValueError: If there is no sample, or a logit is not finite.

    Example:
        >>> logits = np.array([[2.0, 0.0]] * 3 + [[0.0, 2.0]])
        >>> round(fit_temperature(logits, np.array([0, 0, 1, 1])), 2)  # 3 of 4 right: 2 / log 3
        1.82
    """
    values = to_numpy(logits).astype(np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a temperature needs finite logits of held-out samples, got {len(values)} rows.")

    def loss(logarithm: float) -> float:
        return negative_log_likelihood(values, labels, float(np.exp(logarithm)))

    bounds = (np.log(LOWEST), np.log(HIGHEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x))


def _checked(shares: Vectors, labels: Vectors, bins: int) -> tuple[Floats, NDArray[np.int64]]:
    given, owners = to_numpy(shares).astype(np.float64), to_numpy(labels)
    if bins < 1:
        raise ValueError(f"a calibration error needs at least one bin, got {bins}.")
    if given.ndim != 2 or len(given) != len(owners):
        raise ValueError(f"probabilities must be ({len(owners)}, C), got {given.shape}.")
    if len(given) and not (np.isfinite(given).all() and given.min() >= 0 and given.max() <= 1 + 1e-6):
        raise ValueError("probabilities must lie from 0 to 1; give those of a softmax, not logits.")
    return given, owners


def _error(confidence: Floats, right: NDArray[np.bool_], bins: int) -> float:
    """Sum over bins of |sum of confidences - number right| / N."""
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1)
    gap = np.bincount(place, confidence, minlength=bins) - np.bincount(place, right, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))
