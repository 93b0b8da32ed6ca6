"""The triplet losses as functions: values, counts, gradients, precision, and what is refused."""

from typing import Any

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer, SumReducer

from dml_lightning.losses import TripletLoss, functional, mining
from tests.losses.triplet_reference import MODES, cloud, ints, reference

REDUCTIONS = {"active": AvgNonZeroReducer, "mean": MeanReducer, "sum": SumReducer}


def test_gradient_of_one_squared_triplet() -> None:
    a, p, n = torch.tensor([[0.0, 0.1], [1.0, 0.3], [0.4, 0.9]], dtype=torch.float64)
    x = torch.stack([a, p, n]).requires_grad_()
    labels = torch.tensor([0, 0, 1])
    others = torch.stack([p, n]).requires_grad_()
    anchor = a[None].clone().requires_grad_()
    out = functional.batch_all_triplet(
        anchor, labels[:1], 5.0, squared=True, references=others, reference_labels=labels[1:]
    )
    out.loss.backward()
    torch.testing.assert_close(anchor.grad[0], 2 * (n - p))
    torch.testing.assert_close(others.grad[0], 2 * (p - a))
    torch.testing.assert_close(others.grad[1], 2 * (a - n))
    assert ints(functional.triplet_counts(x, labels, 5.0, squared=True))["valid"] == 2


@pytest.mark.parametrize("offset", [None, 0, 2])
@pytest.mark.parametrize(("mode", "soft"), MODES)
def test_local_anchors_against_more_references(mode: str, soft: bool, offset: int | None) -> None:
    y, y_labels = cloud(9, seed=5)
    x, labels = cloud(4, seed=6)
    if offset is not None:
        x, labels = y[offset : offset + 4], y_labels[offset : offset + 4]
    grads = []
    for loss_of in (functional.triplet_loss, reference):
        a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
        ours = loss_of is functional.triplet_loss
        names = ("references", "reference_labels") if ours else ("others", "other_labels")
        more = dict(zip(names, (b, y_labels), strict=True))
        loss, counts = loss_of(a, labels, 0.6, mining=mode, soft=soft, offset=offset, **more)
        loss.backward()
        grads.append((loss.detach(), a.grad, b.grad, ints(counts)))
    (*result, counts), (*expected, expected_counts) = grads
    assert counts == expected_counts
    torch.testing.assert_close(result, expected)


