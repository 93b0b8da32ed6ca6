import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance

from dml_lightning.metrics.functional import auroc
from dml_lightning.openset import EnergyDetector, MaxLogitDetector, MaxSoftmaxDetector, RejectDetector, ViMDetector

Array = NDArray[np.float64]


def head(seed: int, classes: int = 3, dim: int = 8) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(classes, dim)), rng.normal(size=classes)


def features(seed: int, n: int = 60, dim: int = 8) -> Array:
    return np.random.default_rng([seed, 1]).normal(size=(n, dim)) + 1.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), temperature=st.sampled_from([0.5, 1.0, 10.0]))
def test_scores_equal_the_definitions(seed: int, temperature: float) -> None:
    (weight, bias), x = head(seed), features(seed, 10)
    said = zip(
        x,
        MaxSoftmaxDetector(weight, bias).score(x),
        MaxLogitDetector(weight, bias).score(x),
        EnergyDetector(weight, bias, temperature).score(x),
        strict=True,
    )
    for vector, softmax, logit, energy in said:
        z = [float(w @ vector + b) for w, b in zip(weight, bias, strict=True)]
        assert softmax == pytest.approx(1 - max(map(math.exp, z)) / sum(map(math.exp, z)))
        assert logit == pytest.approx(-max(z))
        assert energy == pytest.approx(-temperature * math.log(sum(math.exp(v / temperature) for v in z)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_reject_score_orders_as_the_probability_and_does_not_tie(seed: int) -> None:
    (weight, bias), (reject, own_bias), x = head(seed), head(seed + 1, classes=1), features(seed, 10)
    scores = RejectDetector(weight, bias, reject, own_bias).score(x)
    for vector, score in zip(x, scores, strict=True):
        z = [float(w @ vector + b) for w, b in zip(weight, bias, strict=True)]
        rejected = math.exp(float(reject[0] @ vector + own_bias[0]))
        share = rejected / (sum(map(math.exp, z)) + rejected)
        assert score == pytest.approx(math.log(share / (1 - share)))
    far = RejectDetector(np.eye(1), [0.0], np.array([[2.0]]), [0.0]).score(np.array([[50.0], [60.0]]))
    assert far.tolist() == [50.0, 60.0]  # both probabilities are 1 in float64


def test_a_reject_class_of_another_shape_is_refused() -> None:
    for reject in (head(1), head(1, classes=1, dim=5)):
        with pytest.raises(ValueError, match=r"beside a head \(3, 8\) has weight \(1, 8\) and bias \(1,\), got"):
            RejectDetector(*head(0), *reject)


def vim_of_the_paper(reference: Array, fresh: Array, w: Array, b: Array, principal: int) -> Array:
    """The authors' released steps, with scikit-learn's covariance as there."""
    origin = -np.matmul(np.linalg.pinv(w), b)
    covariance = EmpiricalCovariance(assume_centered=True).fit(reference - origin).covariance_
    values, vectors = np.linalg.eig(covariance)
    null = np.ascontiguousarray((vectors.T[np.argsort(values * -1)[principal:]]).T)
    virtual = np.linalg.norm(np.matmul(reference - origin, null), axis=-1)
    alpha = (reference @ w.T + b).max(axis=-1).mean() / virtual.mean()
    energy = np.log(np.exp(fresh @ w.T + b).sum(axis=1))
    return np.linalg.norm(np.matmul(fresh - origin, null), axis=-1) * alpha - energy


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), principal=st.integers(0, 7))
def test_vim_equals_the_authors_steps(seed: int, principal: int) -> None:
    (weight, bias), x, fresh = head(seed), features(seed), features(seed + 1)
    detector = ViMDetector(weight, bias, principal).fit(x, np.zeros(60, int))
    expected = vim_of_the_paper(x, fresh, weight, bias, principal)
    assert detector.score(fresh) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_vim_measures_from_the_point_where_all_logits_vanish() -> None:
    """Not from +W⁺b, nor from the mean of the features."""
    weight, bias = head(1)
    detector = ViMDetector(weight, bias).fit(features(1), np.zeros(60, int))
    at_origin = torch.from_numpy(detector.origin[None])
    assert detector.logits(at_origin).abs().max() < 1e-12
    assert detector.score(at_origin)[0] == pytest.approx(-math.log(3))  # no residual at all
    shifted = features(1) @ weight.T + bias
    assert detector.alpha > 0
    assert shifted.max(1).mean() == pytest.approx(
        detector.alpha * np.linalg.norm((features(1) - detector.origin) @ detector.residual, axis=1).mean()
    )  # alpha gives the virtual logit the size of the largest ones


def test_vim_sees_what_the_logits_do_not() -> None:
    rng = np.random.default_rng(2)
    weight = np.c_[np.eye(3), np.zeros((3, 9))]
    y = rng.integers(3, size=300)
    x = np.c_[6.0 * np.eye(3)[y], np.zeros((300, 9))] + 0.1 * rng.normal(size=(300, 12))
    ood = x + np.r_[np.zeros(11), 3.0]  # orthogonal to every weight
    vim = ViMDetector(weight, np.zeros(3)).fit(x, y)
    energy = EnergyDetector(weight, np.zeros(3))
    assert auroc(vim.score(x), vim.score(ood)) == 1.0
    assert auroc(energy.score(x), energy.score(ood)) == 0.5


