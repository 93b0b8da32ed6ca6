"""Drift test: do the known birds of a new flight score like those of the calibration flights?

Crops of one flight resemble each other, so a test whose unit is the crop, like that of Kolmogorov and Smirnov, finds a
difference between any two flights. Here the unit is the flight: its mean score is compared with those of the
calibration flights.

Let x_1..x_F be the mean scores of the calibration flights, m their mean and s their standard deviation, and let means
of flights be normal. For the mean x of one more flight, t = (x - m) / sqrt(s² (1 + 1/F) + e) then follows Student's
distribution with F - 1 degrees of freedom. e allows for a flight of few boxes n: the variance within flights times the
excess of 1/n over its average in the calibration flights, if above 0.

New flights show unknown things too, most of them beyond the threshold, so scores up to the threshold are compared, on
both sides. In the strongest drift hardly any is left. A flight of which all but a few boxes lie beyond the threshold is
therefore compared by the mean of *all* its scores with those of all calibration crops; only then, and only upwards.

So a flight without drift gives an alarm in three ways: the mean within the threshold is too low, or too high, or nearly
all boxes are refused and the mean of all is too high. Its p-value is three times the one-sided one of its way, and the
chance of an alarm at most the level. p-values of several flights are adjusted after Holm; every flight with enough
boxes for a test counts, whether its boxes then allowed one or not. A test on the share of refused boxes does not hold
its level: of most calibration flights hardly a box is refused, so that their shares do not show how flights differ.

In `benchmarks/drift_level.py` 5 % stay 5 % for flights of 5 to 100 boxes, tables of 20 flights, 3 to 20 calibration
flights and an intra-flight correlation of up to 0.5. Strongly skewed means of flights are not normal.
"""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from dml_lightning.metrics.ood import Scores
from dml_lightning.stats import paired

FEWEST_BOXES = 5  # smallest number of boxes for the mean of a flight


@dataclass(frozen=True)
class FlightDrift:
    """Comparison of one new flight with the calibration flights; scores are distances to the nearest prototype."""

    flight: str
    boxes: int  # number of all boxes
    used: int  # number of boxes within the threshold, or of all without a cut
    refused: float  # share of all boxes above the threshold
    shift: float  # mean of the scores that are compared minus the calibration flights' mean
    low: float  # lower limit of the shift that passes for chance, as if the flight were the only one; NaN without one
    high: float  # upper limit
    ks: float  # Kolmogorov-Smirnov statistic of the two distributions of scores, as a description
    p: float  # NaN with too few boxes for a test
    p_holm: float  # adjusted for the number of flights
    drifted: bool  # p_holm <= level
    note: str = ""  # why there is no p-value, or that nearly all boxes lie beyond the threshold


def flight_drift(
    calibration: Scores,
    owners: NDArray[np.int64],
    scores: Scores,
    flights: NDArray[np.str_],
    threshold: float = float("inf"),
    level: float = 0.05,
    cut: bool = True,
) -> list[FlightDrift]:
    """Compare each new flight with the calibration flights.

    A new flight also has boxes of no known class, most of them beyond the threshold. So with `cut` only scores up to
    the threshold are compared, on both sides, which treats known birds alike. Unknown boxes within the threshold
    remain and raise the mean, as a change of the species' shares may.

    Args:
        calibration: Scores (n,) of held-out known crops.
        owners: Flights (n,) of these crops, as integers.
        scores: Scores (N,) of the boxes of new flights.
        flights: Flights (N,) of these boxes.
        threshold: Threshold above which a score is refused.
        level: Probability of at least one false alarm over all flights.
        cut: Whether to leave out refused scores; False where all boxes are of known classes.

    Returns:
        One entry per flight, in the order of their names.

    Raises:
        ValueError: If fewer than three calibration flights have `FEWEST_BOXES` scores to compare.

    Example:
        >>> calibration, owners = np.repeat([0.9, 1.0, 1.1], 5), np.repeat([0, 1, 2], 5)
        >>> flight = flight_drift(calibration, owners, np.full(5, 2.0), np.full(5, "new"))[0]
        >>> round(flight.shift, 3), round(flight.p, 3), flight.drifted
        (1.0, 0.013, True)
    """
    limit = threshold if cut else float("inf")
    kept = calibration <= limit
    within, whole = _means(calibration[kept], owners[kept]), _means(calibration, owners)
    if len(within.means) < 3:
        raise ValueError(
            f"the calibration has {len(within.means)} flight(s) with {FEWEST_BOXES} crops or more, and how much "
            "flights differ needs three: give the calibration split more flights, or recalibrate on crops of several."
        )
    ways = 3 if np.isfinite(limit) else 2  # in which a flight without drift can give an alarm
    rows = []
    for flight in np.unique(flights):
        own = scores[flights == flight]
        used = own[own <= limit]
        if len(used) >= FEWEST_BOXES:
            result = within.compare(used, ways, level)
        elif len(own) - len(used) >= FEWEST_BOXES:
            result = whole.compare(own, ways, level, upwards=True)
        else:
            result = (float("nan"),) * 5
        rows.append((str(flight), len(own), len(used), float((own > threshold).mean()), *result))
    tested = np.array([row[1] >= FEWEST_BOXES for row in rows], dtype=bool)
    adjusted = _holm_of_tested(np.array([row[-1] for row in rows]), tested)
    return [
        FlightDrift(*row, float(each), bool(each <= level), _note(row[1], row[2], bool(each <= level)))
        for row, each in zip(rows, adjusted, strict=True)
    ]


