"""The drift test on simulated flights whose crops resemble each other."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp, ttest_1samp

from dml_lightning.flights.drift import flight_drift, holm_of_tested

Flights = tuple[NDArray[np.float64], NDArray[np.int64]]


def flights(rng: np.random.Generator, number: int, boxes: int, shift: float = 0.0, between: float = 1.0) -> Flights:
    """Scores of `number` flights; with between = 1 half of the variance lies between flights."""
    owners = np.repeat(np.arange(number), boxes)
    return (10 + shift + rng.normal(0, between, number)[owners] + rng.normal(0, 1, len(owners)), owners)


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


@pytest.mark.parametrize(("within", "drifted"), [(0, True), (4, True), (5, False)])
def test_a_flight_that_lies_beyond_the_threshold_drifts_without_a_test(within: int, drifted: bool) -> None:
    rng = np.random.default_rng(0)
    calibration, owners = flights(rng, 10, 100)
    scores = np.concatenate([np.full(within, calibration.mean()), np.full(40, 1e3)])
    names = np.repeat("new", len(scores))
    cut = float(np.quantile(calibration, 0.95))
    (result,) = flight_drift(calibration, owners, scores, names, cut)
    assert result.drifted == drifted
    assert (result.used, result.boxes) == (within, within + 40)
    note = f"all but {within} of its boxes lie beyond the threshold: drifted, or no known birds"
    assert result.note == (note if drifted else "")
    assert np.isnan(result.p) == drifted
    few = flight_drift(calibration, owners, scores[-4:], names[-4:], cut)[0]
    assert not few.drifted
    assert few.note == "0 boxes to compare are too few: 5 are needed"


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


def test_holm_by_hand() -> None:
    adjusted = holm_of_tested(np.array([0.03, 0.01, np.nan, 0.04]))
    assert np.allclose(adjusted, [0.06, 0.03, np.nan, 0.06], equal_nan=True)
    assert holm_of_tested(np.array([0.9, 0.8])).max() == 1


def test_two_calibration_flights_are_refused() -> None:
    calibration, owners = flights(np.random.default_rng(0), 2, 50)
    scores, names = np.concatenate([calibration, [10.0] * 3]), np.concatenate([owners, [7] * 3])
    with pytest.raises(ValueError, match=r"has 2 flight\(s\) with 5 crops or more"):
        flight_drift(scores, names, calibration, owners.astype(str))
