"""The loss as a module: its settings, and batches that meet the memory of earlier ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dml_lightning.losses import TripletLoss
from dml_lightning.losses.functional import triplet_loss


def batch(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=g), torch.randint(0, 3, (n,), generator=g)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("mining", ["all", "semihard", "facenet", "hard", "easy_positive"])
def test_the_module_is_the_function(mining: str, distance: str, soft: bool) -> None:
    x, labels = batch()
    loss = TripletLoss(0.3, mining, distance, "mean", soft)
    expected = triplet_loss(x, labels, 0.3, mining=mining, soft=soft, squared=loss.squared, reduction="mean")
    result = loss(x, labels)
    torch.testing.assert_close(result.loss, expected.loss)
    assert result.counts == expected.counts
    assert loss.parameter_groups() == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": 0.0}, "margin must be positive and finite, got 0.0"),
        ({"margin": float("nan")}, "margin must be positive"),
        ({"mining": "hardest"}, "mining must be one of all, semihard, .*'hardest'"),
        ({"distance": "cosine"}, "distance must be one of euclidean, squared_euclidean"),
        ({"reduction": "none"}, "reduction must be one of active, mean, sum"),
        ({"memory_size": -1}, "memory_size must be at least 0"),
    ],
)
def test_refused_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TripletLoss(**settings)


def test_anchors_meet_the_memory_exactly() -> None:
    loss = TripletLoss(0.5, memory_size=20)
    past, batches = [], [batch(8, seed) for seed in range(4)]
    for x, labels in batches:
        x.requires_grad_()
        result = loss(x, labels)
        result.loss.backward()
        references = torch.cat([x.detach(), *[p for p, _ in past]])
        others = torch.cat([labels, *[k for _, k in past]])
        z = x.detach().clone().requires_grad_()
        references = torch.cat([z, references[8:]])
        expected = triplet_loss(z, labels, 0.5, references=references, reference_labels=others, offset=0)
        expected.loss.backward()
        torch.testing.assert_close(result.loss, expected.loss)
        torch.testing.assert_close(x.grad, z.grad)
        assert {k: int(v) for k, v in result.counts.items()} == {k: int(v) for k, v in expected.counts.items()}
        past = [(x.detach(), labels), *past]
        rows = torch.cat([p for p, _ in reversed(past)])[-20:]
        kept = torch.cat([k for _, k in reversed(past)])[-20:]
        past = [(rows, kept)]


def test_evaluation_neither_reads_nor_writes_the_memory() -> None:
    loss = TripletLoss(0.5, memory_size=20)
    loss(*batch(8))
    x, labels = batch(8, 1)
    assert loss.eval()(x, labels).loss == triplet_loss(x, labels, 0.5).loss
    assert len(loss.memory) == 8
    assert loss.train()(x, labels).loss != triplet_loss(x, labels, 0.5).loss


def test_memory_is_saved_and_loaded(tmp_path: Path) -> None:
    loss = TripletLoss(0.5, memory_size=20)
    loss(*batch(8))
    torch.save(loss.state_dict(), tmp_path / "loss.pt")
    other = TripletLoss(0.5, memory_size=20)
    other.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    assert torch.equal(other.memory.vectors, loss.memory.vectors)
    x, labels = batch(8, 1)
    assert other(x, labels).loss == loss(x, labels).loss
