import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from dml_lightning.metrics.functional import auroc, fpr_at_tpr
from dml_lightning.metrics.ood import aupr, best_threshold, detection_accuracy, ood_metrics

Array = NDArray[np.float64]
tied = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)
huge = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30)
any_size = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30)
scores = st.one_of(tied, huge, any_size).map(np.array)


def labelled(known: Array, ood: Array, positive: str) -> tuple[Array, Array]:
    """Labels and scores for scikit-learn, positives scoring higher."""
    y = np.r_[np.zeros(len(known)), np.ones(len(ood))]
    s = np.r_[known, ood]
    return (y, s) if positive == "ood" else (1 - y, -s)


@settings(max_examples=150, deadline=None)
@given(known=scores, ood=scores)
def test_auroc_equals_scikit_learn_and_the_definition(known: Array, ood: Array) -> None:
    value = auroc(known, ood)
    assert value == pytest.approx(roc_auc_score(*labelled(known, ood, "ood")), abs=1e-12)
    pairs = (ood[:, None] > known).mean() + (ood[:, None] == known).mean() / 2
    assert value == pytest.approx(pairs, abs=1e-12)
    assert auroc(-ood, -known) == pytest.approx(value, abs=1e-12)  # either class is the positive one
    assert auroc(ood, known) == pytest.approx(1 - value, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    known=scores,
    ood=scores,
    tpr=st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.8, 0.95, 1.0]),
    positive=st.sampled_from(["ood", "known"]),
)
def test_fpr_equals_scikit_learn(known: Array, ood: Array, tpr: float, positive: str) -> None:
    false, true, _ = roc_curve(*labelled(known, ood, positive), drop_intermediate=False)
    assert fpr_at_tpr(known, ood, tpr, positive) == pytest.approx(false[true >= tpr].min())


@settings(max_examples=150, deadline=None)
@given(known=scores, ood=scores, positive=st.sampled_from(["ood", "known"]))
def test_aupr_equals_scikit_learn(known: Array, ood: Array, positive: str) -> None:
    expected = average_precision_score(*labelled(known, ood, positive))
    assert aupr(known, ood, positive) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(known=scores, ood=scores)
def test_the_best_threshold_is_the_best_of_all(known: Array, ood: Array) -> None:
    def balanced(threshold: float) -> float:
        return float(((known <= threshold).mean() + (ood > threshold).mean()) / 2)

    value, accuracy = best_threshold(known, ood)
    assert balanced(value) == pytest.approx(accuracy, abs=1e-12)
    candidates = [-math.inf, *known, *ood]
    assert accuracy == pytest.approx(max(map(balanced, candidates)), abs=1e-12)
    assert 0.5 <= detection_accuracy(known, ood) == accuracy


def test_the_best_threshold_lies_halfway() -> None:
    assert best_threshold(np.array([0.0, 1.0]), np.array([3.0, 4.0])) == (2.0, 1.0)
    # Refusing 5 and 2 or 5 alone is equally good: the higher threshold refuses fewer.
    assert best_threshold(np.array([0.0, 2.0]), np.array([2.0, 5.0])).value == 3.5


@settings(max_examples=60, deadline=None)
@given(known=tied.map(np.array), ood=tied.map(np.array))
def test_only_the_order_of_scores_counts(known: Array, ood: Array) -> None:
    warped = ood_metrics(np.exp(known) * 1e6, np.exp(ood) * 1e6)
    assert warped == pytest.approx(ood_metrics(known, ood))


def test_scores_that_torchmetrics_gets_wrong() -> None:
    from torchmetrics.functional.classification import binary_auroc

    rng = np.random.default_rng(0)
    known, ood = rng.normal(500, 1, 1000), rng.normal(502.2, 1, 1000)
    y = torch.from_numpy(np.r_[np.zeros(1000), np.ones(1000)]).long()
    assert float(binary_auroc(torch.from_numpy(np.r_[known, ood]), y)) == 0.5  # the trap
    assert auroc(known, ood) == pytest.approx(roc_auc_score(y, np.r_[known, ood]))
    assert auroc(known, ood) > 0.9


def test_the_two_conventions_of_fpr_differ() -> None:
    known, ood = np.arange(100.0), np.r_[np.arange(10.0), np.arange(200.0, 290.0)]
    assert fpr_at_tpr(known, ood, positive="ood") == 0.95
    assert fpr_at_tpr(known, ood, positive="known") == 0.1


def test_infinite_scores_order() -> None:
    known, ood = np.array([-math.inf, 0.0, 1.0]), np.array([math.inf, math.inf, 1.0])
    assert auroc(known, ood) == pytest.approx(8.5 / 9)
    assert aupr(known, ood) == pytest.approx(2 / 3 + 1 / 3 * 3 / 4)
    assert best_threshold(known, ood) == (1.0, pytest.approx(5 / 6))
    assert best_threshold(np.array([-math.inf]), np.array([math.inf])) == (-math.inf, 1.0)


def test_an_empty_side_is_undefined() -> None:
    some, none = np.ones(3), np.empty(0)
    for metrics in (ood_metrics(some, none), ood_metrics(none, some), ood_metrics(none, none)):
        assert all(math.isnan(value) for value in metrics[:6])


def test_torch_and_numpy_agree() -> None:
    known, ood = torch.randn(20), torch.randn(30)
    assert ood_metrics(known, ood) == ood_metrics(known.numpy(), ood.numpy())
    assert auroc(known.bfloat16(), ood.bfloat16()) == pytest.approx(auroc(known, ood), abs=0.02)


def test_errors() -> None:
    some = np.ones(3)
    with pytest.raises(ValueError, match=r"known_scores must have shape \(N,\)"):
        auroc(np.ones((2, 2)), some)
    with pytest.raises(ValueError, match="ood_scores must not be NaN, but number 1"):
        auroc(some, np.array([0.0, math.nan]))
    with pytest.raises(ValueError, match='"ood" or "known"'):
        fpr_at_tpr(some, some, positive="id")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tpr"):
        fpr_at_tpr(some, some, tpr=0.0)
