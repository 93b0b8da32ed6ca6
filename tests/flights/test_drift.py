"""The drift test on simulated flights whose crops resemble each other."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp, t, ttest_1samp

from dml_lightning.flights.drift import FlightDrift, flight_drift

Flights = tuple[NDArray[np.float64], NDArray[np.int64]]


def flights(rng: np.random.Generator, number: int, boxes: int, shift: float = 0.0, between: float = 1.0) -> Flights:
    """Scores of `number` flights; with between = 1 half of the variance lies between flights."""
    owners = np.repeat(np.arange(number), boxes)
    return (10 + shift + rng.normal(0, between, number)[owners] + rng.normal(0, 1, len(owners)), owners)


def rule_c(rng: np.random.Generator, number: int, new: int, boxes: int, correlation: float) -> list[FlightDrift]:
    """A table of new flights without drift, where rule C refuses 5 % of the calibration's crops."""
    shared, own = np.sqrt(correlation), np.sqrt(1 - correlation)
    calibration = shared * rng.normal(size=(number, 1)) + own * rng.normal(size=(number, 60))
    scores = shared * rng.normal(size=(new, 1)) + own * rng.normal(size=(new, boxes))
    owners, names = np.repeat(np.arange(number), 60), np.repeat(np.arange(new), boxes).astype(str)
    threshold = float(np.quantile(calibration, 0.95))
    return flight_drift(calibration.ravel(), owners, scores.ravel(), names, threshold)


@pytest.mark.parametrize(
    ("number", "boxes", "correlation", "before"),
    [
        *[(3, 5, 0.5, 0.08), (5, 5, 0.5, 0.08), (10, 5, 0.5, 0.05), (20, 5, 0.5, 0.05), (5, 20, 0.5, 0.08)],
        *[(20, 5, 0.3, 0.0), (3, 5, 0.1, 0.0), (10, 100, 0.3, 0.0), (5, 20, 0.0, 0.0)],
    ],
)
def test_a_table_of_twenty_flights_keeps_the_level(number: int, boxes: int, correlation: float, before: float) -> None:
    """300 tables: at 5 % their standard error is 1.3 %. `before`: least share if flights drifted without a test."""
    rng = np.random.default_rng([number, boxes, int(10 * correlation)])
    tables = [rule_c(rng, number, 20, boxes, correlation) for _ in range(300)]
    assert np.mean([any(each.drifted for each in table) for table in tables]) <= 0.05 + 0.02
    untested = [any(each.drifted or each.used < 5 <= each.boxes - each.used for each in table) for table in tables]
    assert np.mean(untested) >= before


def alarms(number: int, new: int, boxes: int, limit: float, shift: float, repeats: int) -> float:
    """Share of simulations with an alarm; `limit` is a quantile of the calibration."""
    result = 0
    for seed in range(repeats):
        rng = np.random.default_rng([number, new, boxes, seed])
        calibration, owners = flights(rng, number, 100)
        scores, names = flights(rng, new, boxes, shift)
        cut = float(np.quantile(calibration, limit)) if limit < 1 else float("inf")
        drifts = flight_drift(calibration, owners, scores, names.astype(str), cut)
        result += any(each.drifted for each in drifts)
    return result / repeats


@pytest.mark.parametrize(
    ("number", "new", "boxes", "limit"),
    [
        *[(5, 1, 100, 1.0), (5, 1, 10, 1.0), (20, 4, 100, 1.0), (8, 1, 100, 0.95)],
        *[(8, 1, 9, 0.95), (8, 1, 5, 0.95)],  # one box beyond the threshold, and few are left
    ],
)
def test_false_alarms_are_as_rare_as_was_chosen(number: int, new: int, boxes: int, limit: float) -> None:
    """400 simulations: their standard error at 5 % is 1.1 %."""
    assert alarms(number, new, boxes, limit, 0.0, 400) <= 0.05 + 0.025


def test_a_test_that_counts_crops_would_cry_wolf() -> None:
    """Why flights are the unit: Kolmogorov-Smirnov on the same flights without drift."""
    result = 0
    for seed in range(200):
        rng = np.random.default_rng([5, 1, 100, seed])
        (calibration, _), (scores, _) = flights(rng, 5, 100), flights(rng, 1, 100)
        result += int(ks_2samp(calibration, scores).pvalue <= 0.05)
    assert result / 200 > 0.6


