"""Counts of a flight corrected by a confusion matrix, against simulations with known counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from dml_lightning.flights.confusion import PRIOR, Confusion
from dml_lightning.flights.counts import Corrected, correct, own_shares, true_counts

NAMES = ["coot", "gadwall", "mallard", "other"]
SHARES = np.array([[0.75, 0.1, 0.05, 0.1], [0.15, 0.7, 0.1, 0.05], [0.05, 0.2, 0.7, 0.05], [0.1, 0.1, 0.05, 0.75]])


def flight(rng: np.random.Generator, truth: NDArray[np.int64], correlation: float) -> NDArray[np.float64]:
    """Answers (R, K) of a flight with these true counts and shares of its own."""
    if correlation == 0:
        return np.array([rng.multinomial(n, p) for n, p in zip(truth, SHARES, strict=True)], float)
    own = [rng.dirichlet(row * (1 / correlation - 1)) for row in SHARES]
    return np.array([rng.multinomial(n, p) for n, p in zip(truth, own, strict=True)], float)


def held_out(rng: np.random.Generator, flights: int, correlation: float) -> Confusion:
    counts = [flight(rng, rng.integers(10, 60, len(SHARES)), correlation) for _ in range(flights)]
    columns = [*NAMES[:-1], "unknown"]
    return Confusion(NAMES, columns, np.array(counts), [str(f) for f in range(flights)])


@pytest.mark.parametrize(("flights", "correlation"), [(5, 0.0), (5, 0.05), (10, 0.1)])
def test_intervals_hold_the_true_counts(flights: int, correlation: float) -> None:
    """Species come in unequal numbers; 95 % intervals, and those of naive counts would not."""
    truth = np.array([200, 60, 20, 40])
    inside, errors, naive = [], [], []
    for seed in range(60):
        rng = np.random.default_rng([flights, seed])
        matrix = held_out(rng, flights, correlation)
        answers = flight(rng, truth, correlation).sum(axis=0).astype(int)
        (result,) = correct(answers[None], matrix, draws=100, seed=seed)
        low, high = result.interval()
        inside.append((low <= truth) & (truth <= high))
        errors.append(result.counts - truth)
        naive.append(answers - truth)
        assert result.counts.sum() == pytest.approx(320)
    assert np.mean(inside) >= 0.88  # 240 intervals of 60 flights; 0.91 to 0.93 in long runs
    bias, raw = np.abs(np.mean(errors, axis=0)), np.abs(np.mean(naive, axis=0))
    assert raw.max() > 30
    assert bias.max() < 0.6 * raw.max()  # it leans to even shares where flights differ much


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=4, max_size=4), st.integers(0, 1000))
def test_corrected_counts_are_never_negative_and_add_up(answers: list[int], seed: int) -> None:
    matrix = held_out(np.random.default_rng(seed), 3, 0.05)
    (result,) = correct(np.array([answers]), matrix, draws=5)
    assert (result.counts >= 0).all()
    assert result.counts.sum() == pytest.approx(sum(answers))
    assert np.allclose(result.draws.sum(axis=1), sum(answers))


def test_against_the_posterior_on_a_grid() -> None:
    """Two classes, one confusion: every true count has a chance that can be summed up."""
    shares = np.array([[0.8, 0.2], [0.3, 0.7]])
    answers = np.array([20, 10])
    weights = []
    for first in range(31):  # boxes of the first class, all equally likely beforehand
        means = [binom(first, 0.8), binom(30 - first, 0.3)]
        weights.append(sum(means[0].pmf(i) * means[1].pmf(20 - i) for i in range(21)))
    chances = np.array(weights) / sum(weights)
    rng = np.random.default_rng(0)
    uniform = np.ones((4000, 2))
    result = true_counts(answers, np.repeat(shares[None], 4000, axis=0), uniform, rng)
    assert (result.sum(axis=1) == 30).all()
    seen = np.bincount(result[:, 0].astype(int), minlength=31) / 4000
    assert np.abs(np.cumsum(seen) - np.cumsum(chances)).max() < 0.03


def test_many_boxes_find_the_counts_that_explain_the_answers() -> None:
    truth = np.array([50_000, 20_000, 10_000, 20_000])
    shares = np.repeat(SHARES[None], 50, axis=0)
    answers = np.rint(truth @ SHARES).astype(int)
    result = true_counts(answers, shares, np.ones((50, 4)), np.random.default_rng(0))
    assert np.allclose(result.mean(axis=0), truth, atol=1000)


def test_two_classes_that_are_answered_alike_share_what_is_left_open() -> None:
    """Maximum likelihood might give either everything; the interval says that it may be so."""
    alike = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    counts = np.array([[[50, 50, 0], [50, 50, 0], [0, 0, 100]]] * 4, float)
    matrix = Confusion(["a", "b", "other"], ["a", "b", "unknown"], counts, list("1234"))
    (result,) = correct(np.array([[60, 40, 30]]), matrix)
    assert np.allclose(result.counts, [50, 50, 30], atol=8)
    low, high = result.interval()
    assert low[0] < 10 < 90 < high[0]
    assert matrix.shares == pytest.approx(alike, abs=0.01)


def test_own_shares_scatter_as_much_as_was_asked() -> None:
    rng = np.random.default_rng(0)
    means = np.repeat(SHARES[None], 4000, axis=0)
    own = own_shares(means, 0.1, rng)
    assert np.allclose(own.mean(axis=0), SHARES, atol=0.01)
    assert np.allclose(own.var(axis=0), 0.1 * SHARES * (1 - SHARES), rtol=0.12)
    assert np.allclose(own_shares(means, 0.0, rng), means)
    assert np.isfinite(own_shares(means, 0.99, rng)).all()


def test_a_flight_without_boxes_counts_nothing() -> None:
    matrix = held_out(np.random.default_rng(0), 3, 0.0)
    for answers in (np.zeros((1, 4), int), np.zeros((2, 4), int), np.array([[0] * 4, [3] * 4])):
        result = correct(answers, matrix, draws=3)[0]
        assert (result.counts == 0).all()
        assert (result.draws == 0).all()


def test_flights_with_equal_answers_get_draws_of_their_own() -> None:
    """Otherwise their errors would add up instead of levelling out."""
    matrix = held_out(np.random.default_rng(0), 6, 0.0)
    result = correct(np.array([[30, 20, 10, 20]] * 25), matrix, draws=200)
    single = np.mean([each.draws.var(axis=0) for each in result], axis=0)
    together = np.sum([each.draws for each in result], axis=0).var(axis=0)
    assert not np.array_equal(result[0].draws, result[1].draws)
    assert (together < 25 * 12 * single).all()  # 25 * 25 if they were the same
    again = correct(np.array([[30, 20, 10, 20]] * 25), matrix, draws=200)
    assert all(np.array_equal(a.draws, b.draws) for a, b in zip(result, again, strict=True))


@pytest.mark.parametrize("correlation", [0.0, 0.05])
def test_the_prior_of_many_small_flights_does_not_add_up(correlation: float) -> None:
    """Sixty flights of a few boxes, mostly of one species: the total is right, as is its interval."""
    inside, errors, uniform = [], [], []
    for seed in range(15):
        rng = np.random.default_rng([77, seed])
        matrix = held_out(rng, 6, correlation)
        truth = rng.multinomial(4, [0.8, 0.1, 0.05, 0.05], size=60)
        answers = np.array([flight(rng, own, correlation).sum(axis=0) for own in truth], int)
        result = correct(answers, matrix, draws=60, seed=seed)
        low, high = Corrected(np.sum([each.draws for each in result], axis=0)).interval()
        total = truth.sum(axis=0)
        inside.append((low <= total) & (total <= high))
        errors.append(np.sum([each.counts for each in result], axis=0) - total)
        alone = [correct(own[None], matrix, draws=10, seed=seed)[0].counts for own in answers[:20]]
        uniform.append(3 * np.sum(alone, axis=0) - total)
    assert np.mean(uniform, axis=0)[0] < -40  # of 192
    assert abs(np.mean(errors, axis=0)[0]) < 20
    assert np.mean(inside) >= 0.85


def test_shares_and_their_draws() -> None:
    matrix = held_out(np.random.default_rng(1), 4, 0.1)
    pooled = matrix.counts.sum(axis=0)
    for row in range(4):
        expected = (pooled[row] + PRIOR / 4) / (pooled[row].sum() + PRIOR)
        assert np.allclose(matrix.shares[row], expected)
    drawn = matrix.drawn(2000, seed=0)
    assert np.allclose(drawn.sum(axis=2), 1)
    assert np.allclose(drawn.mean(axis=0), matrix.shares, atol=0.02)
    per_flight = matrix.counts[:, 0] / matrix.counts[:, 0].sum(axis=1, keepdims=True)
    assert (drawn[:, 0].max(axis=0) <= per_flight.max(axis=0) + 0.05).all()
    single = Confusion(matrix.rows, matrix.columns, matrix.counts[:1], ["0"])
    assert np.allclose(single.drawn(3, seed=0), single.shares)


@pytest.mark.parametrize("correlation", [0.0, 0.05, 0.2])
def test_overdispersion_is_that_of_the_simulation(correlation: float) -> None:
    result = [held_out(np.random.default_rng(seed), 12, correlation).overdispersion for seed in range(40)]
    assert np.mean(result) == pytest.approx(correlation, abs=0.012 + 0.1 * correlation)


def test_one_flight_has_no_overdispersion_to_measure() -> None:
    assert held_out(np.random.default_rng(0), 1, 0.2).overdispersion == 0