def test_valid_triplets_by_the_formula() -> None:
    labels = torch.tensor([0] * 5 + [7] * 3 + [9] + [4] * 2)
    x = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    sizes = [5, 3, 1, 2]
    expected = sum(n * (n - 1) * (11 - n) for n in sizes)
    assert ints(functional.triplet_counts(x, labels, 0.2))["valid"] == expected


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("mode", mining.MININGS)
@pytest.mark.parametrize("given", [[], [1], [1, 1, 1], [1, 2, 3]])
def test_no_triplet_gives_zero_with_a_gradient(given: list[int], mode: str, soft: bool) -> None:
    x = torch.randn(len(given), 4, requires_grad=True)
    labels = torch.tensor(given, dtype=torch.long)
    for reduction in functional.REDUCTIONS:
        out = functional.triplet_loss(x, labels, 0.2, mining=mode, soft=soft, reduction=reduction)
        out.loss.backward()
        assert out.loss == 0
        assert not x.grad.any()
        assert not any(ints(out.counts).values())


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("mode", mining.MININGS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_every_mining_refuses_what_is_not_finite(mode: Any, soft: bool, bad: float) -> None:
    x, labels = cloud(12)
    others = x.clone()
    x[4, 0] = bad
    message = "embeddings must be finite, but row 4 holds NaN or infinity"
    for given in ({}, {"references": x, "reference_labels": labels, "offset": 0}):
        with pytest.raises(ValueError, match=message):
            functional.triplet_loss(x, labels, 0.2, mining=mode, soft=soft, **given)
    with pytest.raises(ValueError, match=message):  # as anchors that are no references, and as references alone
        functional.triplet_loss(x, labels, 0.2, mining=mode, soft=soft, references=others, reference_labels=labels)
    with pytest.raises(ValueError, match=message):
        functional.triplet_loss(others, labels, 0.2, mining=mode, soft=soft, references=x, reference_labels=labels)


def test_a_batch_that_is_refused_is_not_remembered() -> None:
    x, labels = cloud(12)
    loss = TripletLoss(memory_size=20)
    loss(x, labels)
    with pytest.raises(ValueError, match="must be finite"):
        loss(x * torch.nan, labels)
    assert loss.memory is not None
    assert torch.equal(loss.memory.vectors, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_float32(dtype: torch.dtype) -> None:
    x, labels = cloud(20, dim=32, dtype=torch.float32)
    half = x.to(dtype).requires_grad_()
    wide = half.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        out = functional.batch_all_triplet(half, labels, 0.2)
    expected = functional.batch_all_triplet(wide, labels, 0.2)
    assert out.loss.dtype == torch.float32
    assert out.loss == expected.loss
    out.loss.backward()
    expected.loss.backward()
    assert half.grad.dtype == dtype
    torch.testing.assert_close(half.grad, wide.grad.to(dtype))


def test_float64_stays() -> None:
    x, labels = cloud(8)
    assert functional.batch_all_triplet(x, labels, 0.2).loss.dtype == torch.float64


@pytest.mark.parametrize("reduction", functional.REDUCTIONS)
def test_values_of_pytorch_metric_learning(reduction: str) -> None:
    x, labels = cloud(40, dim=16, classes=5, dtype=torch.float32)
    x = torch.nn.functional.normalize(x, dim=1)
    for swap_margin in (0.05, 0.2, 1.0):
        peer = TripletMarginLoss(swap_margin, reducer=REDUCTIONS[reduction]())
        ours = functional.batch_all_triplet(x, labels, swap_margin, reduction=reduction).loss
        torch.testing.assert_close(ours, peer(x, labels), rtol=2e-5, atol=1e-6)


def test_gradient_of_pytorch_metric_learning() -> None:
    x, labels = cloud(40, dim=16, classes=5, dtype=torch.float64)
    x = torch.nn.functional.normalize(x, dim=1)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    functional.batch_all_triplet(a, labels, 0.2).loss.backward()
    plain = LpDistance(normalize_embeddings=False)
    TripletMarginLoss(0.2, distance=plain)(b, labels).backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_a_second_derivative_is_refused() -> None:
    x, labels = cloud(8)
    x.requires_grad_()
    loss = functional.batch_all_triplet(x, labels, 0.5).loss
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, x, create_graph=True)


def test_inference_and_no_grad() -> None:
    x, labels = cloud(12)
    expected = functional.batch_all_triplet(x, labels, 0.5).loss
    with torch.inference_mode():
        assert functional.batch_all_triplet(x.clone(), labels.clone(), 0.5).loss == expected
    with torch.no_grad():
        assert functional.batch_all_triplet(x.requires_grad_(), labels, 0.5).loss == expected


def test_order_of_rows_does_not_matter() -> None:
    x, labels = cloud(30, classes=6)
    shuffled = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    one = functional.batch_all_triplet(x, labels, 0.5)
    two = functional.batch_all_triplet(x[shuffled], labels[shuffled], 0.5)
    torch.testing.assert_close(one.loss, two.loss)
    assert ints(one.counts) == ints(two.counts)


def test_refusals() -> None:
    x, labels = cloud(6)
    with pytest.raises(ValueError, match=r"expected embeddings \(B, D\)"):
        functional.batch_all_triplet(x[0], labels, 0.2)
    with pytest.raises(ValueError, match=r"expected embeddings \(B, D\)"):
        functional.batch_all_triplet(x, labels[:3], 0.2)
    with pytest.raises(ValueError, match="integers"):
        functional.batch_all_triplet(x, labels.float(), 0.2)
    with pytest.raises(ValueError, match="reduction must be one of active, mean, sum, got 'max'"):
        functional.batch_all_triplet(x, labels, 0.2, reduction="max")
    with pytest.raises(ValueError, match="come together"):
        functional.batch_all_triplet(x, labels, 0.2, references=x)
    with pytest.raises(ValueError, match="offset 3"):
        functional.batch_all_triplet(x, labels, 0.2, references=x, reference_labels=labels, offset=3)
