import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dml_lightning.losses import BinaryCrossEntropyLoss, CrossEntropyLoss, FocalLoss, MetricCrossEntropyLoss
from dml_lightning.losses.base import ClassificationLoss

LOSSES = [
    CrossEntropyLoss(),
    CrossEntropyLoss(label_smoothing=0.1),
    BinaryCrossEntropyLoss(),
    BinaryCrossEntropyLoss(label_smoothing=0.1),
    FocalLoss(),
    FocalLoss(gamma=0.5),
    FocalLoss(gamma=1.0),
    MetricCrossEntropyLoss(),
    MetricCrossEntropyLoss(a=0.0, b=1.0, p=1.0),
    MetricCrossEntropyLoss(a=0.5, b=0.7, p=0.25),
]
names = [f"{i}-{type(loss).__name__}" for i, loss in enumerate(LOSSES)]


def batch(n: int = 6, classes: int = 4, seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=g, dtype=torch.float64)
    return logits, torch.randint(0, classes, (n,), generator=g)


def slow_cross_entropy(z: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    c = len(z)
    p = z.exp() / z.exp().sum()
    terms = [(smoothing / c + (1 - smoothing) * (k == y)) * p[k].log() for k in range(c)]
    return -torch.stack(terms).sum()


def slow_binary(z: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for k in range(len(z)):
        target = (1 - smoothing) * (k == y) + smoothing / 2
        p = 1 / (1 + (-z[k]).exp())
        total = total - target * p.log() - (1 - target) * (1 - p).log()
    return total / len(z)


def slow_focal(z: Tensor, y: Tensor, gamma: float, alpha: float = 1.0) -> Tensor:
    p = (z.exp() / z.exp().sum())[y]
    return -alpha * (1 - p) ** gamma * p.log()


def slow_metric(z: Tensor, y: Tensor, a: float, b: float, p: float) -> Tensor:
    q = z.exp() / z.exp().sum()
    total = torch.zeros((), dtype=torch.float64)
    for k in range(len(z)):
        gap = (q[k] - float(k == y)).abs()
        total = total - (1 + a - b * gap**p).log() + math.log(1 + a)
    return total


SLOW = [
    slow_cross_entropy,
    lambda z, y: slow_cross_entropy(z, y, 0.1),
    slow_binary,
    lambda z, y: slow_binary(z, y, 0.1),
    lambda z, y: slow_focal(z, y, 2.0),
    lambda z, y: slow_focal(z, y, 0.5),
    lambda z, y: slow_focal(z, y, 1.0),
    lambda z, y: slow_metric(z, y, 0.0, 0.8, 0.5),
    lambda z, y: slow_metric(z, y, 0.0, 1.0, 1.0),
    lambda z, y: slow_metric(z, y, 0.5, 0.7, 0.25),
]


@pytest.mark.parametrize(("loss", "slow"), list(zip(LOSSES, SLOW, strict=True)), ids=names)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 6), scale=st.sampled_from([0.1, 1.0, 4.0]))
def test_against_the_definition(
    loss: ClassificationLoss, slow: Callable[..., Tensor], seed: int, classes: int, scale: float
) -> None:
    logits, labels = batch(5, classes, seed, scale)
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    result = loss(a, labels).loss
    expected = torch.stack([slow(z, int(y)) for z, y in zip(b, labels, strict=True)]).mean()
    torch.testing.assert_close(result, expected)
    result.backward()
    expected.backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("loss", LOSSES, ids=names)
@pytest.mark.parametrize("gap", [20.0, 100.0, 1e4])
@pytest.mark.parametrize("right", [True, False])
def test_saturated_logits_stay_finite(loss: ClassificationLoss, gap: float, right: bool) -> None:
    logits = torch.zeros(2, 3)
    logits[:, 1] = gap
    logits.requires_grad_()
    value = loss(logits, torch.tensor([1, 1] if right else [0, 2])).loss
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
    if isinstance(loss, CrossEntropyLoss | FocalLoss) and not getattr(loss, "label_smoothing", 0):
        assert (value < 1e-6) if right else (value > 10)


@pytest.mark.parametrize("loss", LOSSES, ids=names)
def test_half_precision_under_autocast(loss: ClassificationLoss) -> None:
    logits, labels = batch()
    logits = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = loss(logits, labels).loss
    assert result.dtype == torch.float32
    assert result == loss(logits.float(), labels).loss


def test_softmax_gradients() -> None:
    g = torch.Generator().manual_seed(0)
    f = torch.randn(3, generator=g, dtype=torch.float64, requires_grad=True)
    w = torch.randn(4, 3, generator=g, dtype=torch.float64, requires_grad=True)
    z = w @ f
    z.retain_grad()
    CrossEntropyLoss()(z[None], torch.tensor([2])).loss.backward()
    p, onehot = z.detach().softmax(0), torch.eye(4, dtype=torch.float64)[2]
    torch.testing.assert_close(z.grad, p - onehot)
    torch.testing.assert_close(f.grad, (p @ w - w[2]).detach())
    torch.testing.assert_close(w.grad, torch.outer(p - onehot, f.detach()))


