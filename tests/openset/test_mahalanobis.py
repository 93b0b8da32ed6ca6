import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from dml_lightning.metrics.functional import auroc
from dml_lightning.openset import MahalanobisDetector, PrototypeDetector, RelativeMahalanobisDetector
from dml_lightning.openset.mahalanobis import _shrunk_covariance

Array = NDArray[np.float64]


def sample(seed: int, n: int = 60, classes: int = 3, dim: int = 4) -> tuple[Array, NDArray[np.int64]]:
    """Unequal classes, labelled 0, 10, 20, whose shared covariance is far from round."""
    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(classes), rng.choice(classes, n - classes, p=_shares(classes))] * 10
    stretch = np.linspace(0.5, 2, dim)[:, None] * np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return 3 * rng.normal(size=(classes, dim))[y // 10] + rng.normal(size=(n, dim)) @ stretch, y


def _shares(classes: int) -> Array:
    return np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()


def centred(x: Array, y: NDArray[np.int64]) -> Array:
    return np.concatenate([x[y == c] - x[y == c].mean(0) for c in np.unique(y)])


def squared(x: Array, mean: Array, covariance: Array) -> Array:
    """(x - mean)ᵀ covariance⁻¹ (x - mean), one sample at a time."""
    return np.array([(v - mean) @ np.linalg.solve(covariance, v - mean) for v in x])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 40), dim=st.integers(1, 12))
