"""How many units a difference takes."""

import numpy as np
import pytest
from scipy import stats

from dml_lightning.stats.paired import sign_flip_p
from dml_lightning.stats.planning import paired_power, plan


def test_a_plan_by_the_noncentral_t() -> None:
    pilot = np.array([-0.03, 0.01, 0.05, 0.02, -0.01])
    result = plan(pilot, difference=0.015)
    assert result.sd == pytest.approx(np.std(pilot, ddof=1))
    assert result.sd_upper == pytest.approx(result.sd * (4 / stats.chi2.ppf(0.2, 4)) ** 0.5)
    for n, sd in ((result.units, result.sd), (result.units_upper, result.sd_upper)):
        assert n > 16
        powers = []
        for units in range(2, n + 1):
            critical = stats.t.ppf(0.975, units - 1)
            inside = stats.nct(units - 1, 0.015 / sd * units**0.5)
            powers.append(1 - inside.cdf(critical) + inside.cdf(-critical))
        assert powers[-1] >= 0.8 > max(powers[:-1])  # the very first
    assert result.units_upper > result.units
    assert f"needs {result.units} seeds for a power of 80%" in result.sentence
    assert f"and {result.units_upper} to be on the safe side" in result.sentence


def test_a_plan_knows_the_floor() -> None:
    assert plan([0.1, 0.1], 0.01).units == 6  # no spread at all
    large = plan([-0.1, 0.0, 0.1], 10.0, comparisons=7, unit="fold")
    assert (large.units, large.fewest) == (9, 9)
    assert "over 7 comparisons needs 9 folds" in large.sentence
    assert "Fewer than 9 can show nothing." in large.sentence


def test_a_plan_grows_with_what_is_asked() -> None:
    pilot = [-0.02, 0.0, 0.03, 0.01]
    base = plan(pilot, 0.02)
    assert plan(pilot, -0.02).units == base.units
    assert plan(pilot, 0.01).units > base.units
    assert plan(pilot, 0.02, power=0.95).units > base.units
    assert plan(pilot, 0.02, comparisons=4).units > base.units


@pytest.mark.parametrize(
    ("effect", "units", "alpha"), [(1.6, 6, 0.05), (1.0, 10, 0.05), (0.8, 15, 0.05), (0.8, 22, 0.05 / 4)]
)
def test_the_power_is_that_of_the_test(effect: float, units: int, alpha: float) -> None:
    differences = np.random.default_rng(99).normal(effect, 1, (units, 1000))
    result = float((sign_flip_p(differences) <= alpha).mean())
    promised = paired_power(effect, units, alpha)
    assert 0.6 < promised < 0.97
    error = (promised * (1 - promised) * (1 / 1000 + 1 / 4000)) ** 0.5
    assert result == pytest.approx(promised, abs=4 * error)


def test_plan_errors() -> None:
    with pytest.raises(ValueError, match=r"two or more finite numbers, \(n,\), got \[0.1\]"):
        plan([0.1], 0.01)
    with pytest.raises(ValueError, match="finite numbers"):
        plan([0.1, np.nan], 0.01)
    with pytest.raises(ValueError, match="other than 0, got 0"):
        plan([0.1, 0.2], 0)
    with pytest.raises(ValueError, match=r"1e-09 takes millions of folds.*deviation 0.651\)"):
        plan([0.1, -0.6, 0.7], 1e-9, unit="fold")
    for wrong in ({"power": 0.3}, {"alpha": 0.0}, {"comparisons": 0}):
        with pytest.raises(ValueError, match=r"power must lie in \[0.5, 1\)"):
            plan([0.1, 0.2], 0.01, **wrong)  # type: ignore[arg-type]
