"""Units, tests, verdicts and plans of a comparison, each against its own definition."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dml_lightning.stats.arms import compare_arms, curve_table
from dml_lightning.stats.paired import DRAWS, EXACT, holm, sign_flip_p, smallest_p, t_interval, units_needed
from dml_lightning.stats.planning import paired_power, plan
from dml_lightning.stats.results import Comparison, Question
from dml_lightning.stats.units import complete, unit_means


def runs(arms: dict[str, float], seeds: int = 8, folds: int = 2, spread: float = 0.01) -> pd.DataFrame:
    """A row per run: seeds and folds move all arms together, and each run by `spread`."""
    rng = np.random.default_rng(0)
    of_seed, of_fold = rng.normal(0, 0.05, seeds), rng.normal(0, 0.1, folds)
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "seed": seed,
                "fold": fold,
                "map_at_r": 0.5 + gain + of_seed[seed] + of_fold[fold] + rng.normal(0, spread),
            }
            for arm, gain in arms.items()
            for seed, fold in product(range(seeds), range(folds))
        ]
    )


def asked(**changes: object) -> Question:
    return Question(**{"metric": "map_at_r", "baseline": "softmax", **changes})  # type: ignore[arg-type]


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
    (found,) = compare_arms(table, asked()).differences
    assert found.p == exact == 0.0625
    assert found.verdict == "no difference shown"


# Units


@pytest.mark.parametrize("unit", ["seed", "fold"])
def test_unit_means_are_means_over_the_other_factor(unit: str) -> None:
    table = runs({"triplet": 0.1, "softmax": 0.0}, seeds=3)
    means = unit_means(table.sample(frac=1, random_state=1).sort_values("arm"), "map_at_r", unit)  # type: ignore[arg-type]
    assert list(means) == ["softmax", "triplet"]  # in order of appearance
    for arm, level in product(means, table[unit].unique()):
        cells = table[(table["arm"] == arm) & (table[unit] == level)]["map_at_r"]
        assert means.loc[level, arm] == pytest.approx(cells.mean())


@pytest.mark.parametrize("failure", ["absent", "nan", "inf", "none"])
def test_a_failed_run_takes_its_unit_with_it(failure: str) -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1, "pairs": 0.0}, seeds=4).astype({"map_at_r": object})
    row = table.index[(table["arm"] == "triplet") & (table["seed"] == 1) & (table["fold"] == 0)]
    if failure == "absent":
        table = table.drop(row)
    else:
        table.loc[row, "map_at_r"] = {"nan": np.nan, "inf": np.inf, "none": None}[failure]
    means = unit_means(table, "map_at_r")
    assert means.isna().to_numpy().nonzero()[0].tolist() == [1]
    kept, dropped = complete(means, "triplet", "softmax")
    assert (kept.shape, dropped) == ((3, 2), 1)
    assert complete(means, "pairs", "softmax")[1] == 0
    result = compare_arms(table, asked())
    triplet, pairs = result.differences
    assert (triplet.estimate.units, triplet.estimate.dropped) == (3, 1)
    assert (pairs.estimate.units, pairs.estimate.dropped) == (4, 0)
    assert "1 seed left out as incomplete." in triplet.sentence
    assert "left out" not in pairs.sentence
    paired = kept[:, 0] - kept[:, 1]
    assert triplet.estimate.mean == pytest.approx(paired.mean())
    by_fold = unit_means(table, "map_at_r", "fold")  # seeds averaged: fold 0 lacks one
    assert by_fold["triplet"].isna().tolist() == [True, False]


def test_a_fold_that_failed_in_every_seed_of_an_arm_is_missed() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1}, seeds=3)
    table = table[(table["arm"] == "softmax") | (table["fold"] == 0)]
    found = compare_arms(table, asked())
    assert (found.left_out, found.differences) == (("triplet",), ())
    assert "Left out, with fewer than two complete seeds: triplet." in found.sentence


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
    found = compare_arms(floored, asked(floors=("pixels",)))
    assert found.left_out == ("pixels",)
    whole = compare_arms(table, asked(floors=("pixels",)))
    assert [d.p_holm for d in found.differences] == [d.p_holm for d in whole.differences]


def test_unit_errors() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1}, seeds=2)
    with pytest.raises(ValueError, match='unit must be "seed" or "fold", got \'run\''):
        unit_means(table, "map_at_r", "run")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"lacks the column\(s\) fold, recall; it has arm, seed, map"):
        unit_means(table.drop(columns="fold"), "recall")
    with pytest.raises(ValueError, match="arm softmax, seed 0, fold 1 comes twice"):
        unit_means(pd.concat([table, table.iloc[[1]]]), "map_at_r")
    with pytest.raises(ValueError, match="1 of 1 seeds complete, and an interval needs two or more"):
        compare_arms(runs({"softmax": 0.0, "triplet": 0.1}, seeds=1), asked())


# Intervals and tests


def test_t_interval_is_scipys() -> None:
    values = np.random.default_rng(0).normal(size=(7, 3))
    low, high = t_interval(values, level=0.9)
    for column in range(3):
        expected = stats.ttest_1samp(values[:, column], 0).confidence_interval(0.9)
        assert (low[column], high[column]) == pytest.approx((expected.low, expected.high))


def slow_p(differences: list[float]) -> float:
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((-1, 1), repeat=len(differences))
    ]
    return sum(s >= abs(sum(differences)) - 1e-9 for s in sums) / len(sums)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=8))
def test_sign_flips_count_every_pattern(tenths: list[int]) -> None:
    differences = [t / 10 for t in tenths]  # with ties, zeros and rounding
    p = sign_flip_p(np.array(differences)[:, None])
    assert p == pytest.approx([slow_p(differences)])
    assert p[0] >= smallest_p(len(differences))


def test_sign_flips_equal_scipys_permutation_test() -> None:
    differences = np.random.default_rng(1).normal(0.4, 1, (EXACT, 1))
    expected = stats.permutation_test((differences[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(differences) == pytest.approx([expected.pvalue])


def test_many_columns_are_tested_as_each_alone() -> None:
    differences = np.random.default_rng(2).normal(0.3, 1, (12, 700))  # in more than one block
    alone = [sign_flip_p(differences[:, [column]])[0] for column in range(0, 700, 99)]
    assert sign_flip_p(differences)[::99].tolist() == alone


def test_beyond_the_exact_range_patterns_are_drawn() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1, (EXACT + 1, 1))
    p = sign_flip_p(differences)[0]
    expected = stats.permutation_test(
        (differences[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert p == pytest.approx(expected, abs=5 * (expected / DRAWS) ** 0.5)
    assert p == sign_flip_p(differences)[0] != sign_flip_p(differences, seed=1)[0]
    assert sign_flip_p(np.ones((40, 1)))[0] == smallest_p(40) == 1 / (DRAWS + 1)  # never 0


def test_the_floor_is_reached_and_says_how_many_units_it_takes() -> None:
    for n in range(2, EXACT + 1):
        assert sign_flip_p(np.arange(1.0, n + 1)[:, None])[0] == smallest_p(n) == 2 / 2**n
    for m in range(1, 40):
        n = units_needed(0.05, m)
        assert smallest_p(n) <= 0.05 / m < smallest_p(n - 1)
    assert [units_needed(comparisons=m) for m in (1, 2, 3, 6, 7)] == [6, 7, 7, 8, 9]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    adjusted = holm(np.array(p_values))
    for alpha in (0.05, 0.2, *adjusted.tolist()):
        rejected = set()
        for step, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if min(1.0, p_values[i] * (len(p_values) - step)) > alpha:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected


def test_holm_of_a_known_example() -> None:
    assert holm(np.array([0.03, 0.01, 0.04])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([[0.5], [0.01]])).tolist() == [[0.5], [0.01]]  # each row a family
    assert holm(np.empty(0)).shape == (0,)


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
    (found,) = compare_arms(runs({"b": 0.0, "a": gain}), question).differences
    assert found.verdict == ("better" if winner == "a" else "worse")
    loser = {"a": "b", "b": "a"}[winner]
    assert found.sentence.startswith(f"{winner} is better than {loser} by {abs(found.estimate.mean):.3f} [0.0")


def test_without_holm_it_would_be_a_difference() -> None:
    rng = np.random.default_rng(8)
    table = runs({"softmax": 0.0, **{f"arm {i}": 0.0 for i in range(4)}}, folds=1)
    first = (table["arm"] == "arm 0").to_numpy()
    base = table.loc[table["arm"] == "softmax", "map_at_r"].to_numpy()
    table.loc[first, "map_at_r"] = base + np.array([1, 2, 3, 4, 5, 6, 7, -3]) / 100
    for i in range(1, 4):
        rows = (table["arm"] == f"arm {i}").to_numpy()
        table.loc[rows, "map_at_r"] = base + rng.normal(0, 0.01, 8)
    found = compare_arms(table, asked()).differences[0]
    assert found.p <= 0.05 < found.p_holm
    assert found.verdict == "no difference shown"


@pytest.mark.parametrize(("seeds", "arms", "needed"), [(5, 1, 6), (6, 3, 7), (8, 7, 9)])
def test_too_few_seeds_are_told_how_many_would_do(seeds: int, arms: int, needed: int) -> None:
    gains = {"softmax": 0.0, **{f"arm {i}": 0.5 for i in range(arms)}}
    for found in compare_arms(runs(gains, seeds=seeds), asked()).differences:
        assert found.verdict == "too few units"
        floor = arms * 2 / 2**seeds
        assert f"no corrected p-value below {floor:.2g} is possible" in found.sentence
        assert f"it takes {needed} seeds or more" in found.sentence
    for found in compare_arms(runs(gains, seeds=needed), asked()).differences:
        assert found.verdict == "better"


def test_a_verdict_that_its_interval_does_not_support_says_so() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.0}, folds=1)
    base = table.loc[table["arm"] == "softmax", "map_at_r"].to_numpy()
    table.loc[table["arm"] == "triplet", "map_at_r"] = base + np.r_[np.full(7, 0.01), 0.3]  # an outlier
    (found,) = compare_arms(table, asked()).differences
    assert found.verdict == "better"
    assert found.simultaneous_low < 0
    assert "includes 0: by how much is uncertain" in found.sentence


def test_an_interval_that_claims_more_than_the_test_is_put_in_its_place() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1}, seeds=4)
    (found,) = compare_arms(table, asked()).differences
    assert found.simultaneous_low > 0
    assert found.sentence.startswith("No difference shown")
    assert "leaves 0 out only if differences are normal; the test decides." in found.sentence
    table["map_at_r"] *= -1
    assert "leaves 0 out" in compare_arms(table, asked()).differences[0].sentence
    (none,) = compare_arms(runs({"softmax": 0.0, "triplet": 0.0}), asked()).differences
    assert "leaves 0 out" not in none.sentence


def test_a_comparison_says_what_it_is_about() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1}, folds=7)
    assert compare_arms(table, asked()).sentence.endswith("this speaks of these classes.")
    by_fold = compare_arms(table, asked(unit="fold"))
    assert by_fold.sentence.endswith("Units are folds: this speaks of new classes.")
    assert "(7 folds, " in by_fold.sentence
    assert by_fold.arms[0].sentence.endswith("over 7 folds.")


def strict(result: Comparison) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    return loaded


def test_results_are_json_and_frames() -> None:
    result = compare_arms(runs({"softmax": 0.0, "triplet": 0.1}), asked())
    loaded = strict(result)
    assert loaded["sentence"] == result.sentence
    assert loaded["arms"][1]["difference"]["p"] == result.differences[0].p  # type: ignore[index]
    assert loaded["question"]["unit"] == "seed"  # type: ignore[index]
    frame = result.to_frame()
    assert frame["arm"].tolist() == ["softmax", "triplet"]
    assert frame["verdict"].isna().tolist() == [True, False]
    row = frame.iloc[1]
    assert row["difference_mean"] == result.differences[0].estimate.mean
    assert row["mean"] == result.arms[1].estimate.mean
    pd.testing.assert_frame_equal(result.arms[1].to_frame(), frame.iloc[[1]].reset_index(drop=True))
    assert ",8,0," in frame.to_csv()
    assert "8.0" not in frame.to_csv()


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


def test_question_errors() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1})
    with pytest.raises(ValueError, match="arm 'nca' has no runs here; arms with runs: softmax, triplet"):
        compare_arms(table, asked(baseline="nca"))
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 0.5\), got 5"):
        asked(alpha=5)


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
    found = compare_arms(table, asked())
    assert found.differences == ()
    assert found.sentence.startswith("softmax: map_at_r ")
    assert "Left out, with fewer than two complete seeds: triplet." in found.sentence


# Plans


def test_a_plan_by_the_noncentral_t() -> None:
    pilot = np.array([-0.03, 0.01, 0.05, 0.02, -0.01])
    found = plan(pilot, difference=0.015)
    assert found.sd == pytest.approx(np.std(pilot, ddof=1))
    assert found.sd_upper == pytest.approx(found.sd * (4 / stats.chi2.ppf(0.2, 4)) ** 0.5)
    for n, sd in ((found.units, found.sd), (found.units_upper, found.sd_upper)):
        assert n > 16
        powers = []
        for units in range(2, n + 1):
            critical = stats.t.ppf(0.975, units - 1)
            inside = stats.nct(units - 1, 0.015 / sd * units**0.5)
            powers.append(1 - inside.cdf(critical) + inside.cdf(-critical))
        assert powers[-1] >= 0.8 > max(powers[:-1])  # the very first
    assert found.units_upper > found.units
    assert f"needs {found.units} seeds for a power of 80%" in found.sentence
    assert f"and {found.units_upper} to be on the safe side" in found.sentence


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
    found = float((sign_flip_p(differences) <= alpha).mean())
    promised = paired_power(effect, units, alpha)
    assert 0.6 < promised < 0.97
    error = (promised * (1 - promised) * (1 / 1000 + 1 / 4000)) ** 0.5
    assert found == pytest.approx(promised, abs=4 * error)


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
