"""Number of boxes of each species in a flight, corrected by the confusion matrix, with intervals.

A box of class r gets the answer k with probability M_rk, so that answers y have the mean N M for true counts N. The
adjusted counts y A, where A is the inverse of M, are unbiased whatever the mixture of species (Gart and Buck, American
Journal of Epidemiology 83, 1966), also where all boxes are of one species. They may be negative. Therefore:

- The corrected counts are the most likely ones among those that are not negative and sum to the number of boxes, by the
  EM of Saerens, Latinne and Decaestecker (Neural Computation 14, 2002).
- The interval of one class inverts a test. It holds each whole number v that the adjusted count does not contradict:
  under the hypothesis that the flight has v boxes of the class, and the others in the proportions that fit best, mean,
  variance and skewness of the adjusted count follow, and v is kept where the adjusted count lies between two quantiles
  of Pearson's type III distribution of these moments. At the borders, 0 and all boxes, the interval ends, and holds.

The moments have two sources. The answers of a flight scatter more than those of independent boxes, since a flight's own
confusion differs from the mean: the Dirichlet-multinomial distribution with the correlation that the held-out flights
show. And M is estimated from few flights, by an error that all flights to count share; its part of a sum over flights
grows like the square of the sum. Quantiles are widened by Student's factor for the degrees of freedom of the
correlation, and half a box allows for counts being whole.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dml_lightning.flights.confusion import Confusion
from dml_lightning.flights.false_boxes import FalseBoxes, Subtracted, subtract
from dml_lightning.metrics.bootstrap import FEWEST_UNITS
from dml_lightning.types import Floats

EM_STEPS = 150  # of two steps and an extrapolation
LONGEST_STEP = 1000.0  # of the extrapolation of EM
BISECTIONS = 20  # the last step is 1e-6 of the boxes
ROUNDING = 1e-4  # boxes
ALIKE = 0.05  # share of a class's boxes that the adjusted count of another may hold
CONTINUITY = 0.5  # boxes
SMALLEST_SINGULAR = 0.05  # of M, relative to its largest: what distinguishes classes by less is taken as unknown
SKEWNESS = np.linspace(-10, 10, 2001)  # at which quantiles are tabulated
TINY = 1e-9  # keeps shares of other classes defined where a flight has none


@dataclass(frozen=True, eq=False)
class Corrected:
    """True counts of flights, one row each.

    Example:
        >>> Corrected(np.array([[3.2, 6.8]]), np.array([[1.0, 4.0]]), np.array([[6.0, 9.0]])).counts
        array([[3.2, 6.8]])
    """

    counts: Floats  # (G, R) most likely counts; a row sums to the flight's boxes
    low: Floats  # (G, R) smallest whole number that the answers do not contradict
    high: Floats  # (G, R) largest


class Spread(NamedTuple):
    """Concentration of the boxes that are counted together on flights, by class: 1 for a single flight."""

    second: Floats  # (R,) sum over flights of the squared counts, relative to the squared sum
    third: Floats  # (R,) the same of the cubes


ONE_FLIGHT = Spread(np.ones(1), np.ones(1))


class Correction:
    """Corrects counts by a confusion matrix.

    Args:
        confusion: Answers (K of them) to crops of R classes of held-out flights.
        level: Probability that an interval holds a true count.

    Example:
        >>> crops = np.repeat([[[90.0, 10.0], [20.0, 80.0]]], 6, axis=0)  # six flights that answer alike
        >>> confusion = Confusion(["teal", "other"], ["teal", "unknown"], crops, list("abcdef"))
        >>> result = Correction(confusion).flights(np.array([[62, 38]]))
        >>> result.counts.round(), result.low, result.high
        (array([[60., 40.]]), array([[44., 25.]]), array([[75., 56.]]))
    """

    def __init__(self, confusion: Confusion, level: float = 0.95) -> None:
        self.confusion, self.means = confusion, confusion.shares  # (R, K)
        self.correlation = confusion.correlation
        self.errors = confusion.errors
        self.inverse: Floats = np.linalg.pinv(self.means.T, rcond=SMALLEST_SINGULAR).astype(np.float64)  # (R, K)
        products = self.inverse @ self.means.T  # (R, S): mean of r's adjusted count, for one box of s
        self.bias = products - np.eye(len(products))  # not 0 where classes are too alike to tell apart
        deviations = self.inverse[:, None, :] - products[:, :, None]  # (R, S, K)
        self.second = np.einsum("sk,rsk->rs", self.means, deviations**2)
        self.third = np.einsum("sk,rsk->rs", self.means, deviations**3)
        self.tails = (1 - level) / 2, (1 + level) / 2
        self.widening = self.widened(confusion.freedom)

    def widened(self, freedom: float) -> float:
        """Student's factor: how much wider an interval is whose variance has so many degrees of freedom."""
        return float(stats.t.ppf(self.tails[1], max(1, freedom)) / stats.norm.ppf(self.tails[1]))

    def flights(
        self, answers: NDArray[np.int64], false: FalseBoxes | None = None, frames: Floats | None = None
    ) -> Corrected:
        """Corrects each flight on its own.

        Args:
            answers: Number (G, K) of boxes of each flight by answer, in the order of the confusion's columns.
            false: False boxes of the detector; None if there are none.
            frames: Number (G,) of frames of each flight, needed with `false`.
        """
        subtracted = subtract(answers, false, frames)
        return self._corrected(subtracted, ONE_FLIGHT)

    def together(
        self,
        answers: NDArray[np.int64],
        false: FalseBoxes | None = None,
        frames: Floats | None = None,
        each: Corrected | None = None,
    ) -> Corrected:
        """Corrects the sum over flights, a single row: the error of the matrix, which they share, does not level out.

        Args:
            answers: Number (G, K) of boxes of each flight by answer.
            false: False boxes of the detector; None if there are none.
            frames: Number (G,) of frames of each flight, needed with `false`.
            each: Result of `flights` for the same flights, where it is there already.
        """
        subtracted = subtract(answers, false, frames)
        counts = most_likely(subtracted.positive, self.means) if each is None else each.counts
        total = np.maximum(counts.sum(axis=0), TINY)
        spread = Spread((counts**2).sum(axis=0) / total**2, (counts**3).sum(axis=0) / total**3)
        return self._corrected(subtracted.summed(), spread)

    @property
    def limits(self) -> Literal["interval", "range"]:
        """What `low` and `high` of a result are: a range has no probability."""
        enough = self.confusion.units >= FEWEST_UNITS and np.isfinite(self.correlation)
        return "interval" if enough else "range"

    @property
    def alike(self) -> list[list[str]]:
        """Names of classes that the answers do not tell apart, by group; an interval of one holds any split."""
        groups: list[list[str]] = []
        for shared in np.abs(self.bias) > ALIKE:
            names = [self.confusion.rows[s] for s in np.flatnonzero(shared)]
            if len(names) > 1 and names not in groups:
                groups.append(names)
        return groups

    def _corrected(self, subtracted: Subtracted, spread: Spread) -> Corrected:
        counts = most_likely(subtracted.positive, self.means)
        if self.limits == "range":
            each = [most_likely(subtracted.positive, means) for means in self.confusion.shares_by_flight]
            return Corrected(counts, np.min([counts, *each], axis=0), np.max([counts, *each], axis=0))
        test, boxes = _Test(self, subtracted, counts, spread), subtracted.boxes[:, None] + np.zeros_like(counts)
        low, high = test.furthest(np.zeros_like(counts), upward=False), test.furthest(boxes, upward=True)
        low = np.maximum(np.minimum(np.ceil(low - ROUNDING), np.floor(counts + ROUNDING)), 0)
        high = np.maximum(np.maximum(np.floor(high + ROUNDING), np.ceil(counts - ROUNDING)), low)
        return Corrected(counts, low, high)


