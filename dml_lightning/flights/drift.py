"""Drift test: do the known birds of a new flight score like those of the calibration flights?

Crops of one flight resemble each other, so a test whose unit is the crop, like that of Kolmogorov and Smirnov, finds a
difference between any two flights. Here the unit is the flight: its mean score is compared with those of the
calibration flights.

Let x_1..x_F be the mean scores of the calibration flights, m their mean and s their standard deviation, and let means
of flights be normal. For the mean x of one more flight, t = (x - m) / sqrt(s² (1 + 1/F) + e) then follows Student's
distribution with F - 1 degrees of freedom. e allows for a flight of few boxes n: the variance within flights times the
excess of 1/n over its average in the calibration flights, if above 0. p-values of several flights are adjusted after
Holm.

In the strongest drift hardly any score is left to compare: a flight with nearly all boxes beyond the threshold is
called drifted without a test.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp, t

from dml_lightning.metrics.ood import Scores
from dml_lightning.stats import paired

FEWEST_BOXES = 5  # smallest number of boxes for the mean of a flight


@dataclass(frozen=True)
class FlightDrift:
    """Comparison of one new flight with the calibration flights; scores are distances to the nearest prototype."""

    flight: str
    boxes: int  # number of all boxes
    used: int  # number of boxes whose scores are compared
    refused: float  # share of all boxes above the threshold
    shift: float  # mean score minus the calibration flights' mean
    low: float  # lower limit of the shift of a flight without drift, at 1 - level
    high: float  # upper limit
    ks: float  # Kolmogorov-Smirnov statistic of the two distributions of scores, as a description
    p: float  # NaN with fewer than FEWEST_BOXES that are used
    p_holm: float  # adjusted for the number of flights
    drifted: bool  # p_holm <= level, or nearly all boxes beyond the threshold
    note: str = ""  # why there is no p-value


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
    means, sizes, within = _flights(calibration[kept], owners[kept])
    if len(means) < 3:
        raise ValueError(
            f"the calibration has {len(means)} flight(s) with {FEWEST_BOXES} crops or more, and how much flights "
            "differ needs three: give the calibration split more flights, or recalibrate on crops of several."
        )
    spread = means.var(ddof=1)
    centre, quantile = means.mean(), t.ppf(1 - level / 2, len(means) - 1)
    rows = []
    for flight in np.unique(flights):
        own = scores[flights == flight]
        used = own[own <= limit]
        enough = len(used) >= FEWEST_BOXES
        more = within * max(0.0, 1 / len(used) - (1 / sizes).mean()) if enough else 0.0
        error = np.sqrt(spread * (1 + 1 / len(means)) + more)
        shift = used.mean() - centre if enough else np.nan
        p = 2 * t.sf(abs(shift) / max(error, np.finfo(float).tiny), len(means) - 1)
        gap = ks_2samp(used, calibration[kept]).statistic if enough else np.nan
        refused = float((own > threshold).mean())
        width = float(quantile * error)
        rows.append((str(flight), len(own), len(used), refused, float(shift), -width, width, float(gap), float(p)))
    adjusted = holm_of_tested(np.array([row[-1] for row in rows]))
    return [
        FlightDrift(*row, float(each), *_verdict(row[1], row[2], float(each), level))
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


def _verdict(boxes: int, used: int, p: float, level: float) -> tuple[bool, str]:
    """Whether a flight drifted; without a p-value also the reason, as a sentence.

    At least FEWEST_BOXES boxes beyond the threshold and fewer within it are the majority of any flight.
    """
    if used >= FEWEST_BOXES:
        return p <= level, ""
    if boxes - used >= FEWEST_BOXES:
        return (True, f"all but {used} of its boxes lie beyond the threshold: drifted, or no known birds")
    return False, f"{used} boxes to compare are too few: {FEWEST_BOXES} are needed"


def holm_of_tested(p_values: Scores) -> Scores:
    """p-values (N,) adjusted after Holm; NaN stay NaN and do not count as tests.

    Example:
        >>> holm_of_tested(np.array([0.01, np.nan, 0.04]))
        array([0.02,  nan, 0.04])
    """
    tested = ~np.isnan(p_values)
    adjusted = np.full(len(p_values), np.nan)
    adjusted[tested] = paired.holm(p_values[tested])
    return adjusted


def _flights(scores: Scores, owners: NDArray[np.int64]) -> tuple[Scores, NDArray[np.int64], float]:
    """Means (F,) and sizes (F,) of the flights with enough scores, and the variance within flights."""
    names, numbers, sizes = np.unique(owners, return_inverse=True, return_counts=True)
    means = np.bincount(numbers, scores, minlength=len(names)) / np.maximum(sizes, 1)
    squares = ((scores - means[numbers]) ** 2).sum()
    within = float(squares / max(1, len(scores) - len(names)))
    large = sizes >= FEWEST_BOXES
    return means[large], sizes[large], within