def nothing_to_compare(flight: str, frames: int) -> FlightDrift:
    """The entry of a flight without a box that could be of a class trained on.

    Args:
        flight: Name of the flight.
        frames: Number of its frames that were used.

    Example:
        >>> nothing_to_compare("dusk", 12).note
        'no box to compare in its 12 frames'
    """
    none = float("nan")
    note = f"no box to compare in its {frames} frames"
    return FlightDrift(flight, 0, 0, none, none, none, none, none, none, none, drifted=False, note=note)


def drift_text(results: list[FlightDrift], flights: int, alpha: float) -> str:
    """The table of a drift test with its notes and how to read it.

    Args:
        results: Results, with at least one flight.
        flights: Number of calibration flights.
        alpha: Share of known birds that rule C refuses on average.
    """
    columns = ["flight", "boxes", "used", "refused", "shift", "low", "high", "ks", "p", "p_holm", "drifted"]
    table = pd.DataFrame([asdict(each) for each in results])[columns]
    notes = [f"{each.flight}: {each.note}." for each in results if each.note]
    legend = (
        f"shift: of the flight's mean score from that of {flights} calibration flights; low to high pass for chance of "
        "one flight, and\np_holm allows for all of them. refused: share above rule C's threshold, of known birds "
        f"{alpha:g} on average; it grows with boxes\nthat show no known species, and is not tested by itself."
    )
    return "\n".join([table.to_string(index=False, float_format="%.3g"), *notes, legend])


def _note(boxes: int, used: int, drifted: bool) -> str:
    """What to say of a flight that has no test, or that of nearly all boxes beyond the threshold."""
    if used >= FEWEST_BOXES:
        return ""
    if boxes - used < FEWEST_BOXES:
        return f"{used} boxes to compare are too few: {FEWEST_BOXES} are needed"
    verdict = "drifted, or no known birds" if drifted else "look at them, as so few calibration flights tell too little"
    return f"all but {used} of its boxes lie beyond the threshold: {verdict}"


def _holm_of_tested(p_values: Scores, tested: NDArray[np.bool_]) -> Scores:
    """p-values (N,) adjusted after Holm for the flights (N,) that count as tests; NaN stay NaN.

    A flight that counts and has no p-value gives no alarm, which is part of the chance of one.

    Example:
        >>> _holm_of_tested(np.array([0.01, np.nan, 0.04]), np.array([True, False, True]))
        array([0.02,  nan, 0.04])
    """
    adjusted = np.full(len(p_values), np.nan)
    adjusted[tested] = paired.holm(np.where(np.isnan(p_values[tested]), 1.0, p_values[tested]))
    adjusted[np.isnan(p_values)] = np.nan
    return adjusted


@dataclass(frozen=True)
class _Means:
    """Calibration flights with enough scores."""

    scores: Scores  # (n,) of all flights
    means: Scores  # (F,) by flight
    sizes: NDArray[np.int64]  # (F,) number of scores by flight
    variance: float  # within flights

    def compare(
        self, scores: Scores, ways: int, level: float, upwards: bool = False
    ) -> tuple[float, float, float, float, float]:
        """Shift of the mean of a new flight's scores (n,), its limits at `level`, Kolmogorov's statistic and p.

        Args:
            scores: Scores (n,) of the new flight.
            ways: Number of one-sided tests of the flight, by which p is multiplied.
            level: Probability of an alarm of one flight over all ways.
            upwards: Whether only a higher mean counts.
        """
        freedom, count = len(self.means) - 1, len(self.means)
        more = self.variance * max(0.0, 1 / len(scores) - (1 / self.sizes).mean())
        error = max(np.sqrt(self.means.var(ddof=1) * (1 + 1 / count) + more), np.finfo(float).tiny)
        shift = float(scores.mean() - self.means.mean())
        width = float(-stdtrit(freedom, level / ways) * error)
        p = min(1.0, ways * float(stdtr(freedom, -(shift if upwards else abs(shift)) / error)))
        return shift, float("nan") if upwards else -width, width, _largest_gap(scores, self.scores), p


def _largest_gap(first: Scores, second: Scores) -> float:
    """Statistic of Kolmogorov and Smirnov: largest gap of two empirical distributions, of scores (n,) and (m,).

    Example:
        >>> _largest_gap(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
        0.5
    """
    every = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(own), every, side="right") / len(own) for own in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


def _means(scores: Scores, owners: NDArray[np.int64]) -> _Means:
    """The calibration flights (n,) of scores (n,) that have enough of them."""
    names, numbers, sizes = np.unique(owners, return_inverse=True, return_counts=True)
    means = np.bincount(numbers, scores, minlength=len(names)) / np.maximum(sizes, 1)
    squares = float(((scores - means[numbers]) ** 2).sum())
    large = sizes >= FEWEST_BOXES
    return _Means(scores, means[large], sizes[large], squares / max(1, len(scores) - len(names)))