@pytest.mark.parametrize("make", [CrossEntropyLoss, BinaryCrossEntropyLoss, FocalLoss])
def test_class_weights_divide_by_their_sum(make: Callable[..., ClassificationLoss]) -> None:
    logits, labels = batch()
    weights = [1.0, 2.0, 0.5, 4.0]
    each = torch.stack([make()(z[None], y[None]).loss for z, y in zip(logits, labels, strict=True)])
    share = torch.tensor(weights, dtype=torch.float64)[labels]
    loss = make(class_weights=weights)
    torch.testing.assert_close(loss(logits, labels).loss, (share * each).sum() / share.sum())
    assert loss.state_dict() == {}


def test_class_weights_of_torch() -> None:
    logits, labels = batch()
    weights = [1.0, 2.0, 0.5, 4.0]
    expected = F.cross_entropy(logits, labels, torch.tensor(weights, dtype=torch.float64))
    torch.testing.assert_close(CrossEntropyLoss(0.0, weights)(logits, labels).loss, expected)


def test_focal_without_focus_is_cross_entropy() -> None:
    logits, labels = batch()
    expected = F.cross_entropy(logits, labels)
    torch.testing.assert_close(FocalLoss(0.0)(logits, labels).loss, expected)
    torch.testing.assert_close(FocalLoss(0.0, 0.25)(logits, labels).loss, expected / 4)


def test_ordinary_metric_cross_entropy_lies_within_twice_cross_entropy() -> None:
    for seed in range(20):
        logits, labels = batch(1, 5, seed, 3.0)
        value = MetricCrossEntropyLoss(0.0, 1.0, 1.0)(logits, labels).loss
        plain = F.cross_entropy(logits, labels)
        assert plain <= value + 1e-12
        assert value <= 2 * plain + 1e-12


def test_metric_cross_entropy_keeps_its_slope_at_saturated_wrong_answers() -> None:
    logits = torch.tensor([[60.0, 0.0, 0.0]], requires_grad=True)
    loss = MetricCrossEntropyLoss(0.0, 1.0, 1.0)(logits, torch.tensor([1])).loss
    loss.backward()
    exact = 2 * 60 - math.log(2)  # −log q_1 − log(1 − q_0) = 60 + 60 − log 2
    assert loss.item() == pytest.approx(exact, rel=1e-6)
    torch.testing.assert_close(logits.grad, torch.tensor([[2.0, -1.5, -0.5]]))


@pytest.mark.parametrize(("a", "b", "p"), [(0.0, 0.8, 0.5), (0.5, 1.2, 0.25), (0.0, 1.0, 1.0)])
def test_logged_bounds_hold_and_are_what_they_say(a: float, b: float, p: float) -> None:
    loss = MetricCrossEntropyLoss(a, b, p)
    for seed, scale in itertools.product(range(5), (1.0, 6.0)):
        logits, labels = batch(9, 3, seed, scale)
        logits[torch.arange(9), labels] += scale
        q, onehot = logits.softmax(1), torch.eye(3, dtype=torch.float64)

        def apart(x: Tensor, y: Tensor) -> Tensor:
            return -(1 - b / (1 + a) * (x - y).abs() ** p).log().sum()

        result = loss.diagnostics(logits, labels)
        largest = max(apart(q[i], onehot[labels[i]]) for i in range(9))
        torch.testing.assert_close(result["metric_ce_epsilon"], largest)
        torch.testing.assert_close(result["metric_ce_intra_bound"], 2 * largest)
        both = [(i, j) for i in range(9) for j in range(9) if i != j]
        intra = max(apart(q[i], q[j]) for i, j in both if labels[i] == labels[j])
        inter = min(apart(q[i], q[j]) for i, j in both if labels[i] != labels[j])
        torch.testing.assert_close(result["metric_ce_max_intra"], intra)
        torch.testing.assert_close(result["metric_ce_min_inter"], inter)
        assert intra <= result["metric_ce_intra_bound"] + 1e-12
        assert ("metric_ce_inter_bound" in result) == loss.is_metric
        if loss.is_metric:
            corner = apart(onehot[0], onehot[1])
            torch.testing.assert_close(result["metric_ce_inter_bound"], corner - 2 * largest)
            assert inter >= result["metric_ce_inter_bound"] - 1e-12


def test_it_says_whether_it_is_a_metric() -> None:
    assert "a metric" in repr(MetricCrossEntropyLoss(0.0, 0.8, 0.5))
    assert "not a metric" in repr(MetricCrossEntropyLoss(0.0, 0.9, 0.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropyLoss(1.0), "label_smoothing"),
        (lambda: BinaryCrossEntropyLoss(-0.1), "label_smoothing"),
        (lambda: FocalLoss(gamma=-1), "gamma"),
        (lambda: FocalLoss(alpha=0), "alpha"),
        (lambda: CrossEntropyLoss(class_weights=[1.0, 0.0]), "class_weights must be positive"),
        (lambda: MetricCrossEntropyLoss(b=1.5), r"b must be in \(0, 1 \+ a\]"),
        (lambda: MetricCrossEntropyLoss(p=2.0), "p must be"),
    ],
)
def test_refused_settings(make: Callable[..., ClassificationLoss], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_refused_inputs() -> None:
    logits, labels = batch()
    with pytest.raises(ValueError, match="2 class_weights for logits of 4 classes"):
        CrossEntropyLoss(class_weights=[1.0, 1.0])(logits, labels)
    with pytest.raises(ValueError, match="integers"):
        CrossEntropyLoss()(logits, labels.float())