def most_likely(answers: Floats, means: Floats) -> Floats:
    """Counts of the largest likelihood, by EM.

    Args:
        answers: Number (G, K) of boxes of each flight by answer, none below 0.
        means: Probability (R, K) of each answer for each class.

    Returns:
        Counts (G, R), whose rows sum to those of the answers.

    Example:
        >>> most_likely(np.array([[62.0, 38.0]]), np.array([[0.9, 0.1], [0.2, 0.8]])).round(3)
        array([[60., 40.]])
    """
    boxes = answers.sum(axis=1, keepdims=True)
    shares = np.full((len(answers), len(means)), 1 / len(means))
    for _ in range(EM_STEPS):
        first = _em_step(answers, shares, means)
        second = _em_step(answers, first, means)
        shares = _better(answers, second, _extrapolated(shares, first, second), means)
    counts: Floats = shares * boxes
    return counts


def _em_step(answers: Floats, shares: Floats, means: Floats) -> Floats:
    """Shares (G, R) of the classes after one more step of the EM."""
    ratio = answers / np.maximum(shares @ means, np.finfo(float).tiny)
    return np.asarray(shares * (ratio @ means.T) / np.maximum(answers.sum(axis=1, keepdims=True), TINY))


def _extrapolated(shares: Floats, first: Floats, second: Floats) -> Floats:
    """Shares (G, R) where three steps in a row lead (SQUAREM of Varadhan and Roland, Scand. J. Stat. 35, 2008).

    On the logarithms, so that none is negative. EM alone needs thousands of steps where a class is near 0.
    """
    begin, middle, end = (np.log(np.maximum(each, np.finfo(float).tiny)) for each in (shares, first, second))
    change, bend = middle - begin, end - 2 * middle + begin
    norms = [np.sqrt((each**2).sum(axis=1, keepdims=True)) for each in (change, bend)]
    step = np.clip(norms[0] / np.maximum(norms[1], TINY), 1, LONGEST_STEP)
    led = begin + 2 * step * change + step**2 * bend
    led = np.exp(led - led.max(axis=1, keepdims=True))
    return np.asarray(led / led.sum(axis=1, keepdims=True))


