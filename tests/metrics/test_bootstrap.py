"""Intervals over flights: the draws, the percentiles, and what few flights cost."""

import numpy as np
import pytest
from scipy import stats

from dml_lightning.metrics.bootstrap import (
    FEWEST_UNITS,
    Resampled,
    cluster_bootstrap,
    expanded_interval,
    expanded_level,
    group_draws,
    percentile_interval,
    value_range,
)
from dml_lightning.metrics.ood import Scores, auroc
from tests.metrics.slow_bootstrap import slow_bootstrap


def test_flights_are_resampled_not_crops() -> None:
    rng = np.random.default_rng(2)
    flights = np.repeat(np.arange(12), 50)
    shift = rng.normal(0, 1, 12)[flights]  # a flight's crops move together
    known, ood = shift + rng.normal(0, 1, 600), 1 + shift + rng.normal(0, 1, 600)
    everything = np.ones((1, 600), bool)

    def interval(groups: np.ndarray, seed: int) -> tuple[float, float]:
        drawn = Resampled.of(groups.astype(str), groups.astype(str), 300, seed)
        return drawn.interval(drawn.aurocs(known, ood, everything), everything)

    low, high = interval(flights, 1)
    assert low < auroc(known, ood) < high
    by_crop = interval(np.arange(600), 1)
    assert by_crop[1] - by_crop[0] < high - low  # crops pretend to know more
    assert (low, high) == interval(flights, 1) != interval(flights, 2)


def test_draws_equal_a_slow_bootstrap_with_missing_sides() -> None:
    known, ood = np.arange(60.0) % 3, np.array([1.0, 3.0, 0.0, 2.0, 2.0])
    known_groups, ood_groups = (np.array([f"g{n}" for n in range(count)]) for count in (60, 5))
    slow = slow_bootstrap(known, ood, known_groups, ood_groups, 900, seed=5, level=expanded_level(5))
    drawn, everything = Resampled.of(known_groups, ood_groups, 900, seed=5), np.ones((1, 5), bool)
    values = drawn.aurocs(known, ood, everything)
    assert np.isfinite(values).sum() == slow.draws < 900  # some draws lack a side
    assert drawn.interval(values, everything) == pytest.approx((slow.low, slow.high))
    assert drawn.fewest(everything) == 5
    assert drawn.fewest(np.array([[True] * 4 + [False]])) == 4


def test_values_of_single_flights_are_within_them() -> None:
    rng = np.random.default_rng(7)
    known, others = rng.normal(size=30), rng.normal(1, 1, 24)
    names = rng.choice(list("abc"), 30), rng.choice(list("bcd"), 24)
    sets = np.array([np.arange(24) % 2 == 0, np.arange(24) % 2 == 1])
    values = Resampled.of(names[0], names[1], 5, 0).of_flights(known, others, sets)
    for value, flight in zip(values, "abcd", strict=True):
        own = [auroc(known[names[0] == flight], others[chosen & (names[1] == flight)]) for chosen in sets]
        assert value == pytest.approx(np.mean(own) if flight in "bc" else np.nan, nan_ok=True)
    assert value_range(values) == (min(values[1:3]), max(values[1:3]))
    assert np.isnan(value_range([0.5, np.nan])).all()  # one value has no range


def test_draws_equal_repeated_samples_with_ties() -> None:
    rng = np.random.default_rng(1)
    known, others = rng.integers(4, size=40).astype(float), rng.integers(1, 5, 30).astype(float)
    names = [np.array(list("abcde"))[rng.integers(5, size=n)] for n in (40, 30)]
    sets = np.array([rng.random(30) < 0.5, np.arange(30) == 3])
    resampled = Resampled.of(names[0], names[1], draws=50, seed=2)
    assert resampled.flights == 5
    assert (resampled.times.sum(1) == 5).all()
    values = resampled.aurocs(known, others, sets)
    for times, row in zip(resampled.times.astype(int), values, strict=True):
        for chosen, value in zip(sets, row, strict=True):
            k = np.repeat(known, times[resampled.known])
            o = np.repeat(others[chosen], times[resampled.others][chosen])
            assert value == pytest.approx(auroc(k, o), nan_ok=True)
    assert np.isnan(values[:, 1]).any()  # the one sample is not in every draw
    assert not np.isnan(values[:, 0]).any()


