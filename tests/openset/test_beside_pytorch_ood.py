"""The same formulas in pytorch-ood, and where its released code (0.4.0) goes astray."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from dml_lightning.metrics.functional import auroc, fpr_at_tpr
from dml_lightning.openset import (
    Detector,
    EnergyDetector,
    KNNDetector,
    MahalanobisDetector,
    MaxLogitDetector,
    MaxSoftmaxDetector,
    RelativeMahalanobisDetector,
    ViMDetector,
)

peer = pytest.importorskip("pytorch_ood.detector", reason="pytorch-ood is not installed")


def crops(n: int, first: int, seed: int, dim: int = 16) -> tuple[Tensor, Tensor]:
    """Crops of four classes, `first` and the next ones."""
    centres = torch.randn(8, dim, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % 4 + first
    noise = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))
    return 1.5 * centres[labels] + noise * torch.linspace(0.5, 2, dim), labels


def head() -> tuple[Tensor, Tensor]:
    x, y = crops(400, 0, 1)
    return torch.stack([x[y == c].mean(0) for c in range(4)]) / 4, torch.linspace(-1, 1, 4)


def test_the_same_formula_gives_the_same_scores() -> None:
    x, y = crops(20_000, 0, 1)
    fresh = torch.cat([crops(200, 0, 2)[0], crops(200, 4, 3)[0]])
    logits = fresh @ head()[0].T + head()[1]
    knn = peer.KNN(None, k=5, normalize=False).fit_features(x, y)
    assert torch.allclose(KNNDetector(5).fit(x, y).score(fresh), knn.predict_features(fresh))
    vim = peer.ViM(None, 8, *head()).fit_features(x, y).predict_features(fresh)
    assert ViMDetector(*head()).fit(x, y).score(fresh).float().allclose(vim, rtol=1e-3, atol=1e-3)
    for own, other in (
        (MaxSoftmaxDetector(*head()), 1 + peer.MaxSoftmax(None).predict_logits(logits)),
        (MaxLogitDetector(*head()), peer.MaxLogit(None).predict_logits(logits)),
        (EnergyDetector(*head(), 2.0), peer.EnergyBased(None, t=2.0).predict_logits(logits)),
    ):
        assert own.score(fresh).float().allclose(other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("own", "name", "scale"), [(MahalanobisDetector(), "Mahalanobis", 2), (RelativeMahalanobisDetector(), "RMD", 1)]
)
def test_its_mahalanobis_distances_are_divided_by_the_samples(own: Detector, name: str, scale: float) -> None:
    """It inverts the scatter, not the covariance: with twice the samples, scores (and thresholds) halve."""
    x, y = crops(20_000, 0, 1)
    fresh = torch.cat([crops(200, 0, 2)[0], crops(200, 4, 3)[0]])
    expected = getattr(peer, name)(None).fit_features(x, y).predict_features(fresh)
    assert (scale * 20_000 * expected).allclose(own.fit(x, y).score(fresh).float(), rtol=0.02, atol=0.1)
    twice = getattr(peer, name)(None).fit_features(torch.cat([x, x]), torch.cat([y, y]))
    assert (2 * twice.predict_features(fresh)).allclose(expected, rtol=1e-3, atol=1e-5)
    again = type(own)().fit(torch.cat([x, x]), torch.cat([y, y])).score(fresh)
    assert again.allclose(own.score(fresh), rtol=0.01, atol=0.1)


def test_its_ridge_lets_a_constant_dimension_drown_the_others() -> None:
    """1e-6 on the scatter of 20,000 samples is a variance of 5e-11: a jitter of 1e-3 is 140 deviations."""
    x, y = crops(20_000, 0, 1)
    known, ood = crops(500, 0, 2)[0], crops(500, 4, 3)[0]
    x = torch.nn.functional.pad(x, (0, 1))
    jitter = 1e-2 * torch.randn(1000, 1, generator=torch.Generator().manual_seed(4))
    known, ood = (torch.cat([v, j], dim=1) for v, j in zip((known, ood), jitter.split(500), strict=True))
    theirs = peer.Mahalanobis(None).fit_features(x, y).predict_features
    ours = MahalanobisDetector().fit(x, y).score
    assert auroc(ours(known), ours(ood)) > 0.95
    assert auroc(theirs(known), theirs(ood)) < 0.6


def test_its_covariance_fails_with_about_as_many_samples_as_dimensions() -> None:
    x, y = crops(34, 0, 1, dim=32)
    known, ood = crops(300, 0, 2, dim=32)[0], crops(300, 4, 3, dim=32)[0]
    x, known, ood = (normalize(v) for v in (x, known, ood))
    for kind, other in ((MahalanobisDetector, peer.Mahalanobis), (RelativeMahalanobisDetector, peer.RMD)):
        ours, theirs = kind().fit(x, y).score, other(None).fit_features(x, y).predict_features
        assert auroc(ours(known), ours(ood)) > auroc(theirs(known), theirs(ood)) + 0.1


def test_its_softmax_ties_confident_samples() -> None:
    weight, bias = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    confident = torch.linspace(10, 40, 50)[:, None]
    theirs = peer.MaxSoftmax(None).predict_logits(confident @ weight.T)
    assert len(theirs.unique()) == 1
    assert len(MaxSoftmaxDetector(weight, bias).score(confident).unique()) == 50


def test_its_fpr_takes_ood_as_positive() -> None:
    """Most papers (Liang et al., Liu et al.) accept 95 % of the known samples instead: another number."""
    from pytorch_ood.metrics.functional import fpr_at_tpr as theirs

    rng = np.random.default_rng(0)
    known, ood = rng.normal(size=300), rng.normal(size=200) * 2 + 1
    labels = torch.cat([torch.zeros(300, dtype=torch.int64), -torch.ones(200, dtype=torch.int64)])
    found = float(theirs(torch.from_numpy(np.r_[known, ood]), labels))
    assert found == pytest.approx(fpr_at_tpr(known, ood, positive="ood"))
    assert abs(found - fpr_at_tpr(known, ood, positive="known")) > 0.1
