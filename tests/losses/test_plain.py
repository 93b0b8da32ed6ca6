"""Losses of torch, of pytorch-metric-learning and of one's own are wrapped, or refused with what would work."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses as peers
from torch import Tensor, nn

from dml_lightning.losses import CrossEntropyLoss, PMLLoss, TripletLoss
from dml_lightning.losses.plain import PlainLogitLoss, PlainLoss, classification_loss, embedding_loss
from dml_lightning.models import EmbeddingModule, SoftmaxModule, TripletModule
from tests.losses.on_ranks import Spread
from tests.models.small import make


class Each(nn.Module):
    """A loss for each row, and no scalar."""

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        return rows.square().sum(dim=1)


def test_an_arm_takes_them_as_they_are() -> None:
    rows, labels = torch.eye(4), torch.tensor([0, 0, 1, 2])
    for given, kind in ((peers.ContrastiveLoss(), PMLLoss), (peers.ProxyAnchorLoss, PMLLoss), (Spread(), PlainLoss)):
        module = make(TripletModule, loss=given)
        assert type(module.loss) is kind
        inner = module.loss.loss
        torch.testing.assert_close(module.compute_loss(rows, labels).loss, inner(rows, labels))
    assert module.loss.compares_crops
    module = make(SoftmaxModule, loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    assert type(module.loss) is PlainLogitLoss
    expected = CrossEntropyLoss(label_smoothing=0.1)(module.compute_logits(rows), labels).loss
    torch.testing.assert_close(module.compute_loss(rows, labels).loss, expected)


def test_a_loss_of_this_package_stays_itself() -> None:
    for wrap, loss in ((embedding_loss, TripletLoss()), (classification_loss, CrossEntropyLoss())):
        assert wrap(loss) is loss


@pytest.mark.parametrize(
    ("arm", "loss", "message"),
    [
        (TripletModule, nn.TripletMarginLoss(), "got TripletMarginLoss: TripletLoss and PMLLoss have what torch's"),
        (TripletModule, nn.CrossEntropyLoss(), "labels .B,., got CrossEntropyLoss"),  # would take embeddings for logits
        (TripletModule, nn.Linear(4, 1), "got Linear"),
        (TripletModule, CrossEntropyLoss(), "got CrossEntropyLoss on logits: SoftmaxModule takes it"),
        (TripletModule, "triplet", "got str"),
        (TripletModule, Spread, "got Spread: give an object of a class"),
        (TripletModule, torch.dot, "write a function as the forward of a torch.nn.Module"),
        (SoftmaxModule, nn.NLLLoss(), "got NLLLoss"),  # would take logits for logarithms of probabilities
        (SoftmaxModule, peers.ArcFaceLoss(3, 4), "got ArcFaceLoss; TripletModule takes losses on embeddings"),
        (SoftmaxModule, TripletLoss(), "got TripletLoss; TripletModule takes"),
    ],
)
def test_what_is_no_loss_of_the_two_is_refused(arm: type[EmbeddingModule], loss: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(arm, loss=loss)


class Scaled(nn.Module):
    """A loss times a number, with or without its gradient."""

    def __init__(self, factor: float, detach: bool) -> None:
        super().__init__()
        self.factor, self.detach = factor, detach

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        return self.factor * (rows.detach() if self.detach else rows).sum()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Each(), r"Each returned a tensor \(4,\): a loss is a scalar"),
        (Scaled(1.0, detach=True), "Scaled returned a scalar without a gradient: compute it without detach"),
        (Scaled(math.nan, detach=False), "Scaled returned nan"),
    ],
)
@pytest.mark.parametrize("wrap", [embedding_loss, classification_loss])
def test_what_a_fit_cannot_use_is_refused(wrap: Callable[[object], nn.Module], loss: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrap(loss)(torch.eye(4, requires_grad=True), torch.zeros(4, dtype=torch.int64))


def test_without_a_gradient_to_give_none_is_asked_for() -> None:
    assert embedding_loss(Scaled(2.0, detach=True))(torch.eye(4), torch.zeros(4, dtype=torch.int64)).loss == 8
