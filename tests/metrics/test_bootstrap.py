"""Resampled flights, against repeated samples."""

import math

import numpy as np
import pytest

from dml_lightning.metrics.bootstrap import Resampled, cluster_bootstrap, interval
from dml_lightning.metrics.functional import (
    auroc,
)


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
    assert interval(values) == pytest.approx(tuple(np.quantile([0.3, 0.4], [0.025, 0.975])))
    assert np.isnan(interval(values[2:])).all()
    assert np.isnan(interval(np.empty((3, 0)))).all()


def test_bootstrap_resamples_flights() -> None:
    rng = np.random.default_rng(2)
    flights = np.repeat(np.arange(12), 50)
    shift = rng.normal(0, 1, 12)[flights]  # a flight's crops move together
    known, ood = shift + rng.normal(0, 1, 600), 1 + shift + rng.normal(0, 1, 600)
    interval = cluster_bootstrap(known, ood, flights, flights, n=300, seed=1)
    assert interval.low < interval.estimate == auroc(known, ood) < interval.high
    assert (interval.groups, interval.draws) == (12, 300)
    crops = np.arange(600)
    by_crop = cluster_bootstrap(known, ood, crops, crops, n=300, seed=1)
    assert by_crop.high - by_crop.low < interval.high - interval.low  # crops pretend to know more
    assert interval == cluster_bootstrap(known, ood, flights, flights, n=300, seed=1)
    assert interval != cluster_bootstrap(known, ood, flights, flights, n=300, seed=2)


def test_bootstrap_equals_a_slow_one() -> None:
    known, ood = np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0])
    known_groups, ood_groups = np.array(["a", "b", "b"]), np.array(["a", "c"])
    rng, values = np.random.default_rng(5), []
    for _ in range(200):
        drawn = [["a", "b", "c"][i] for i in rng.integers(3, size=3)]
        k = [s for g in drawn for s, own in zip(known, known_groups, strict=True) if own == g]
        o = [s for g in drawn for s, own in zip(ood, ood_groups, strict=True) if own == g]
        if k and o:
            values.append(auroc(np.array(k), np.array(o)))
    interval = cluster_bootstrap(known, ood, known_groups, ood_groups, n=200, seed=5)
    assert interval.draws == len(values) < 200  # some draws lack a side
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_one_flight_gives_no_interval() -> None:
    interval = cluster_bootstrap(np.zeros(3), np.ones(3), np.zeros(3), np.zeros(3), n=10)
    assert interval.estimate == 1.0
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