def test_a_large_shift_is_found_and_more_flights_find_a_smaller_one() -> None:
    assert alarms(5, 1, 100, 1.0, 5.0, 200) > 0.75
    assert alarms(20, 1, 100, 1.0, 3.0, 200) > 0.65
    assert alarms(20, 1, 100, 1.0, 3.0, 200) > alarms(5, 1, 100, 1.0, 3.0, 200) + 0.15


def test_boxes_beyond_the_limit_do_not_look_like_drift() -> None:
    """Half of the boxes of the new flight show something else, far away."""
    rng = np.random.default_rng(0)
    calibration, owners = flights(rng, 10, 100)
    birds, _ = flights(rng, 1, 100)
    scores, names = np.concatenate([birds, rng.normal(40, 1, 100)]), np.repeat("new", 200)
    cut = float(np.quantile(calibration, 0.95))
    (cut_off,) = flight_drift(calibration, owners, scores, names, cut)
    (uncut,) = flight_drift(calibration, owners, scores, names)
    assert uncut.drifted
    assert not cut_off.drifted
    means = [calibration[(owners == f) & (calibration <= cut)].mean() for f in range(10)]
    assert cut_off.shift == pytest.approx(birds[birds <= cut].mean() - np.mean(means))
    assert cut_off.boxes == 200
    assert cut_off.used == (birds <= cut).sum()
    assert cut_off.refused == (scores > cut).mean() >= 0.5


@pytest.mark.parametrize("within", [0, 4, 5])
def test_a_flight_that_lies_beyond_the_threshold_is_tested_by_all_its_boxes(within: int) -> None:
    rng = np.random.default_rng(0)
    calibration, owners = flights(rng, 10, 100)
    scores = np.concatenate([np.full(within, calibration.mean()), np.full(40, 20.0)])
    names = np.repeat("new", len(scores))
    cut = float(np.quantile(calibration, 0.95))
    (result,) = flight_drift(calibration, owners, scores, names, cut)
    assert (result.used, result.boxes) == (within, within + 40)
    few = flight_drift(calibration, owners, scores[-4:], names[-4:], cut)[0]
    assert not few.drifted
    assert few.note == "0 boxes to compare are too few: 5 are needed"
    if within == 5:  # the boxes within the threshold are compared, and are not found to differ
        assert (result.drifted, result.note) == (False, "")
        return
    means = np.array([calibration[owners == flight].mean() for flight in range(10)])
    size = means.std(ddof=1) * np.sqrt(1 + 1 / 10)
    within_flights = np.sum((calibration - means[owners]) ** 2) / (1000 - 10)
    error = np.sqrt(size**2 + within_flights * (1 / (within + 40) - 1 / 100))
    assert result.shift == pytest.approx(scores.mean() - means.mean())
    assert result.p == pytest.approx(3 * t.sf(result.shift / error, 9))
    assert result.high == pytest.approx(t.ppf(1 - 0.05 / 3, 9) * error)
    assert np.isnan(result.low)
    assert result.drifted
    note = f"all but {within} of its boxes lie beyond the threshold: drifted, or no known birds"
    assert result.note == note


def test_three_calibration_flights_do_not_call_it_drift_among_many() -> None:
    """And say so: all boxes lie beyond the threshold, which with three flights that differ is no proof."""
    rng = np.random.default_rng(2)
    calibration, owners = flights(rng, 3, 100)
    threshold = float(np.quantile(calibration, 0.95))
    scores, names = flights(rng, 20, 20)
    scores = np.where(names == 7, threshold + 1, np.minimum(scores, threshold))
    result = flight_drift(calibration, owners, scores, names.astype(str), threshold)
    moved = next(each for each in result if each.flight == "7")
    assert moved.refused == 1
    assert not moved.drifted
    assert moved.note == (
        "all but 0 of its boxes lie beyond the threshold: look at them, as so few calibration flights tell too little"
    )


def test_refused_boxes_below_the_other_flights_are_no_drift_upwards() -> None:
    """A threshold below most of the calibration, and a flight that lies between the two."""
    rng = np.random.default_rng(6)
    calibration, owners = flights(rng, 10, 100)
    scores, names = np.full(20, float(np.quantile(calibration, 0.3))), np.repeat("new", 20)
    (result,) = flight_drift(calibration, owners, scores, names, float(np.quantile(calibration, 0.25)))
    assert (result.used, result.p, result.drifted) == (0, 1.0, False)