def test_the_shrunk_covariance_is_ledoit_and_wolfs(seed: int, n: int, dim: int) -> None:
    """Their estimate, entry by entry: the weight is the variance of S over its distance from mu I."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim))
    x -= x.mean(0)
    s = x.T @ x / n
    target = s.trace() / dim * np.eye(dim)
    distance = ((s - target) ** 2).sum()
    noise = min(sum(((np.outer(row, row) - s) ** 2).sum() for row in x) / n**2, distance)
    weight = noise / distance if distance > 1e-12 * (s**2).sum() else 0.0
    expected = weight * target + (1 - weight) * s
    assert _shrunk_covariance(torch.from_numpy(x)).numpy() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_scores_equal_the_papers_with_scikit_learns_covariance(seed: int) -> None:
    x, y = sample(seed)
    fresh = np.random.default_rng(seed).normal(0, 4, (20, 4))
    shared = LedoitWolf(assume_centered=True).fit(centred(x, y)).covariance_
    nearest = np.min([squared(fresh, x[y == c].mean(0), shared) for c in np.unique(y)], axis=0)
    assert MahalanobisDetector().fit(x, y).score(fresh) == pytest.approx(nearest, rel=1e-7)
    shares = [(y == c).mean() for c in np.unique(y)]
    means = np.array([x[y == c].mean(0) for c in np.unique(y)]) - x.mean(0)
    total = shared + sum(p * np.outer(m, m) for p, m in zip(shares, means, strict=True))
    relative = nearest - squared(fresh, x.mean(0), total)
    assert RelativeMahalanobisDetector().fit(x, y).score(fresh) == pytest.approx(relative, rel=1e-7, abs=1e-7)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_without_shrinkage_the_relative_distance_is_the_papers(seed: int) -> None:
    """Two plain covariances, of scikit-learn, whose distances are squared as well."""
    x, y = sample(seed)
    fresh = np.random.default_rng(seed).normal(0, 4, (20, 4))
    plain = EmpiricalCovariance(assume_centered=True).fit(centred(x, y))
    nearest = np.min([plain.mahalanobis(fresh - x[y == c].mean(0)) for c in np.unique(y)], axis=0)
    relative = nearest - EmpiricalCovariance().fit(x).mahalanobis(fresh)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dml_lightning.openset.mahalanobis._shrunk_covariance", lambda c: c.T @ c / len(c))
        own = RelativeMahalanobisDetector().fit(x, y).score(fresh)
    assert own == pytest.approx(relative, rel=1e-7, abs=1e-7)


def test_with_many_samples_shrinkage_vanishes_and_the_plain_covariance_remains() -> None:
    x, y = sample(0, n=200_000)
    fresh = np.random.default_rng(1).normal(0, 4, (200, 4))
    plain = EmpiricalCovariance(assume_centered=True).fit(centred(x, y)).covariance_
    expected = np.min([squared(fresh, x[y == c].mean(0), plain) for c in np.unique(y)], axis=0)
    assert MahalanobisDetector().fit(x, y).score(fresh) == pytest.approx(expected, rel=0.01)


def test_normalised_features() -> None:
    x, y = sample(2)
    fresh = 5 * np.random.default_rng(3).normal(size=(30, 4))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    fresh_unit = fresh / np.linalg.norm(fresh, axis=1, keepdims=True)
    for kind in (MahalanobisDetector, RelativeMahalanobisDetector):
        own = kind(normalize=True).fit(x, y).score(fresh)
        assert own == pytest.approx(kind().fit(unit, y).score(fresh_unit))
        assert own == pytest.approx(kind(normalize=True).fit(x, y).score(7 * fresh))
        assert own != pytest.approx(kind().fit(x, y).score(fresh))
        assert np.isfinite(kind(normalize=True).fit(x, y).score(np.zeros((1, 4)))).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-1e4, 1e4))
def test_a_shift_and_a_rotation_change_nothing(seed: int, shift: float) -> None:
    x, y = sample(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
    for kind in (MahalanobisDetector, RelativeMahalanobisDetector):
        expected = kind().fit(x, y).score(x)
        assert kind().fit(x @ turn + shift, y).score(x @ turn + shift) == pytest.approx(expected, rel=1e-5, abs=1e-5)


# Readings that circulate, and why they are wrong.


def test_the_covariance_is_of_class_centred_data() -> None:
    """Of all samples about their common mean it holds the distance between the classes as spread."""
    rng = np.random.default_rng(4)
    y = np.repeat([0, 1], 500)
    x = np.array([[0.0, 0.0], [20.0, 0.0]])[y] + rng.normal(size=(1000, 2))
    between, aside = np.array([[10.0, 0.0]]), np.array([[0.0, 5.0]])
    detector = MahalanobisDetector().fit(x, y)
    assert detector.score(between)[0] > 90  # ten standard deviations from either class
    assert detector.score(between)[0] > detector.score(aside)[0]
    common = np.cov(x.T)  # this reading calls the midpoint the more familiar one
    assert squared(between, x[y == 0].mean(0), common) < squared(aside, x[y == 0].mean(0), common)


def test_samples_weigh_the_same_whatever_their_class() -> None:
    """Lee et al., equation 1: 1/N over all samples; the mean of the classes' covariances weighs small ones up."""
    rng = np.random.default_rng(5)
    y = np.repeat([0, 1], [9000, 1000])
    x = np.array([1.0, 3.0])[y, None] * rng.normal(size=(10_000, 2)) + 50 * y[:, None]
    score = MahalanobisDetector().fit(x, y).score(np.array([[3.0, 0.0]]))[0]
    assert score == pytest.approx(9 / (0.9 * 1 + 0.1 * 9), rel=0.05)
    assert score != pytest.approx(9 / (0.5 * 1 + 0.5 * 9), rel=0.5)


def test_relative_distances_are_differences_of_squares() -> None:
    """Ren et al. compare log-likelihoods: a difference of square roots orders samples differently."""
    rng = np.random.default_rng(6)
    y = np.repeat([0, 1], 4000)
    x = np.array([[-4.0, 0.0], [4.0, 0.0]])[y] + rng.normal(size=(8000, 2))
    a, b = np.array([[0.0, 0.0]]), np.array([[12.0, 0.0]])
    detector = RelativeMahalanobisDetector().fit(x, y)
    assert detector.score(b)[0] > detector.score(a)[0]  # 64 - 8.5 and 16 - 0
    roots = [
        math.sqrt(MahalanobisDetector().fit(x, y).score(v)[0])
        - math.sqrt(MahalanobisDetector().fit(x, 0 * y).score(v)[0])
        for v in (a, b)
    ]
    assert roots[1] - roots[0] < 2  # 8 - 2.9 against 4 - 0: nearly level, where squares say 55 and 16
    least = detector.score(np.array([[4.0, 0.0]]))[0]
    assert least < 0  # the nearest class counts; the farthest would make a class centre the worst sample
    assert least < detector.score(a)[0]


# Degenerate references.


