"""Whether the known birds of a new flight score like those of the calibration flights.

Crops of one flight resemble each other, so a test that counts crops (Kolmogorov-Smirnov's, say) finds a difference
between any two flights. The unit here is the flight: its mean score among the calibration flights' mean scores.

With means x_1..x_F of the calibration flights, their mean m and standard deviation s, and flights of normal means,
the mean x of one more flight gives t = (x - m) / sqrt(s² (1 + 1/F) + e), Student with F - 1 degrees of freedom. e is
what a flight of few boxes adds: the variance w within flights times the excess of 1/n over its average in the
calibration flights, if that is above 0. Over several flights p-values are Holm's.

The strongest drift leaves no score to compare: a flight that lies beyond the threshold almost whole is called drifted
without a test.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp, t

from dml_lightning.metrics.ood import Scores
from dml_lightning.stats import paired

FEWEST_BOXES = 5  # of a flight; fewer say nothing of its mean


@dataclass(frozen=True)
class FlightDrift:
    """One new flight beside the calibration flights; scores are distances to the nearest prototype."""

    flight: str
    boxes: int  # all of them
    used: int  # those whose scores are compared
    refused: float  # share of all boxes above the threshold
    shift: float  # mean score minus the calibration flights' mean
    low: float  # interval of the shift that a flight without drift would give
    high: float
    ks: float  # largest gap between the two distributions of scores, as a description
    p: float  # NaN with fewer than FEWEST_BOXES that are used
    p_holm: float
    drifted: bool
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
    """Compares each new flight with the calibration flights.

    A new flight also holds boxes of no known class. Most lie beyond the threshold, so with `cut` only scores up to
    it are compared on both sides: known birds are cut alike. What is not known and lies within the threshold remains,
    and moves the mean up, as a change of the species' shares may.

    Args:
        calibration: (n,) scores of held-out known crops.
        owners: (n,) their flights.
        scores: (N,) of the boxes of new flights.
        flights: (N,) their flights.
        threshold: Scores above it are refused.
        level: Chance of at least one false alarm over all flights.
        cut: Leave refused scores out; False where all boxes are known to be of known classes.

    Returns:
        One entry per flight, in the order of their names.

    Raises:
        ValueError: If the calibration has fewer than three flights of `FEWEST_BOXES` scores that are compared.
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


def _verdict(boxes: int, used: int, p: float, level: float) -> tuple[bool, str]:
    """Whether a flight drifts; of one without a p-value also the reason, in a sentence.

    FEWEST_BOXES beyond the threshold and fewer within it are the larger part of any flight.
    """
    if used >= FEWEST_BOXES:
        return p <= level, ""
    if boxes - used >= FEWEST_BOXES:
        return (True, f"all but {used} of its boxes lie beyond the threshold: drifted, or no known birds")
    return False, f"{used} boxes to compare are too few: {FEWEST_BOXES} are needed"


def holm_of_tested(p_values: Scores) -> Scores:
    """Holm's adjusted p-values (N,); NaN stay, and are not counted."""
    tested = ~np.isnan(p_values)
    adjusted = np.full(len(p_values), np.nan)
    adjusted[tested] = paired.holm(p_values[tested])
    return adjusted


def _flights(scores: Scores, owners: NDArray[np.int64]) -> tuple[Scores, NDArray[np.int64], float]:
    """Mean (F,) and size (F,) of every flight that has enough scores, and the variance within flights."""
    names, numbers, sizes = np.unique(owners, return_inverse=True, return_counts=True)
    means = np.bincount(numbers, scores, minlength=len(names)) / np.maximum(sizes, 1)
    squares = ((scores - means[numbers]) ** 2).sum()
    within = float(squares / max(1, len(scores) - len(names)))
    large = sizes >= FEWEST_BOXES
    return means[large], sizes[large], within