def test_vim_takes_half_of_the_dimensions_or_what_the_reference_spans() -> None:
    weight, bias = head(3)
    many = ViMDetector(weight, bias).fit(features(3), np.zeros(60, int))
    assert many.residual.shape == (8, 4)
    few = ViMDetector(weight, bias).fit(features(3, n=3), np.zeros(3, int))
    assert few.residual.shape == (8, 6)
    assert np.isfinite(few.score(features(4))).all()
    one = ViMDetector(weight, bias).fit(features(3, n=1), np.zeros(1, int))
    assert one.residual.shape == (8, 8)
    flat = ViMDetector(weight, bias).fit(np.repeat(many.origin[None], 5, 0), np.zeros(5, int))
    assert np.isfinite(flat.score(features(4))).all()
    with pytest.raises(ValueError, match=r"span 3 dimensions.*outside 3 principal"):
        ViMDetector(weight, bias, 3).fit(features(3, n=3), np.zeros(3, int))


def test_confident_samples_do_not_tie() -> None:
    """A float32 softmax is exactly 1 from a gap of 17 on: every more confident sample then ties."""
    weight, bias = np.array([[1.0], [0.0], [-1.0]]), np.zeros(3)
    gaps = np.array([[20.0], [40.0], [200.0], [600.0]])
    score = MaxSoftmaxDetector(weight, bias).score(gaps)
    assert (np.diff(score) < 0).all()
    assert score == pytest.approx(np.exp(-gaps[:, 0]))
    single = torch.from_numpy(gaps @ weight.T).float().softmax(1).amax(1)
    assert single.unique().tolist() == [1.0]


def test_extreme_logits_stay_finite() -> None:
    weight, bias = np.array([[1e6], [-1e6]]), np.zeros(2)
    x = np.array([[1.0], [-1.0], [0.0]])
    for kind in (MaxSoftmaxDetector, MaxLogitDetector, EnergyDetector):
        assert np.isfinite(kind(weight, bias).score(x)).all()
    assert EnergyDetector(weight, bias, 1e-3).score(x) == pytest.approx(
        MaxLogitDetector(weight, bias).score(x), abs=1e-3
    )


def test_a_common_constant_on_the_logits_moves_all_but_the_probability() -> None:
    (weight, bias), x = head(5), features(5)
    for kind, moved in ((MaxSoftmaxDetector, 0.0), (MaxLogitDetector, 2.0), (EnergyDetector, 2.0)):
        before, after = kind(weight, bias).score(x), kind(weight, bias + 2).score(x)
        assert before - after == pytest.approx(np.full(60, moved))


def test_one_class_has_no_other_probability() -> None:
    weight, bias = head(6, classes=1)
    assert MaxSoftmaxDetector(weight, bias).score(features(6)).tolist() == [0.0] * 60
    fitted = ViMDetector(weight, bias).fit(features(6), np.zeros(60, int))
    assert np.isfinite(fitted.score(features(6))).all()


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("classes", [1, 3])
def test_a_vector_that_is_not_finite_is_named_whatever_its_block(wrong: float, classes: int) -> None:
    weight, bias = head(7, classes, dim=64)
    x = np.ones((9_000, 64), np.float32)  # two blocks
    x[8_500, 3] = wrong
    fitted = ViMDetector(weight, bias).fit(features(7, dim=64), np.zeros(60, int))
    reject = RejectDetector(weight, bias, *head(8, classes=1, dim=64))
    others = (kind(weight, bias) for kind in (MaxSoftmaxDetector, MaxLogitDetector, EnergyDetector))
    for detector in (fitted, reject, *others):
        with pytest.raises(ValueError, match="row 8500 holds NaN or infinity"):
            detector.score(x)


def test_errors() -> None:
    weight, bias = head(7)
    with pytest.raises(ValueError, match=r"weight \(C, D\) and bias \(C,\), got \(3, 8\) and \(2,\)"):
        MaxLogitDetector(weight, bias[:2])
    with pytest.raises(ValueError, match="got \\(8,\\)"):
        MaxLogitDetector(weight[0], bias)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        EnergyDetector(weight, bias, 0)
    with pytest.raises(ValueError, match=r"principal must lie in 0\.\.7, got 8"):
        ViMDetector(weight, bias, 8)
    with pytest.raises(ValueError, match="call fit first"):
        ViMDetector(weight, bias).score(features(7))
    with pytest.raises(ValueError, match="at least one reference embedding"):
        ViMDetector(weight, bias).fit(features(7)[:0], np.zeros(0, int))
    for kind in (MaxSoftmaxDetector, MaxLogitDetector, EnergyDetector, ViMDetector):
        with pytest.raises(ValueError, match="5 dimensions, the head takes 8"):
            kind(weight, bias).score(np.zeros((1, 5)))