@pytest.mark.parametrize("kind", [MahalanobisDetector, RelativeMahalanobisDetector])
@pytest.mark.parametrize("normalize", [False, True])
def test_fewer_samples_than_dimensions(kind: type[MahalanobisDetector], normalize: bool) -> None:
    rng = np.random.default_rng(7)
    centres = 3 * rng.normal(size=(4, 128))
    y = np.repeat(np.arange(4), 8)
    x = centres[y] + rng.normal(size=(32, 128))
    known, ood = centres[y] + rng.normal(size=(32, 128)), 3 * rng.normal(size=(200, 128))
    detector = kind(normalize).fit(x, y)
    assert auroc(detector.score(known), detector.score(ood)) > 0.99


def test_a_constant_dimension_does_not_drown_the_others() -> None:
    x, y = sample(8, n=500)
    wide = np.c_[x, np.full(500, 0.3)]
    jitter = 1e-4 * np.random.default_rng(0).normal(size=500)
    plain = MahalanobisDetector().fit(x, y).score(x)
    assert MahalanobisDetector().fit(wide, y).score(np.c_[x, 0.3 + jitter]) == pytest.approx(plain, rel=0.1, abs=0.1)
    off = MahalanobisDetector().fit(wide, y).score(np.c_[x, np.full(500, 9.0)])
    assert (off > plain).all()  # yet leaving it counts


def test_rank_deficient_embeddings() -> None:
    rng = np.random.default_rng(9)
    y = np.repeat([0, 1], 200)
    flat = rng.normal(size=(400, 3)) + 6 * y[:, None]
    basis = np.linalg.qr(rng.normal(size=(16, 3)))[0]
    detector = MahalanobisDetector().fit(flat @ basis.T, y)
    score = detector.score(flat @ basis.T)
    assert np.isfinite(score).all()
    outside = flat @ basis.T + np.linalg.qr(np.c_[basis, rng.normal(size=16)])[0][:, 3] * 2
    assert auroc(score, detector.score(outside)) == 1.0


@pytest.mark.parametrize("copies", [1, 3])
def test_no_spread_within_classes_gives_the_order_of_nearest_prototypes(copies: int) -> None:
    rng = np.random.default_rng(10)
    x = np.repeat(rng.normal(size=(5, 8)), copies, axis=0)
    y = np.repeat(np.arange(5), copies)
    fresh = rng.normal(size=(100, 8))
    nearest = PrototypeDetector().fit(x, y)
    score = MahalanobisDetector().fit(x, y).score(fresh)
    assert np.isfinite(score).all()
    assert score.argsort().tolist() == nearest.score(fresh).argsort().tolist()
    relative = RelativeMahalanobisDetector().fit(x, y).score(fresh)
    axes = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:4]  # the span of five means
    projected = (fresh - x.mean(0)) @ axes.T @ axes + x.mean(0)
    assert relative.argsort().tolist() == nearest.score(projected).argsort().tolist()


@pytest.mark.parametrize("n", [1, 2, 50])
def test_one_class(n: int) -> None:
    x, fresh = np.random.default_rng(11).normal(size=(n, 6)), np.full((1, 6), 30.0)
    y = np.full(n, 7)
    detector = MahalanobisDetector().fit(x, y)
    assert np.isfinite(detector.score(np.r_[x, fresh])).all()
    assert detector.score(fresh)[0] > detector.score(x).max()
    assert RelativeMahalanobisDetector().fit(x, y).score(np.r_[x, fresh]).tolist() == [0.0] * (n + 1)


def test_identical_samples_at_the_origin() -> None:
    detector = MahalanobisDetector().fit(np.zeros((4, 3)), np.zeros(4, int))
    assert detector.score(np.array([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]])).tolist() == [0.0, 25.0]


def test_errors() -> None:
    x, y = sample(12)
    for kind in (MahalanobisDetector, RelativeMahalanobisDetector):
        with pytest.raises(ValueError, match=f"this {kind.__name__} has no classes yet: call fit"):
            kind().score(x)
        with pytest.raises(ValueError, match="2 dimensions and references 4"):
            kind().fit(x, y).score(x[:, :2])
        with pytest.raises(ValueError, match="got none"):
            kind().fit(x[:0], y[:0])
        with pytest.raises(ValueError, match="one label per row"):
            kind().fit(x, y[:-1])
