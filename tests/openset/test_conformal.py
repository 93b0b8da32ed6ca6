"""Simulations: what rule C promises, and what flights and a wrong rule per class make of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta, kstest

from dml_lightning.openset import (
    MahalanobisDetector,
    PrototypeDetector,
    class_thresholds,
    conformal_threshold,
    one_per_group,
    p_values,
    refusal_rates,
    samples_needed,
)
from dml_lightning.openset.conformal import conformal_rank

Array = NDArray[np.float64]


@pytest.mark.parametrize(("n", "alpha"), [(19, 0.05), (25, 0.1), (39, 0.1), (200, 0.02)])
def test_the_share_refused_follows_its_beta_distribution(n: int, alpha: float) -> None:
    """Uniform scores: a fresh one is refused with probability 1 - threshold, given the calibration draw."""
    rng = np.random.default_rng(n)
    refused = [1 - conformal_threshold(rng.random(n), alpha).value for _ in range(3000)]
    rank = conformal_rank(n, alpha)
    assert kstest(refused, beta(n + 1 - rank, rank).cdf).pvalue > 1e-3
    assert np.mean(refused) == pytest.approx(1 - rank / (n + 1), abs=3 * np.std(refused) / 50)
    assert 1 - rank / (n + 1) <= alpha + 1e-12
    assert 1 - (rank - 1) / (n + 1) > alpha  # and no more lenient than it must be


@pytest.mark.parametrize("levels", [2, 5, 30])
def test_tied_scores_are_refused_less_never_more(levels: int) -> None:
    rng = np.random.default_rng(levels)
    rates = [
        conformal_threshold(rng.integers(levels, size=39).astype(float), 0.1)
        .refuses(rng.integers(levels, size=100).astype(float))
        .mean()
        for _ in range(2000)
    ]
    assert np.mean(rates) <= 0.1 + 3 * np.std(rates) / np.sqrt(2000)


@pytest.mark.parametrize("kind", ["nearest", "radius", "per class", "Mahalanobis"])
def test_a_detectors_known_samples_are_refused_at_alpha(kind: str) -> None:
    """Prototypes from samples of their own; calibration on others: nothing about the detector matters."""
    rng, alpha, rates = np.random.default_rng(0), 0.1, []
    centres = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    for _ in range(300):
        y = rng.integers(2, size=290)
        x = centres[y] + rng.standard_t(3, size=(290, 3)) * np.array([1.0, 2.0])[y, None]
        fit, held, fresh = (slice(30), slice(30, 230), slice(230, 290))
        if kind == "Mahalanobis":
            scores = MahalanobisDetector().fit(x[fit], y[fit]).calibrate(x[held], alpha=alpha)
            rates.append(scores.predict(x[fresh]).is_ood.mean())
            continue
        detector = PrototypeDetector().fit(x[fit], y[fit])
        if kind == "per class":
            detector.calibrate(x[held], y[held], alpha=alpha, per_class=True)
        else:
            detector.calibrate(x[held], alpha=alpha, kind=kind)  # type: ignore[arg-type]
        rates.append(detector.predict(x[fresh]).is_ood.mean())
    error = 3 * np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= alpha + error
    if kind != "per class":  # which refuses less, since other classes may accept
        assert np.mean(rates) == pytest.approx(1 - conformal_rank(200, alpha) / 201, abs=error)


def test_the_threshold_of_the_predicted_class_alone_refuses_a_quarter() -> None:
    """A tight class beside a wide one: what strays from the wide one is judged by the tight one's threshold."""
    rng, alpha = np.random.default_rng(1), 0.1
    centres, spread = np.array([0.0, 1.0]), np.array([0.1, 1.5])
    every, predicted = [], []
    for _ in range(400):
        y = np.repeat([0, 1], 99)
        distances = abs((centres[y] + spread[y] * rng.normal(size=198))[:, None] - centres)
        thresholds = class_thresholds(distances, y, alpha)
        fresh = abs((centres[y] + spread[y] * rng.normal(size=198))[:, None] - centres)
        nearest = fresh.argmin(1)
        every.append([(thresholds.score(fresh) > 0)[y == c].mean() for c in (0, 1)])
        beyond = fresh[np.arange(198), nearest] > thresholds.values[nearest]
        predicted.append(beyond.mean())
    assert (np.mean(every, axis=0) <= alpha).all()  # in either class
    assert np.mean(predicted) == pytest.approx(0.25, abs=0.03)


