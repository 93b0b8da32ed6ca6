"""Number of units that a stated difference needs, from the paired differences of finished runs."""

import math
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from dml_lightning.stats.paired import sign_flip_p, units_needed
from dml_lightning.stats.units import InferenceUnit

SD_CONFIDENCE = 0.8  # confidence of the upper limit of the standard deviation: Browne, Statistics in Medicine 14, 1995
SIMULATED = 12  # units up to which the power of the test is simulated
SIMULATIONS = 4000
SMALLEST_EFFECT = 1e-3  # standard deviations; less takes millions of units


@dataclass(frozen=True)
class Plan:
    """Numbers of units that a difference needs, by two estimates of its standard deviation."""

    difference: float  # to be found, in units of the metric
    power: float
    alpha: float
    comparisons: int
    unit: InferenceUnit
    pilot: int  # units that the standard deviation was estimated from
    sd: float  # of their paired differences
    sd_upper: float  # upper confidence limit of `sd`
    units: int  # needed if the standard deviation is `sd`
    units_upper: int  # needed if it is `sd_upper`
    fewest: int  # units below which the permutation test can show nothing

    @property
    def sentence(self) -> str:
        """The plan as sentences."""
        over = f"over {self.comparisons} comparisons " if self.comparisons > 1 else ""
        return (
            f"A difference of {self.difference:.3g} {over}needs {self.units} {self.unit}s for a power of "
            f"{self.power:.0%} if differences spread as in the {self.pilot} at hand (standard deviation "
            f"{self.sd:.3g}), and {self.units_upper} to be on the safe side (the {SD_CONFIDENCE:.0%} upper limit of "
            f"it, {self.sd_upper:.3g}). Fewer than {self.fewest} can show nothing."
        )


def plan(
    differences: ArrayLike,
    difference: float,
    power: float = 0.8,
    alpha: float = 0.05,
    comparisons: int = 1,
    *,
    unit: InferenceUnit = "seed",
) -> Plan:
    """Plan the number of units with which the paired test finds `difference` with probability `power`.

    The smallest p-value has to be at most alpha/comparisons. A standard deviation from a few runs is itself
    uncertain, and more often too small than too large: hence two answers. Choose `difference` as the smallest that
    would matter, not as the one observed.

    Args:
        differences: Paired differences (n,), arm minus baseline, of finished units; for unpaired arms, the values
            of one of them times sqrt(2).
        difference: Difference to be found, in units of the metric; its sign does not matter.
        power: Probability of finding it, in [0.5, 1).
        alpha: Familywise error, in (0, 0.5).
        comparisons: Number of arms that are tested against the baseline.
        unit: Name of the unit, for the sentence.

    Raises:
        ValueError: If there are fewer than two finite differences, or an argument is out of range, or the difference
            is negligible beside their standard deviation.

    Example:
        >>> needed = plan([0.02, 0.04, 0.03, 0.05], difference=0.03)
        >>> needed.units, needed.units_upper, needed.fewest
        (6, 7, 6)
    """
    pilot = np.asarray(differences, dtype=float)
    if pilot.ndim != 1 or len(pilot) < 2 or not np.isfinite(pilot).all():
        raise ValueError(
            f"differences must be two or more finite numbers, (n,), got {pilot.tolist()}: finish more runs first."
        )
    if not (math.isfinite(difference) and difference):
        raise ValueError(f"difference must be a number other than 0, got {difference}.")
    if not 0.5 <= power < 1 or not 0 < alpha < 0.5 or comparisons < 1:
        raise ValueError(
            "power must lie in [0.5, 1), alpha in (0, 0.5) and comparisons from 1 on, got "
            f"{power}, {alpha}, {comparisons}."
        )
    sd = float(pilot.std(ddof=1))
    freedom = len(pilot) - 1
    upper = sd * math.sqrt(freedom / stats.chi2.ppf(1 - SD_CONFIDENCE, freedom))
    if abs(difference) < SMALLEST_EFFECT * upper:
        raise ValueError(
            f"a difference of {abs(difference):.3g} takes millions of {unit}s where differences spread as in the "
            f"{len(pilot)} at hand (standard deviation {sd:.3g}): state the smallest one that would matter."
        )
    fewest = units_needed(alpha, comparisons)

    def needed(spread: float) -> int:
        effect = abs(difference) / spread if spread else math.inf
        return _fewest_units(effect, power, alpha / comparisons, fewest)

    return Plan(
        difference=abs(difference),
        power=power,
        alpha=alpha,
        comparisons=comparisons,
        unit=unit,
        pilot=len(pilot),
        sd=sd,
        sd_upper=upper,
        units=needed(sd),
        units_upper=needed(upper),
        fewest=fewest,
    )


def _fewest_units(effect: float, power: float, alpha: float, fewest: int) -> int:
    """Smallest n >= fewest with that power for an `effect` in standard deviations."""
    if math.isinf(effect):
        return fewest
    normal = (stats.norm.isf(alpha / 2) + stats.norm.isf(1 - power)) / effect
    start = max(fewest, math.floor(normal**2))  # known variance never needs more
    return next(n for n in count(start) if paired_power(effect, n, alpha) >= power)


def paired_power(effect: float, units: int, alpha: float = 0.05) -> float:
    """Power of the two-sided paired test against `effect` standard deviations of normal differences.

    It follows from the noncentral t distribution; for up to `SIMULATED` units, whose few sign patterns make the
    permutation test coarser than the t-test, the permutation test is simulated.

    Example:
        >>> round(paired_power(effect=1.0, units=20), 3)
        0.989
    """
    if units <= SIMULATED:
        rng = np.random.default_rng(units)
        differences = rng.normal(effect, 1, (units, SIMULATIONS))
        return float((sign_flip_p(differences) <= alpha).mean())
    critical = stats.t.isf(alpha / 2, units - 1)
    shift = effect * math.sqrt(units)
    return float(stats.nct.sf(critical, units - 1, shift) + stats.nct.cdf(-critical, units - 1, shift))
