"""How many units a stated difference needs, from the paired differences of runs that have finished."""

import math
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from dml_lightning.stats.paired import sign_flip_p, units_needed
from dml_lightning.stats.units import InferenceUnit

SD_CONFIDENCE = 0.8  # of the upper limit: Browne, Statistics in Medicine 14, 1995
SIMULATED = 12  # units up to which the power of the test is simulated
SIMULATIONS = 4000
SMALLEST_EFFECT = 1e-3  # standard deviations; less takes millions of units


@dataclass(frozen=True)
class Plan:
    """The units that a difference needs, by two estimates of the spread."""

    difference: float  # to be found, in units of the metric
    power: float
    alpha: float
    comparisons: int
    unit: InferenceUnit
    pilot: int  # units that the spread was estimated from
    sd: float  # of their paired differences
    sd_upper: float  # upper confidence limit of it
    units: int  # needed if the spread is `sd`
    units_upper: int  # needed if it is `sd_upper`
    fewest: int  # demanded by the floor of the permutation test, whatever the spread

    @property
    def sentence(self) -> str:
        """The plan in plain words."""
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
    """The units with which the paired test finds `difference` with probability `power`.

    The first of the comparisons has to pass alpha/comparisons. A standard deviation from a few runs is itself
    uncertain, and more often too small than too large: hence two answers. Choose `difference` as the smallest that
    would matter, not as the one observed.

    Args:
        differences: (n,) paired differences, arm minus baseline, of finished units; for unpaired arms, the values
            of one of them times sqrt(2).
        difference: To be found, in units of the metric; its sign plays no part.
        power: Probability of finding it.
        alpha: Familywise error.
        comparisons: Arms beside the baseline that are tested.
        unit: What n counts, for the sentence.

    Raises:
        ValueError: If there are fewer than two finite differences, or an argument is out of range, or the difference
            vanishes beside their spread.
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
    """Smallest n >= fewest with that power; `effect` is the difference in standard deviations."""
    if math.isinf(effect):
        return fewest
    normal = (stats.norm.isf(alpha / 2) + stats.norm.isf(1 - power)) / effect
    start = max(fewest, math.floor(normal**2))  # known variance never needs more
    return next(n for n in count(start) if paired_power(effect, n, alpha) >= power)


def paired_power(effect: float, units: int, alpha: float = 0.05) -> float:
    """Power of the two-sided paired test against `effect` standard deviations of normal differences.

    By the noncentral t distribution; where the few sign patterns make the permutation test coarser than the t-test,
    by simulating it.
    """
    if units <= SIMULATED:
        rng = np.random.default_rng(units)
        differences = rng.normal(effect, 1, (units, SIMULATIONS))
        return float((sign_flip_p(differences) <= alpha).mean())
    critical = stats.t.isf(alpha / 2, units - 1)
    shift = effect * math.sqrt(units)
    return float(stats.nct.sf(critical, units - 1, shift) + stats.nct.cdf(-critical, units - 1, shift))
