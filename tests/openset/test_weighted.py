"""Weighted conformal: against the definition, crepes and the plain one, and what it holds under a shift."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dml_lightning.openset import p_values, samples_needed
from dml_lightning.openset.conformal import conformal_value
from dml_lightning.openset.weighted import effective_samples, shift_weights, weighted_p_values, weighted_thresholds

Array = NDArray[np.float64]
ALPHAS = st.sampled_from([0.05, 0.1, 0.2, 1 / 3, 0.5, 0.9])
WHOLE = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), min_size=1, max_size=30).filter(
    lambda rows: any(weight for _, weight in rows)
)


def slow_threshold(scores: Array, weights: list[int], new: int, alpha: float) -> float:
    """The quantile of level 1 - alpha of the weighted scores and of `new` at infinity, in exact fractions."""
    total = Fraction(sum(weights) + new)
    level = 1 - Fraction(alpha).limit_denominator(1000)
    for candidate in sorted(set(scores.tolist())):
        if sum(w for s, w in zip(scores, weights, strict=True) if s <= candidate) / total >= level:
            return candidate
    return math.inf


@settings(max_examples=150, deadline=None)
@given(rows=WHOLE, new=st.lists(st.integers(0, 40), min_size=1, max_size=5), alpha=ALPHAS, factor=st.floats(1e-3, 1e3))
def test_thresholds_and_p_values_equal_the_definition(
    rows: list[tuple[int, int]], new: list[int], alpha: float, factor: float
) -> None:
    """Scores are tied and weights are whole, times a factor that must not matter."""
    scores, weights = np.array([s for s, _ in rows], float), [w for _, w in rows]
    own, fresh = factor * np.array(weights), factor * np.array(new)
    limits = weighted_thresholds(scores, own, fresh, alpha)
    assert limits.tolist() == [slow_threshold(scores, weights, each, alpha) for each in new]
    for score in range(-1, 8):
        p = weighted_p_values(scores, own, np.full(len(new), float(score)), fresh)
        above = sum(w for s, w in rows if s >= score)
        assert p == pytest.approx([(above + each) / (sum(weights) + each) for each in new], abs=1e-12)
        np.testing.assert_array_equal(p <= alpha + 1e-9, score > limits)


@settings(max_examples=80, deadline=None)
@given(n=st.integers(1, 120), seed=st.integers(0, 10**6), alpha=st.floats(0.01, 0.99), weight=st.floats(1e-6, 1e6))
def test_equal_weights_are_plain_conformal_exactly(n: int, seed: int, alpha: float, weight: float) -> None:
    rng = np.random.default_rng(seed)
    scores, judged = rng.integers(40, size=n).astype(float), rng.integers(40, size=9).astype(float)
    own, new = np.full(n, weight), np.full(9, weight)
    plain = conformal_value(scores, alpha) if n >= samples_needed(alpha) else math.inf
    assert weighted_thresholds(scores, own, new, alpha).tolist() == [plain] * 9
    np.testing.assert_array_equal(weighted_p_values(scores, own, judged, new), p_values(scores, judged))


def test_a_whole_weight_is_a_crop_repeated_for_crepes() -> None:
    """It knows no weights (0.9), so that crops are repeated; a new crop counts once."""
    crepes = pytest.importorskip("crepes", reason="crepes is not installed")
    rng = np.random.default_rng(0)
    scores, weights, judged = rng.normal(size=50), rng.integers(5, size=50), rng.normal(size=30)
    theirs = crepes.ConformalClassifier().fit(np.repeat(scores, weights)).predict_p(judged[:, None], smoothing=False)
    ours = weighted_p_values(scores, weights, judged, np.ones(30))
    np.testing.assert_allclose(ours, np.asarray(theirs)[:, 0], atol=1e-12)


def drawn(rng: np.random.Generator, n: int, shift: float) -> tuple[Array, Array]:
    """Embeddings (n, 3) around `shift` on the first axis, and scores whose spread grows along it."""
    x = rng.normal(size=(n, 3)) + np.array([shift, 0.0, 0.0])
    return x, np.abs(rng.normal(size=n)) * np.exp(0.7 * x[:, 0])


SHIFT, ALPHA = 0.8, 0.1


def ratio(x: Array) -> Array:
    """Density of shifted embeddings over that of the others, times a factor that must not matter."""
    return np.asarray(7.0 * np.exp(SHIFT * x[:, 0]))


def refused(draws: int, seed: int, kind: str) -> tuple[float, float]:
    """Mean share of shifted known crops that are refused, with its standard error."""
    rng, shares = np.random.default_rng(seed), []
    for _ in range(draws):
        (x, scores), (fresh, judged) = drawn(rng, 200, 0.0), drawn(rng, 150, SHIFT)
        if kind == "plain":
            limits = np.full(150, conformal_value(scores, ALPHA))
        elif kind == "known":
            limits = weighted_thresholds(scores, ratio(x), ratio(fresh), ALPHA)
        else:
            weights = shift_weights(x, fresh)
            limits = weighted_thresholds(scores, weights.calibration, weights.new, ALPHA)
        shares.append((judged > limits).mean())
    return float(np.mean(shares)), float(np.std(shares) / math.sqrt(draws))


def test_plain_conformal_refuses_too_many_under_a_shift_and_the_weighted_one_does_not() -> None:
    plain, plain_error = refused(300, 0, "plain")
    assert plain - 3 * plain_error > 0.2  # twice the promise
    share, error = refused(600, 1, "known")
    assert share - 3 * error <= ALPHA
    assert share + 3 * error > ALPHA - 0.03  # and not by refusing nothing


def test_estimated_weights_hold_about_as_well() -> None:
    share, error = refused(60, 2, "estimated")
    assert error < 0.01
    assert share - 3 * error <= ALPHA
    assert share > ALPHA / 3


def test_weights_estimate_the_ratio_of_densities() -> None:
    rng = np.random.default_rng(5)
    x, fresh = drawn(rng, 4000, 0.0)[0], drawn(rng, 2000, SHIFT)[0]
    weights = shift_weights(x, fresh)
    exact = np.exp(SHIFT * np.concatenate([x, fresh])[:, 0] - SHIFT**2 / 2)
    found = np.concatenate([weights.calibration, weights.new])
    assert np.abs(np.log(found / exact)).mean() < 0.1
    assert weights.effective_samples == pytest.approx(4000 * math.exp(-(SHIFT**2)), rel=0.15)
    assert weights.clipped < 0.01


def test_without_a_shift_weights_are_nearly_equal_in_many_dimensions() -> None:
    """A regression that has seen the crops it weighs would tell most of them apart."""
    rng = np.random.default_rng(6)
    weights = shift_weights(rng.normal(size=(400, 32)), rng.normal(size=(300, 32)))
    assert weights.effective_samples > 250
    assert np.log(weights.new).mean() == pytest.approx(np.log(weights.calibration).mean(), abs=0.1)


def test_flights_with_nothing_in_common_are_clipped_and_told() -> None:
    rng = np.random.default_rng(7)
    weights = shift_weights(rng.normal(size=(60, 2)), 50 + rng.normal(size=(40, 2)), most=10)
    assert (weights.calibration.min(), weights.new.max()) == pytest.approx((0.1, 10.0))
    assert weights.clipped == 1.0
    assert np.isinf(weighted_thresholds(np.arange(60.0), weights.calibration, weights.new, 0.05)).all()


def test_effective_samples_are_those_of_the_definition() -> None:
    weights = np.random.default_rng(0).random(30)
    assert effective_samples(weights) == pytest.approx(sum(weights) ** 2 / sum(w * w for w in weights))
    assert effective_samples(np.full(7, 0.3)) == pytest.approx(7)


@pytest.mark.parametrize(
    ("weights", "new", "alpha", "message"),
    [
        ([1.0, 2.0], [1.0], 0.1, "3 calibration_scores and 2 weights"),
        ([1.0, -1.0, 1.0], [1.0], 0.1, "weights must be finite and at least 0"),
        ([1.0, 1.0, 1.0], [np.inf], 0.1, "new_weights must be finite"),
        ([0.0, 0.0, 0.0], [1.0], 0.1, "must not all be 0"),
        ([1.0, 1.0, 1.0], [1.0], 1.0, "alpha must lie strictly between 0 and 1, got 1.0"),
        ([1.0, np.nan, 1.0], [1.0], 0.1, "weights must not be NaN"),
        ([], [1.0], 0.1, "3 calibration_scores and 0 weights"),
    ],
)
def test_weights_that_are_none_are_refused(weights: list[float], new: list[float], alpha: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weighted_thresholds(np.arange(3.0), np.array(weights), np.array(new), alpha)


def test_scores_and_embeddings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 scores and 1 new_weights"):
        weighted_p_values(np.arange(3.0), np.ones(3), np.zeros(2), np.ones(1))
    x = np.random.default_rng(0).normal(size=(9, 2))
    with pytest.raises(ValueError, match="9 calibration and 4 new crops: weights by 5 folds need at least 5 of each"):
        shift_weights(x, x[:4])
    with pytest.raises(ValueError, match=r"most must be above 1, got 1\.0"):
        shift_weights(x, x, most=1.0)
    with pytest.raises(ValueError, match="3 dimensions and references 2"):
        shift_weights(x, np.zeros((9, 3)))
    with pytest.raises(ValueError, match="must not all be 0"):
        weighted_thresholds(np.empty(0), np.empty(0), np.ones(1), 0.1)
