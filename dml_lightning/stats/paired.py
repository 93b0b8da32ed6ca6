"""Intervals and tests on independent units: Student's t, exact sign flips, Holm's correction.

Arms are compared within units (the same seed, the same fold), so any effect of a unit on both arms cancels. The test
flips the sign of each unit's difference: under the null hypothesis, that differences are symmetric about 0, all 2^n
patterns are equally likely (Fisher 1935), whatever the distribution. Demšar, JMLR 7, 2006, on comparing learners.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from dml_lightning.pairs.arrays import row_blocks
from dml_lightning.types import Floats

EXACT = 16  # units up to which all 2^n sign patterns are tried
DRAWS = 2**16 - 1  # patterns drawn for more units


def t_interval(values: NDArray[Any], level: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper end of Student's interval of the mean over axis 0.

    Args:
        values: Values (n, ...) of independent units, or their paired differences; n of 2 or more.
        level: Coverage for normal values.

    Returns:
        Two arrays of shape (...).

    Example:
        >>> low, high = t_interval(np.array([1.0, 2.0, 3.0]))
        >>> round(float(low), 3), round(float(high), 3)
        (-0.484, 4.484)
    """
    units = np.asarray(values, dtype=float)
    mean, error = units.mean(axis=0), standard_error(units)
    half = stdtrit(len(units) - 1, (1 + level) / 2) * error
    return mean - half, mean + half


def standard_error(units: NDArray[Any]) -> Floats:
    """Standard error (...) of the mean of n values (n, ...), n of 2 or more.

    Example:
        >>> standard_error(np.array([1.0, 2.0, 3.0])).round(3)
        np.float64(0.577)
    """
    return np.asarray(units.std(axis=0, ddof=1) / np.sqrt(len(units)))


def sign_flip_p(differences: NDArray[Any], seed: int = 0, rounding: float | NDArray[Any] = 0.0) -> Floats:
    """Two-sided p-value of each column: the share of sign patterns with a sum as far from 0 as the observed one.

    Exact for up to `EXACT` units; for more, `DRAWS` patterns are drawn and the observed one is counted with them, so
    that the level holds (Phipson and Smyth, 2010). No p-value is below `smallest_p`.

    Args:
        differences: Paired differences (n, m) of m comparisons.
        seed: Seed of the patterns drawn.
        rounding: Largest effect of rounding on a sum, one number or (m,): sums that close to the observed one count as
            equal to it, or every tie would be broken at random.

    Returns:
        p-values (m,).

    Example:
        >>> sign_flip_p(np.array([[0.1], [0.2], [0.3]]))  # 2 of 8 patterns
        array([0.25])
    """
    units = np.asarray(differences, dtype=float)
    n, m = units.shape
    exact = n <= EXACT
    if exact:  # a pattern and its opposite are equally far: the last sign stays +
        flips = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1  # (2^(n-1), n)
    else:
        flips = np.random.default_rng(seed).integers(2, size=(DRAWS, n), dtype=np.int8)
    far = np.abs(units.sum(axis=0)) - 1e-12 * np.abs(units).sum(axis=0) - rounding
    count = np.zeros(m)
    for rows in row_blocks(len(flips), m):
        count += (np.abs((1.0 - 2.0 * flips[rows]) @ units) >= far).sum(axis=0)
    return count / len(flips) if exact else (count + 1) / (DRAWS + 1)


def smallest_p(units: int) -> float:
    """Smallest p-value that `sign_flip_p` can give for n units, 2/2^n: all differences have one sign.

    Example:
        >>> smallest_p(5)
        0.0625
    """
    return max(math.ldexp(2.0, -units), 1 / (DRAWS + 1) if units > EXACT else 0.0)


def units_needed(alpha: float = 0.05, comparisons: int = 1) -> int:
    """Fewest units n with which the smallest of m `comparisons`' p-values can pass Holm: 2/2^n <= alpha/m.

    Example:
        >>> units_needed(alpha=0.05), units_needed(alpha=0.05, comparisons=3)
        (6, 7)
    """
    return max(2, math.ceil(math.log2(2 * comparisons / alpha)))


def holm(p_values: NDArray[Any]) -> Floats:
    """Holm's adjusted p-values over the last axis, (..., m) to (..., m).

    Rejecting those at most alpha keeps the chance of any false rejection at alpha or below, however the tests depend
    on each other: Holm, Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(2)
        array([0.03, 0.06, 0.06])
    """
    values = np.asarray(p_values, dtype=float)
    order = values.argsort(axis=-1)
    ranked = np.take_along_axis(values, order, axis=-1) * np.arange(values.shape[-1], 0, -1)
    adjusted = np.empty_like(values)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(ranked, axis=-1).clip(max=1), axis=-1)
    return adjusted


def family_level(level: float, comparisons: int) -> float:
    """Level of each interval such that `comparisons` of them hold together with probability `level`.

    This is Bonferroni's correction. Intervals that follow Holm step by step would only exclude 0 for an arm that
    is rejected while another is not (Guilbaud, Biometrical Journal 50, 2008), and intervals by flipping the signs of
    centred differences cover too little with a handful of units.

    Example:
        >>> round(family_level(0.95, comparisons=5), 4)
        0.99
    """
    return 1 - (1 - level) / comparisons