def _better(answers: Floats, one: Floats, other: Floats, means: Floats) -> Floats:
    """Of two shares (G, R), those of the larger likelihood, flight by flight; the first if the second has none."""
    fits = [(answers * np.log(np.maximum(each @ means, np.finfo(float).tiny))).sum(axis=1) for each in (one, other)]
    return np.where((fits[1] >= fits[0])[:, None], other, one)


class _Test:
    """Tests the hypotheses that a flight, or a sum of flights, has v boxes of a class; v (G, R) for all at once."""

    def __init__(self, correction: Correction, subtracted: Subtracted, counts: Floats, spread: Spread) -> None:
        self.counts, self.total = counts, counts.sum(axis=1, keepdims=True)
        self.adjusted = subtracted.remaining @ correction.inverse.T
        self.tails, self.widening = correction.tails, correction.widening
        self.noise = subtracted.variance(correction.inverse)  # (G, R) of the false boxes
        if subtracted.false is not None:  # their variance has degrees of freedom of its own
            self.noise *= (correction.widened(subtracted.false.freedom) / self.widening) ** 2
        off = 1 - np.eye(counts.shape[1])
        shares = counts + TINY
        self.others = shares @ off  # (G, R) boxes of all other classes
        self.powers = _powers(correction, spread)
        self.own = [np.diag(kind) for kind in (correction.second, correction.third)]  # (R,) each
        self.rest = [
            [shares**power * part @ (kind * off).T for power, part in enumerate(parts, start=1)]
            for kind, parts in zip((correction.second, correction.third), self.powers, strict=True)
        ]
        bias = np.where(off > 0, correction.bias, np.nan)
        self.own_bias, self.least, self.most = np.diag(correction.bias), np.nanmin(bias, 1), np.nanmax(bias, 1)

    def moments(self, values: Floats) -> tuple[Floats, Floats]:
        """Variance and third central moment (G, R) of the adjusted counts, if a class has values (G, R) of the boxes.

        False boxes add to the variance alone.
        """
        scale = np.maximum(self.total - values, 0) / self.others
        variance, third = (
            own * sum(part * values**power for power, part in enumerate(parts, start=1))
            + sum(part * scale**power for power, part in enumerate(rest, start=1))
            for own, parts, rest in zip(self.own, self.powers, self.rest, strict=True)
        )
        return np.maximum(variance + self.noise, TINY), third

    def accepts(self, values: Floats, upward: bool) -> NDArray[np.bool_]:
        """Whether the adjusted counts do not contradict values (G, R) for being too high (upward) or too low."""
        variance, third = self.moments(values)
        error = np.sqrt(variance)
        limit = self.widening * error * quantile(third / error**3, self.tails[0 if upward else 1])
        others = np.maximum(self.total - values, 0)
        expected = values * (1 + self.own_bias) + others * (self.least if upward else self.most)
        if upward:
            return np.asarray(self.adjusted - expected + CONTINUITY >= limit)
        return np.asarray(self.adjusted - expected - CONTINUITY <= limit)

    def furthest(self, end: Floats, upward: bool) -> Floats:
        """The accepted values (G, R) that are nearest to `end`, by bisection from the most likely counts."""
        good, bad = np.where(self.accepts(end, upward), end, self.counts), end
        for _ in range(BISECTIONS):
            middle = (good + bad) / 2
            accepted = self.accepts(middle, upward)
            good, bad = np.where(accepted, middle, good), np.where(accepted, bad, middle)
        return good


def _powers(correction: Correction, spread: Spread) -> tuple[list[Floats], list[Floats]]:
    """Coefficients (R,) of N, N², N³ in variance and third central moment of the answers to N boxes of a class.

    For a single answer's moments of 1. The Dirichlet-multinomial has N (1 - ρ + N ρ) and
    N (1 - ρ + N ρ) (1 - ρ + 2 N ρ) / (1 + ρ); the errors of the matrix add to the highest powers, the third with the
    opposite sign, because the matrix is subtracted.
    """
    rho, errors, one = correction.correlation, correction.errors, np.ones_like(correction.errors.second)
    variance = [(1 - rho) * one, rho * spread.second + errors.second]
    cubes = [(1 - rho) ** 2 * one, 3 * rho * (1 - rho) * spread.second, 2 * rho**2 * spread.third]
    third = [part / (1 + rho) for part in cubes]
    return variance, [third[0], third[1], third[2] - errors.third]


def quantile(skewness: Floats, probability: float) -> Floats:
    """Quantile of Pearson's type III distribution of mean 0 and variance 1, interpolated, for skewness up to 10."""
    result: Floats = np.interp(skewness, SKEWNESS, _tabulated(probability)).astype(np.float64)
    return result


@cache
def _tabulated(probability: float) -> Floats:
    return np.array(stats.pearson3.ppf(probability, SKEWNESS), dtype=np.float64)
