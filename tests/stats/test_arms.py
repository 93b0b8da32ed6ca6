"""Comparisons of arms and curves of them."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from dml_lightning.stats.arms import compare_arms, curve_table
from dml_lightning.stats.paired import holm, sign_flip_p, t_interval
from dml_lightning.stats.units import unit_means
from tests.stats.runs import asked, runs, strict


def test_ties_of_shares_in_single_precision_count() -> None:
    """Metrics are float32: shares of 180 crops tie exactly, their differences in float64 do not."""
    correct = np.array([91, 97, 88, 89, 97, 87, 94, 95])
    more = np.array([0, 12, 3, 9, 2, -3, 11, 5])
    patterns = np.array(list(product([1, -1], repeat=8)))
    exact = (np.abs(patterns @ more) >= abs(more.sum())).mean()
    shares = {"softmax": correct, "triplet": correct + more}
    table = pd.DataFrame(
        {"arm": arm, "seed": seed, "fold": 0, "map_at_r": float(np.float32(count) / np.float32(180))}
        for arm, counts in shares.items()
        for seed, count in enumerate(counts)
    )
    (result,) = compare_arms(table, asked()).differences
    assert result.p == exact == 0.0625
    assert result.verdict == "no difference shown"


def test_an_arm_that_failed_still_counts_in_the_correction() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1, "n-pair": 0.0}, seeds=8)
    both = compare_arms(table, asked(planned=2)).differences[0]
    table = table[(table["arm"] != "n-pair") | (table["seed"] == 0)]
    (alone,) = compare_arms(table, asked(planned=2)).differences
    (unplanned,) = compare_arms(table, asked()).differences
    assert alone.p == both.p
    assert alone.p_holm == 2 * alone.p == 2 * unplanned.p_holm
    assert alone.simultaneous_low == both.simultaneous_low < unplanned.simultaneous_low
    assert alone.smallest_p_holm == 2 * alone.smallest_p


def test_a_floor_with_one_run_costs_the_others_nothing() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1, "pixels": -0.2})
    floored = table[(table["arm"] != "pixels") | (table["seed"] == 0)]
    result = compare_arms(floored, asked(floors=("pixels",)))
    assert result.left_out == ("pixels",)
    whole = compare_arms(table, asked(floors=("pixels",)))
    assert [d.p_holm for d in result.differences] == [d.p_holm for d in whole.differences]


# Verdicts


def test_a_comparison_puts_the_formulas_together() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1, "pairs": 0.001, "pixels": -0.3})
    result = compare_arms(table, asked(floors=("pixels",)))
    means = unit_means(table, "map_at_r")
    assert [arm.arm for arm in result.arms] == ["softmax", "triplet", "pairs", "pixels"]
    for arm in result.arms:
        assert (arm.estimate.low, arm.estimate.high) == pytest.approx(t_interval(means[arm.arm].to_numpy()))
    paired = means[["triplet", "pairs"]].sub(means["softmax"], axis=0).to_numpy()
    p = sign_flip_p(paired)
    wide = t_interval(paired, 1 - 0.05 / 2)
    for column, found in enumerate(result.differences):
        assert found.estimate.mean == pytest.approx(paired[:, column].mean())
        assert found.estimate.sd == pytest.approx(paired[:, column].std(ddof=1))
        assert (found.estimate.low, found.estimate.high) == pytest.approx(t_interval(paired[:, column]))
        assert (found.simultaneous_low, found.simultaneous_high) == pytest.approx((wide[0][column], wide[1][column]))
        assert (found.p, found.p_holm) == pytest.approx((p[column], holm(p)[column]))
        assert (found.comparisons, found.smallest_p) == (2, 2 / 2**8)


def test_a_difference_is_shown_in_words() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1, "pairs": 0.0})
    triplet, pairs = compare_arms(table, asked()).differences
    assert (triplet.verdict, pairs.verdict) == ("better", "no difference shown")
    assert triplet.sentence == (
        f"triplet is better than softmax by {triplet.estimate.mean:.3f} [{triplet.simultaneous_low:.3f}, "
        f"{triplet.simultaneous_high:.3f}] in map_at_r (8 seeds, Holm-corrected p = 0.016)."
    )
    assert pairs.sentence.startswith("No difference shown between pairs and softmax in map_at_r: ")
    assert f"p = {pairs.p_holm:.2g})." in pairs.sentence


@pytest.mark.parametrize(
    ("gain", "higher", "winner"), [(0.1, True, "a"), (-0.1, True, "b"), (0.1, False, "b"), (-0.1, False, "a")]
)
def test_the_winner_depends_on_the_sense_of_the_metric(gain: float, higher: bool, winner: str) -> None:
    question = asked(baseline="b", higher_is_better=higher)
    (result,) = compare_arms(runs({"b": 0.0, "a": gain}), question).differences
    assert result.verdict == ("better" if winner == "a" else "worse")
    loser = {"a": "b", "b": "a"}[winner]
    assert result.sentence.startswith(f"{winner} is better than {loser} by {abs(result.estimate.mean):.3f} [0.0")


def test_without_holm_it_would_be_a_difference() -> None:
    rng = np.random.default_rng(8)
    table = runs({"softmax": 0.0, **{f"arm {i}": 0.0 for i in range(4)}}, folds=1)
    first = (table["arm"] == "arm 0").to_numpy()
    base = table.loc[table["arm"] == "softmax", "map_at_r"].to_numpy()
    table.loc[first, "map_at_r"] = base + np.array([1, 2, 3, 4, 5, 6, 7, -3]) / 100
    for i in range(1, 4):
        rows = (table["arm"] == f"arm {i}").to_numpy()
        table.loc[rows, "map_at_r"] = base + rng.normal(0, 0.01, 8)
    result = compare_arms(table, asked()).differences[0]
    assert result.p <= 0.05 < result.p_holm
    assert result.verdict == "no difference shown"


@pytest.mark.parametrize(("seeds", "arms", "needed"), [(5, 1, 6), (6, 3, 7), (8, 7, 9)])
def test_too_few_seeds_are_told_how_many_would_do(seeds: int, arms: int, needed: int) -> None:
    gains = {"softmax": 0.0, **{f"arm {i}": 0.5 for i in range(arms)}}
    for result in compare_arms(runs(gains, seeds=seeds), asked()).differences:
        assert result.verdict == "too few units"
        floor = arms * 2 / 2**seeds
        assert f"no corrected p-value below {floor:.2g} is possible" in result.sentence
        assert f"it takes {needed} seeds or more" in result.sentence
    for result in compare_arms(runs(gains, seeds=needed), asked()).differences:
        assert result.verdict == "better"


def test_a_verdict_that_its_interval_does_not_support_says_so() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.0}, folds=1)
    base = table.loc[table["arm"] == "softmax", "map_at_r"].to_numpy()
    table.loc[table["arm"] == "triplet", "map_at_r"] = base + np.r_[np.full(7, 0.01), 0.3]  # an outlier
    (result,) = compare_arms(table, asked()).differences
    assert result.verdict == "better"
    assert result.simultaneous_low < 0
    assert "includes 0: by how much is uncertain" in result.sentence


def test_an_interval_that_claims_more_than_the_test_is_put_in_its_place() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1}, seeds=5)
    (result,) = compare_arms(table, asked()).differences
    assert result.simultaneous_low > 0
    assert result.sentence.startswith("No difference shown")
    assert "leaves 0 out only if differences are normal; the test decides." in result.sentence
    table["map_at_r"] *= -1
    assert "leaves 0 out" in compare_arms(table, asked()).differences[0].sentence
    (none,) = compare_arms(runs({"softmax": 0.0, "triplet": 0.0}), asked()).differences
    assert "leaves 0 out" not in none.sentence


def test_few_seeds_have_a_range_and_their_values() -> None:
    few, enough = (runs({"softmax": 0.0, "triplet": 0.1}, seeds=seeds, folds=1) for seeds in (4, 5))
    comparison = compare_arms(few, asked())
    (result,) = comparison.differences
    gaps = few.query("arm == 'triplet'")["map_at_r"].to_numpy() - few.query("arm == 'softmax'")["map_at_r"].to_numpy()
    assert result.estimate.spread == "range"
    assert (result.simultaneous_low, result.simultaneous_high) == pytest.approx((gaps.min(), gaps.max()))
    single = ", ".join(f"{gap:+.3f}" for gap in gaps)
    shown = f"{gaps.mean():+.3f}, range {gaps.min():+.3f} to {gaps.max():+.3f} ({single}) (4 seeds, "
    assert shown in result.sentence
    assert "leaves 0 out" not in result.sentence  # which an interval alone would do
    few_said = "Fewer than five seeds have a range, the smallest and the largest value, and no interval."
    assert few_said in comparison.sentence
    compared = compare_arms(enough, asked())
    assert {arm.estimate.spread for arm in compared.arms} == {"interval"}
    assert "range" not in compared.sentence


def test_a_winner_of_few_seeds_has_a_range() -> None:
    (result,) = compare_arms(runs({"softmax": 0.1, "triplet": 0.0}, seeds=4), asked(alpha=0.2)).differences
    assert result.verdict == "worse"
    low, high = -result.estimate.high, -result.estimate.low
    assert f"by {-result.estimate.mean:.3f} range {low:.3f} to {high:.3f} in map_at_r (4 seeds" in result.sentence


@pytest.mark.parametrize(
    ("fold_by", "metric", "tested"),
    [("groups", "map_at_r", False), ("groups", "novel_map_at_r", False), ("classes", "map_at_r", False),
     ("classes", "novel_map_at_r", True)],
)  # fmt: skip
def test_folds_that_share_data_have_no_p_value_and_no_winner(fold_by: str, metric: str, tested: bool) -> None:
    table = runs({"softmax": 0.0, "triplet": 0.5}, folds=8, seeds=2).rename(columns={"map_at_r": metric})
    comparison = compare_arms(table, asked(metric=metric, unit="fold", fold_by=fold_by))
    (result,) = comparison.differences
    numbers = (result.p, result.smallest_p, result.p_holm, result.smallest_p_holm)
    assert all((number is not None) == tested for number in numbers)
    assert result.verdict == ("better" if tested else "not tested")
    assert {arm.estimate.spread for arm in comparison.arms} == {"interval" if tested else "range"}
    assert ("p =" in comparison.sentence, "is better" in comparison.sentence) == (tested, tested)
    assert ("new classes" in comparison.sentence) == tested
    shared = {"groups": "Folds by groups share flights", "classes": "Folds by classes share known classes"}[fold_by]
    assert (f"{shared}, so they are not independent" in comparison.sentence) == (not tested)
    strict(comparison)
    curve = curve_table(table.assign(size=5), "size", comparison.question)
    assert curve["p"].notna().any() == tested


def test_an_arm_that_never_varies_has_an_interval_of_no_width() -> None:
    table = runs({"softmax": 0.0, "pixels": 0.0})
    table.loc[table["arm"] == "pixels", "map_at_r"] = 0.25
    result = compare_arms(table, asked(floors=("pixels",)))
    pixels = result.arms[1].estimate
    assert (pixels.low, pixels.mean, pixels.high) == (0.25, 0.25, 0.25)
    assert result.differences == ()
    strict(result)
    same = runs({"softmax": 0.0}).assign(arm="triplet")
    (found,) = compare_arms(pd.concat([runs({"softmax": 0.0}), same]), asked()).differences
    assert (found.p, found.estimate.low, found.estimate.high) == (1.0, 0.0, 0.0)


# Curves


def test_a_curve_is_one_family() -> None:
    gains = {5: 0.1, 20: 0.0}
    points = [runs({"softmax": 0.0, "triplet": gain, "pixels": -0.2}).assign(samples=x) for x, gain in gains.items()]
    question = asked(floors=("pixels",))
    curve = curve_table(pd.concat(points), "samples", question)
    assert curve["samples"].tolist() == [5, 5, 5, 20, 20, 20]
    alone = [compare_arms(point, question).differences[0] for point in points]
    tested = curve[curve["arm"] == "triplet"]
    assert tested["p"].tolist() == [one.p for one in alone]
    assert tested["p_holm"].tolist() == pytest.approx(holm(np.array([one.p for one in alone])))
    assert tested["p_holm"].iloc[0] == 2 * alone[0].p  # more than the point alone
    width = tested["simultaneous_high"] - tested["simultaneous_low"]
    assert (width > tested["difference_high"] - tested["difference_low"]).all()
    assert tested["verdict"].tolist() == ["better", "no difference shown"]
    with pytest.raises(ValueError, match="has no column 'shots'"):
        curve_table(pd.concat(points), "shots", question)


def test_a_curve_goes_on_where_an_arm_is_absent() -> None:
    points = {x: runs({"softmax": 0.0, "triplet": 0.1, "pairs": 0.0}) for x in (5, 20, 50)}
    points[5] = points[5].query("arm != 'triplet'")
    points[20] = points[20].query("arm != 'softmax' or seed == 0")  # one baseline unit
    whole = pd.concat([point.assign(samples=x) for x, point in points.items()])
    curve = curve_table(whole, "samples", asked(planned=6))
    rows = list(zip(curve["samples"], curve["arm"], curve["verdict"].notna(), strict=True))
    assert rows == [
        (5, "softmax", False),
        (5, "pairs", True),
        (20, "triplet", False),
        (20, "pairs", False),
        (50, "softmax", False),
        (50, "triplet", True),
        (50, "pairs", True),
    ]
    alone = compare_arms(points[50], asked()).differences[0]
    won = curve[(curve["samples"] == 50) & (curve["arm"] == "triplet")]
    assert won["p_holm"].item() == pytest.approx(6 * alone.p)  # absent tests were planned, too
    assert curve.query("samples == 20 and arm == 'triplet'")["units"].item() == 8
    short = whole.query("seed == 0")
    with pytest.raises(ValueError, match="no arm has two complete seeds at any samples"):
        curve_table(short, "samples", asked())


def test_a_size_without_any_complete_arm_has_no_rows() -> None:
    few = runs({"softmax": 0.0, "triplet": 0.1}).query("seed == 0").assign(samples=5)
    enough = runs({"softmax": 0.0, "triplet": 0.1}).assign(samples=20)
    assert curve_table(pd.concat([few, enough]), "samples", asked())["samples"].tolist() == [20, 20]


def test_an_arm_left_out_is_named_where_nothing_is_tested() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1}).query("arm == 'softmax' or seed == 0")
    result = compare_arms(table, asked())
    assert result.differences == ()
    assert result.sentence.startswith("softmax: map_at_r ")
    assert "Left out, with fewer than two complete seeds: triplet." in result.sentence
