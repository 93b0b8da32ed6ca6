"""Simulations: intervals hold the truth as often as they say, tests err as rarely, and the tempting wrong ways do not.

Tolerances are four binomial standard errors, so that a right method fails once in 16,000 seeds.
"""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from dml_lightning.stats.paired import family_level, holm, sign_flip_p, t_interval
from dml_lightning.stats.units import InferenceUnit, unit_means

Array = NDArray[np.float64]
SIMULATIONS = 4000


def tolerance(rate: float, simulations: int = SIMULATIONS) -> float:
    return 4 * float((rate * (1 - rate) / simulations) ** 0.5)


def covered(interval: tuple[Array, Array], truth: float | Array = 0.0) -> NDArray[np.bool_]:
    low, high = interval
    inside: NDArray[np.bool_] = (low <= truth) & (truth <= high)
    return inside


def experiments(seeds: int, folds: int, of: InferenceUnit, spread: float, count: int = 1500) -> pd.DataFrame:
    """`count` experiments as arms of one table, with true mean 0: values shared along `of`, and cells around them."""
    rng = np.random.default_rng(3)
    shared = rng.normal(0, spread, (count, seeds if of == "seed" else folds))
    cells = rng.normal(0, 1, (count, seeds, folds))
    cells += shared[:, :, None] if of == "seed" else shared[:, None, :]
    arm, seed, fold = (level.ravel() for level in np.indices(cells.shape))
    return pd.DataFrame({"arm": arm, "seed": seed, "fold": fold, "value": cells.ravel()})


@pytest.mark.parametrize(("unit", "seeds", "folds"), [("seed", 8, 5), ("fold", 5, 6)])
def test_units_cover_and_cells_do_not(unit: InferenceUnit, seeds: int, folds: int) -> None:
    table = experiments(seeds, folds, of=unit, spread=1.1)
    of_units = covered(t_interval(unit_means(table, "value", unit).to_numpy())).mean()
    assert of_units == pytest.approx(0.95, abs=tolerance(0.95, 1500))
    cells = table["value"].to_numpy().reshape(1500, -1).T  # (seeds * folds, experiments)
    of_cells = covered(t_interval(cells)).mean()
    assert of_cells < 0.8
    averaged: InferenceUnit = "fold" if unit == "seed" else "seed"  # the other unit is as wrong
    of_others = covered(t_interval(unit_means(table, "value", averaged).to_numpy())).mean()
    assert of_others < 0.8


def test_the_t_interval_covers_and_the_normal_one_does_not() -> None:
    for n in (2, 3, 8):
        values = np.random.default_rng(n).normal(0, 1, (n, SIMULATIONS))
        assert covered(t_interval(values)).mean() == pytest.approx(0.95, abs=tolerance(0.95))
        half = 1.96 * values.std(axis=0, ddof=1) / n**0.5
        normal = (values.mean(axis=0) - half, values.mean(axis=0) + half)
        assert covered(normal).mean() < 0.95 - tolerance(0.95)


def two_arms(n: int, gain: float = 0.0) -> tuple[Array, Array]:
    """Values (n, simulations) of two arms that their seeds move together."""
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 1, (n, SIMULATIONS))
    first, second = (shared + rng.normal(0, 0.5, (n, SIMULATIONS)) for _ in range(2))
    return first + gain, second


def test_the_paired_interval_covers_and_the_unpaired_one_wastes() -> None:
    first, second = two_arms(8, gain=0.3)
    paired = t_interval(first - second)
    assert covered(paired, 0.3).mean() == pytest.approx(0.95, abs=tolerance(0.95))
    unpaired = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    too_often = covered((unpaired.low, unpaired.high), 0.3).mean()
    assert too_often > 0.95 + tolerance(0.95)
    assert (unpaired.high - unpaired.low).mean() > 1.5 * (paired[1] - paired[0]).mean()


def families(n: int, m: int, draw: str = "normal") -> Array:
    """Differences (n, simulations, m) of m arms to one baseline, which is what makes them depend on each other."""
    rng = np.random.default_rng(7)
    size = (n, SIMULATIONS, m + 1)
    values = rng.standard_t(2, size) if draw == "heavy" else rng.normal(0, 1, size)
    return values[..., 1:] - values[..., :1]


@pytest.mark.parametrize(("n", "m"), [(8, 3), (5, 6)])
def test_simultaneous_intervals_cover_together_and_single_ones_do_not(n: int, m: int) -> None:
    differences = families(n, m)
    together = covered(t_interval(differences, family_level(0.95, m))).all(axis=1).mean()
    assert 0.95 - tolerance(0.95) <= together <= 0.99  # Bonferroni errs on the safe side
    single = covered(t_interval(differences)).all(axis=1).mean()
    assert single < 0.95 - tolerance(0.95)


def p_values(differences: Array) -> Array:
    n, simulations, m = differences.shape
    return sign_flip_p(differences.reshape(n, -1)).reshape(simulations, m)


@pytest.mark.parametrize("draw", ["normal", "heavy"])
def test_sign_flips_have_their_exact_level(draw: str) -> None:
    p = p_values(families(8, 1, draw))[:, 0]
    for level in (2 / 256, 0.05, 0.2):
        exact = 2 * np.floor(level * 256 / 2) / 256  # p-values come in steps of 2/2^n
        assert (p <= level).mean() == pytest.approx(exact, abs=tolerance(exact))


def test_the_level_holds_beyond_the_exact_range() -> None:
    p = p_values(families(18, 1)[:, :300])[:, 0]
    assert (p <= 0.2).mean() == pytest.approx(0.2, abs=tolerance(0.2, 300))


def test_cells_as_units_find_differences_that_are_not_there() -> None:
    table = experiments(5, 3, of="seed", spread=1.5, count=800)
    cells = table["value"].to_numpy().reshape(800, -1).T  # (15, experiments)
    assert (sign_flip_p(cells) <= 0.05).mean() > 0.15
    of_units = sign_flip_p(unit_means(table, "value").to_numpy())
    assert (of_units <= 0.1).mean() <= 2 / 32 + tolerance(2 / 32, 800)


@pytest.mark.parametrize("draw", ["normal", "heavy"])
def test_holm_keeps_the_familywise_error_and_none_does_not(draw: str) -> None:
    p = p_values(families(9, 4, draw))
    assert (holm(p) <= 0.05).any(axis=1).mean() <= 0.05 + tolerance(0.05)
    assert (p <= 0.05).any(axis=1).mean() > 0.10


def test_holm_keeps_it_where_some_arms_differ_and_finds_more_than_bonferroni() -> None:
    differences = families(10, 4)
    differences[..., :2] += 2.0
    p = p_values(differences)
    shown = holm(p) <= 0.05
    assert shown[:, 2:].any(axis=1).mean() <= 0.05 + tolerance(0.05)
    assert shown[:, :2].mean() > (p[:, :2] <= 0.05 / 4).mean() > 0.3
