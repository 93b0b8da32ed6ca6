from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import MultiSimilarityLoss as PeerMultiSimilarity
from torch import Tensor
from torch.nn.functional import normalize

from dml_lightning.losses import ContrastiveLoss, MultiSimilarityLoss, NPairLoss, functional
from dml_lightning.losses.base import EmbeddingLoss
from dml_lightning.types import CLUTTER

LOSSES = [ContrastiveLoss(1.0), NPairLoss(), MultiSimilarityLoss()]


def pairs(labels: Tensor) -> list[tuple[int, int]]:
    n = range(len(labels))
    return [(i, j) for i in n for j in n if i != j and labels[i] != CLUTTER]


def contrastive(x: Tensor, labels: Tensor, margin: float = 1.0) -> Tensor:
    every = pairs(labels)
    total = x.sum() * 0
    for i, j in every:
        square = (x[i] - x[j]).square().sum()
        if labels[i] == labels[j]:
            total = total + square
        else:
            d = square.sqrt() if square > 0 else square * 0
            total = total + (margin - d).clamp_min(0).square()
    return total / max(len(every), 1)


def n_pair(x: Tensor, labels: Tensor) -> Tensor:
    every = pairs(labels)
    losses = []
    for a, p in every:
        rest = [n for n in range(len(labels)) if labels[n] != labels[a]]
        if labels[a] == labels[p] and rest:
            terms = [(x[a] @ x[n] - x[a] @ x[p]).exp() for n in rest]
            losses.append((1 + sum(terms)).log())
    return torch.stack(losses).mean() if losses else x.sum() * 0


def multi_similarity(x: Tensor, labels: Tensor, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5) -> Tensor:
    every = pairs(labels)
    total = x.sum() * 0
    anchors = [a for a in range(len(labels)) if labels[a] != CLUTTER]
    for a in anchors:
        near = [x[a] @ x[p] for i, p in every if i == a and labels[p] == labels[a]]
        far = [x[a] @ x[n] for i, n in every if i == a and labels[n] != labels[a]]
        total = total + (1 + sum((-alpha * (s - base)).exp() for s in near)).log() / alpha if near else total
        total = total + (1 + sum((beta * (s - base)).exp() for s in far)).log() / beta if far else total
    return total / max(len(anchors), 1)


SLOW = [contrastive, n_pair, multi_similarity]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 4), st.booleans(), st.booleans())
def test_against_the_definition(seed: int, n: int, classes: int, duplicate: bool, clutter: bool) -> None:
    g = torch.Generator().manual_seed(seed)
    x = normalize(torch.randn(n, 3, generator=g, dtype=torch.float64), dim=1)
    labels = torch.randint(0, classes, (n,), generator=g)
    labels[: n // 3] = CLUTTER if clutter else labels[: n // 3]
    if duplicate:
        x[-1] = x[0]
    for loss, slow in zip(LOSSES, SLOW, strict=True):
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        result, expected = loss(a, labels).loss, slow(b, labels)
        torch.testing.assert_close(result, expected)
        result.backward()
        expected.backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: type(x).__name__)
def test_gradcheck(loss: EmbeddingLoss) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(7, 3, generator=g, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 3])
    assert torch.autograd.gradcheck(lambda e: loss(e, labels).loss, x)


@pytest.mark.parametrize("elements", [1, 30])
def test_contrastive_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(11, 3, generator=g, dtype=torch.float64)
    labels = torch.arange(11) % 3
    monkeypatch.setitem(functional.SORTED_ELEMENTS, "cpu", elements)
    torch.testing.assert_close(ContrastiveLoss(2.0)(x, labels).loss, contrastive(x, labels, 2.0))


def test_multi_similarity_is_the_peers() -> None:
    g = torch.Generator().manual_seed(1)
    x = normalize(torch.randn(40, 8, generator=g), dim=1)
    labels = torch.randint(0, 5, (40,), generator=g)
    torch.testing.assert_close(MultiSimilarityLoss()(x, labels).loss, PeerMultiSimilarity()(x, labels))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("x", [torch.zeros(6, 4), 1e4 * torch.ones(6, 4), torch.full((6, 4), 100.0)])
@pytest.mark.parametrize("labels", [[0] * 6, [0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5]])
def test_zero_equal_and_large_vectors_stay_finite(loss: EmbeddingLoss, x: Tensor, labels: list[int]) -> None:
    x = x.clone().requires_grad_()
    value = loss(x, torch.tensor(labels)).loss
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: type(x).__name__)
def test_autocast_computes_in_float32(loss: EmbeddingLoss) -> None:
    g = torch.Generator().manual_seed(1)
    x = normalize(torch.randn(16, 8, generator=g), dim=1).bfloat16()
    labels = torch.arange(16) % 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(x, labels).loss == loss(x.float(), labels).loss


@pytest.mark.parametrize(
    "make", [lambda: ContrastiveLoss(0.0), lambda: NPairLoss(-1.0), lambda: MultiSimilarityLoss(beta=0)]
)
def test_refused_settings(make: Callable[[], EmbeddingLoss]) -> None:
    with pytest.raises(ValueError, match="must be positive and finite"):
        make()