def test_a_macro_mean_is_over_the_classes_that_a_draw_holds() -> None:
    values = np.array([[0.2, 0.4], [np.nan, 0.4], [np.nan, np.nan]])
    five = np.arange(5)
    drawn, sets = Resampled(np.ones((3, 5)), five, five), np.array([[True, True, False, True, False]] * 2)
    sets[1] = ~sets[1]
    level = expanded_level(5)
    expected = np.quantile([0.3, 0.4], [(1 - level) / 2, (1 + level) / 2])
    assert drawn.interval(values, sets) == pytest.approx(tuple(expected))
    assert np.isnan(drawn.interval(values[2:], sets)).all()
    assert np.isnan(drawn.interval(np.empty((3, 0)), np.empty((0, 5), bool))).all()


def test_one_flight_on_a_side_has_nothing_to_vary() -> None:
    assert group_draws(1, 10, 0).shape == (0, 1)
    assert FEWEST_UNITS == 5
    assert np.isnan(expanded_interval(np.arange(9.0), 4)).all()
    assert np.isfinite(expanded_interval(np.arange(9.0), 5)).all()
    assert np.isnan(percentile_interval([np.nan])).all()
    known, ood, sets = np.arange(4.0), np.arange(2.0), np.ones((1, 2), bool)
    drawn = Resampled.of(np.array(list("aabb")), np.array(["a", "a"]), 50, 0)  # OOD crops of one flight alone
    assert np.isnan(drawn.interval(drawn.aurocs(known, ood, sets), sets)).all()


def test_any_statistic_has_the_interval_of_repeated_samples() -> None:
    rng = np.random.default_rng(4)
    groups = rng.integers(5, size=50)
    known, ood = rng.normal(size=50), rng.normal(1, 1, 50)

    def gap(first: Scores, second: Scores) -> float:
        return float(second.mean() - first.mean())

    found = cluster_bootstrap(known, ood, groups, groups, gap, n=100, seed=3, level=0.8)
    slow = slow_bootstrap(known, ood, groups, groups, 100, 3, expanded_level(5, 0.8), gap)
    assert (found.estimate, found.low, found.high, found.draws) == pytest.approx(tuple(slow))
    assert found.groups == 5
    with pytest.raises(ValueError, match=r"ood_groups must have shape \(50,\), got \(49,\)"):
        cluster_bootstrap(known, ood, groups, groups[1:])


def test_few_groups_give_students_interval() -> None:
    few = expanded_level(4, 0.9)
    standard_error = (3 / 4) ** 0.5  # as the bootstrap of four sees it, in units of the right one
    assert stats.norm.isf((1 - few) / 2) * standard_error == pytest.approx(stats.t.isf(0.05, 3))
    values = np.random.default_rng(0).normal(size=2000)
    assert expanded_interval(values, 5)[0] < expanded_interval(values, 50)[0] < percentile_interval(values)[0]


@pytest.mark.parametrize(
    ("flights", "covered"), [(5, 0.915), (6, 0.93), (8, 0.935), (10, 0.945), (20, 0.95), (40, 0.95)]
)
def test_expanded_percentiles_cover_a_mean_of_few_flights(flights: int, covered: float) -> None:
    """As often as the docstring of `expanded_interval` says."""
    worlds = 1500
    means = (group_draws(flights, 1000, 1) / flights) @ np.random.default_rng(0).normal(size=(flights, worlds))
    inside = []
    for level in (expanded_level(flights), 0.95):
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
        inside.append(np.mean((low <= 0) & (high >= 0)))
    assert expanded_interval(means[:, 0], flights) == pytest.approx(
        tuple(np.quantile(means[:, 0], [(1 - expanded_level(flights)) / 2, (1 + expanded_level(flights)) / 2]))
    )
    assert inside[0] == pytest.approx(covered, abs=3 * (0.95 * 0.05 / worlds) ** 0.5)
    assert inside[1] < inside[0] or flights == 40
