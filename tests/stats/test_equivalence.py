"""Two one-sided tests against scipy's, their level where the arms differ by the margin, and what an answer says."""

import numpy as np
import pytest
from scipy import stats

from dml_lightning.stats.arms import compare_arms, curve_table
from dml_lightning.stats.equivalence import equivalence_p
from dml_lightning.stats.paired import holm, t_interval
from dml_lightning.stats.units import unit_means
from tests.stats.runs import asked, runs, strict

SIMULATIONS = 4000
TOLERANCE = 4 * (0.05 * 0.95 / SIMULATIONS) ** 0.5


@pytest.mark.parametrize("units", [2, 5, 12])
def test_the_p_value_is_the_larger_of_scipys_two(units: int) -> None:
    differences = np.random.default_rng(units).normal(0.01, 0.03, (units, 40))
    p = equivalence_p(differences, 0.02)
    above = stats.ttest_1samp(differences, -0.02, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, 0.02, alternative="less").pvalue
    assert p == pytest.approx(np.maximum(above, below))
    low, high = t_interval(differences, level=0.9)
    assert ((p <= 0.05) == ((low >= -0.02) & (high <= 0.02))).all()


def test_differences_that_do_not_vary_are_within_or_not() -> None:
    same = np.array([[0.01, -0.02, 0.03]] * 6)
    assert equivalence_p(same, 0.02).tolist() == [0.0, 1.0, 1.0]  # the margin itself is not within it
    with pytest.raises(ValueError, match="margin must be a number above 0, got 0"):
        equivalence_p(same, 0)


@pytest.mark.parametrize("units", [5, 8])
@pytest.mark.parametrize("side", [-1, 1])
def test_arms_that_differ_by_the_margin_are_called_equal_as_seldom_as_promised(units: int, side: int) -> None:
    rng = np.random.default_rng(units)
    precise, rough = (rng.normal(side * 0.02, spread, (units, SIMULATIONS)) for spread in (0.005, 0.05))
    assert (equivalence_p(precise, 0.02) <= 0.05).mean() == pytest.approx(0.05, abs=TOLERANCE)
    assert (equivalence_p(rough, 0.02) <= 0.05).mean() < 0.05  # which one test of the two would exceed
    equal = rng.normal(0, 0.01, (8, SIMULATIONS))
    assert (equivalence_p(equal, 0.02) <= 0.05).mean() > 0.9


def test_several_arms_at_the_margin_keep_the_familywise_level() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, 0.004, (8, SIMULATIONS, 4))
    differences = 0.02 + values[..., 1:] - values[..., :1]  # one baseline
    p = equivalence_p(differences.reshape(8, -1), 0.02).reshape(SIMULATIONS, 3)
    assert (holm(p) <= 0.05).any(axis=1).mean() <= 0.05 + TOLERANCE
    assert (p <= 0.05).any(axis=1).mean() > 0.08


def test_no_difference_shown_becomes_equal_within_the_margin() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.0, "pairs": 0.001}, spread=0.002)
    found = compare_arms(table, asked(margin=0.02)).differences
    means = unit_means(table, "map_at_r")
    paired = means[["triplet", "pairs"]].sub(means["softmax"], axis=0).to_numpy()
    assert [each.equal_p_holm for each in found] == pytest.approx(holm(equivalence_p(paired, 0.02)))
    triplet = found[0]
    assert compare_arms(table, asked()).differences[0].verdict == "no difference shown"
    assert triplet.verdict == "equal"
    ends = f"[{triplet.simultaneous_low:.3f}, {triplet.simultaneous_high:.3f}]"
    assert triplet.sentence == (
        f"triplet and softmax are equal within 0.02 in map_at_r: {triplet.estimate.mean:+.3f} {ends} (8 seeds, two "
        f"one-sided t-tests, Holm-corrected p = {triplet.equal_p_holm:.2g})."
    )
    strict(compare_arms(table, asked(margin=0.02)))


def test_what_the_margin_adds_to_another_verdict() -> None:
    def said(margin: float, gain: float = 0.0, spread: float = 0.02, **changes: object) -> str:
        table = runs({"softmax": 0.0, "triplet": gain}, spread=spread, folds=8, seeds=int(str(changes.pop("seeds", 8))))
        return compare_arms(table, asked(margin=margin, **changes)).differences[0].sentence

    wide = said(0.002)
    assert wide.startswith("No difference shown")
    assert "Equality within 0.002 is not shown (two one-sided t-tests, Holm-corrected p = " in wide
    within = said(0.05, gain=0.01, spread=0.002)
    assert within.startswith("triplet is better than softmax by 0.0")
    assert "The difference lies within the margin of 0.05 (two one-sided t-tests" in within
    few = said(0.05, seeds=4)
    assert few.endswith("Equality within 0.05 is not tested: that takes five independent seeds or more.")
    folds = said(0.05, unit="fold")
    assert folds.endswith("Equality within 0.05 is not tested: that takes five independent folds or more.")
    five = compare_arms(runs({"softmax": 0.0, "triplet": 0.0}, spread=0.002, seeds=5), asked(margin=0.05))
    assert five.differences[0].verdict == "equal"  # where no difference could be shown


def test_an_interval_wider_than_the_margin_explains_itself() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.0}, spread=0.01)
    means = unit_means(table, "map_at_r")
    paired = (means["triplet"] - means["softmax"]).to_numpy()
    half = max(abs(np.array(t_interval(paired, 0.9))))
    (found,) = compare_arms(table, asked(margin=half + 1e-4)).differences
    assert found.verdict == "equal"
    assert found.sentence.endswith("The interval reaches beyond the margin, for it asks for more than the two tests.")


def test_tests_that_were_planned_count_for_equality_too() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.0}, spread=0.002)
    alone, planned = (compare_arms(table, asked(margin=0.01, planned=n)).differences[0] for n in (1, 3))
    assert planned.equal_p_holm == pytest.approx(3 * (alone.equal_p_holm or 0))
    curve = curve_table(table.assign(size=5), "size", asked(margin=0.01, planned=3))
    assert curve["equal_p_holm"].dropna().tolist() == [planned.equal_p_holm]