def test_what_is_refused_does_not_depend_on_what_is_compared() -> None:
    rng = np.random.default_rng(1)
    calibration, owners = flights(rng, 10, 100)
    scores, names = flights(rng, 3, 80)
    threshold = float(np.quantile(calibration, 0.8))
    assert (scores > threshold).any()
    whole = flight_drift(calibration, owners, scores, names.astype(str), threshold, cut=False)
    plain = flight_drift(calibration, owners, scores, names.astype(str))
    cut = flight_drift(calibration, owners, scores, names.astype(str), threshold)
    for i in range(3):
        assert whole[i].refused == cut[i].refused == (scores[names == i] > threshold).mean()
        assert (whole[i].used, whole[i].shift, whole[i].p) == (80, plain[i].shift, plain[i].p)


def test_against_the_formula() -> None:
    """Equal flights: the prediction interval of a normal sample, by hand and by scipy."""
    rng = np.random.default_rng(3)
    calibration, owners = flights(rng, 6, 50)
    scores, _ = flights(rng, 1, 50, 2.0)
    means = [calibration[owners == flight].mean() for flight in range(6)]
    (result,) = flight_drift(calibration, owners, scores, np.repeat("x", 50))
    assert result.shift == pytest.approx(scores.mean() - np.mean(means))
    t = result.shift / (np.std(means, ddof=1) * np.sqrt(1 + 1 / 6))
    scaled = np.array(means) - np.mean(means)  # a sample with the same t, for another way to p
    other = ttest_1samp(scaled + t * np.std(means, ddof=1) / np.sqrt(6), 0)
    assert result.p == pytest.approx(other.pvalue)
    assert result.drifted == (not result.low <= result.shift <= result.high)
    assert result.ks == ks_2samp(scores, calibration).statistic


def test_a_flight_of_few_boxes_gets_a_wider_interval() -> None:
    rng = np.random.default_rng(4)
    calibration, owners = flights(rng, 6, 100, between=0.05)
    scores, _ = flights(rng, 1, 100, between=0.05)
    names = np.array(["few"] * 5 + ["many"] * 95)
    few, many = flight_drift(calibration, owners, scores, names)
    assert few.high > 2 * many.high


def test_a_flight_with_too_few_boxes_is_not_tested_and_costs_the_others_nothing() -> None:
    rng = np.random.default_rng(5)
    calibration, owners = flights(rng, 6, 100)
    scores, _ = flights(rng, 1, 104)
    names = np.array(["few"] * 4 + ["many"] * 100)
    few, many = flight_drift(calibration, owners, scores, names)
    assert np.isnan([few.p, few.p_holm, few.shift]).all()
    assert not few.drifted
    assert many.p_holm == many.p


def test_every_flight_that_could_be_tested_counts_for_holm() -> None:
    """Four of five boxes within the threshold allow no test, and might have allowed one."""
    rng = np.random.default_rng(7)
    calibration, owners = flights(rng, 6, 100)
    threshold = float(np.quantile(calibration, 0.95))
    middle = float(np.median(calibration))
    scores = np.concatenate([np.full(8, middle - 3.0), np.full(4, middle), [threshold + 1], np.full(4, middle)])
    names = np.array(["a"] * 8 + ["b"] * 5 + ["c"] * 4)
    first, second, third = flight_drift(calibration, owners, scores, names, threshold)
    assert first.p_holm == pytest.approx(min(1, 2 * first.p))  # of a and b; c is too small for any test
    assert np.isnan([second.p, second.p_holm, third.p, third.p_holm]).all()
    assert second.note == "4 boxes to compare are too few: 5 are needed"


def test_holm_by_hand() -> None:
    """Three flights below the others, by the p-values that each has alone."""
    rng = np.random.default_rng(8)
    calibration, owners = flights(rng, 8, 100)
    scores, names = np.repeat(10 - np.array([3.0, 2.0, 4.0]), 10), np.repeat(["a", "b", "c"], 10)
    each = flight_drift(calibration, owners, scores, names)
    p = [flight_drift(calibration, owners, scores[names == name], names[names == name])[0].p for name in "abc"]
    assert [one.p for one in each] == pytest.approx(p)
    assert [one.p_holm for one in each] == pytest.approx([2 * p[0], max(2 * p[0], p[1]), 3 * p[2]])


def test_two_calibration_flights_are_refused() -> None:
    calibration, owners = flights(np.random.default_rng(0), 2, 50)
    scores, names = np.concatenate([calibration, [10.0] * 3]), np.concatenate([owners, [7] * 3])
    with pytest.raises(ValueError, match=r"has 2 flight\(s\) with 5 crops or more"):
        flight_drift(scores, names, calibration, owners.astype(str))