def flights(rng: np.random.Generator, count: int, crops: int) -> Array:
    """Scores (count, crops) with an intra-class correlation of one half."""
    scores: Array = rng.normal(size=(count, 1)) + rng.normal(size=(count, crops))
    return scores


def test_five_flights_refuse_half_as_much_again() -> None:
    rng = np.random.default_rng(2)
    rates = np.array(
        [
            conformal_threshold(flights(rng, 5, 100).ravel(), 0.05).refuses(flights(rng, 1, 100)[0]).mean()
            for _ in range(4000)
        ]
    )
    assert rates.mean() == pytest.approx(0.075, abs=0.007)
    assert (rates > 0.1).mean() == pytest.approx(0.2, abs=0.03)


def test_one_crop_per_flight_keeps_the_promise_for_new_flights() -> None:
    rng, names = np.random.default_rng(3), np.repeat(np.arange(19), 10)
    rates = []
    for seed in range(4000):
        scores = flights(rng, 19, 10).ravel()[one_per_group(names, seed)]
        rates.append(conformal_threshold(scores, 0.05).refuses(flights(rng, 1, 40)[0]).mean())
    assert np.mean(rates) == pytest.approx(0.05, abs=3 * np.std(rates) / np.sqrt(4000))


@settings(max_examples=60, deadline=None)
@given(
    calibration=st.lists(st.integers(0, 8), min_size=1, max_size=60),
    fresh=st.lists(st.integers(-1, 9), min_size=1, max_size=20),
)
@pytest.mark.filterwarnings("ignore:.*too few for alpha")
def test_refusal_rates_are_those_of_the_thresholds(calibration: list[int], fresh: list[int]) -> None:
    held, scores = np.array(calibration, float), np.array(fresh, float)
    alphas = np.array([0.01, 0.05, 0.1, 0.2, 0.25, 0.5, 0.9])
    expected = [conformal_threshold(held, a).refuses(scores).mean() for a in alphas]
    assert refusal_rates(held, scores, alphas) == pytest.approx(np.array(expected))


def test_no_samples_have_no_rate() -> None:
    assert np.isnan(refusal_rates(np.ones(3), np.empty(0), np.array([0.1, 0.5]))).all()


@pytest.mark.parametrize(("alpha", "n"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.3, 3)])
def test_the_smallest_sufficient_sample(alpha: float, n: int) -> None:
    assert samples_needed(alpha) == n
    assert conformal_rank(n, alpha) <= n
    assert conformal_rank(n - 1, alpha) > n - 1


def test_per_class_guarantee_and_what_the_predicted_class_alone_would_do() -> None:
    rng = np.random.default_rng(2)
    centres, spread, alpha = np.array([0.0, 2.0]), np.array([0.3, 1.5]), 0.1
    every, predicted = [], []
    for _ in range(400):
        y = np.repeat([0, 1], 60)
        x = centres[y] + spread[y] * rng.normal(size=120)
        distances = abs(x[:, None] - centres)
        thresholds = class_thresholds(distances, y, alpha)
        fresh = centres[1] + spread[1] * rng.normal(size=60)
        own = abs(fresh[:, None] - centres)
        every.append((thresholds.score(own) > 0).mean())
        nearest = own.argmin(1)
        predicted.append((own[np.arange(60), nearest] > thresholds.values[nearest]).mean())
    assert np.mean(every) <= alpha
    assert np.mean(predicted) > 1.15 * alpha  # the wrong rule


def test_p_values_of_fresh_samples_are_uniform_or_larger() -> None:
    rng = np.random.default_rng(3)
    p = np.concatenate([p_values(rng.normal(size=19), rng.normal(size=5)) for _ in range(2000)])
    for level in (0.05, 0.1, 0.3, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=0.02)
    assert p.min() == 1 / 20
    assert p_values(np.array([1.0, 2.0]), np.array([0.0, 2.0, 3.0])).tolist() == [1, 2 / 3, 1 / 3]
