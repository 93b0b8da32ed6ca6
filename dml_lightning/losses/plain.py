"""Losses of other libraries and plain modules, taken as they are in Python: on the whole batch, on every rank."""

import inspect

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor, nn

from dml_lightning import distributed
from dml_lightning.arguments import remember
from dml_lightning.losses.base import ClassificationLoss, EmbeddingLoss
from dml_lightning.losses.functional import check_rows
from dml_lightning.losses.pml import PMLLoss
from dml_lightning.pairs.blocks import check_finite, wide
from dml_lightning.types import LossOutput


class PlainLoss(EmbeddingLoss):
    """A module that is called with embeddings (B, D) and labels (B,) and returns a scalar.

    Every rank computes it on the gathered batch, so value and gradient are those of a single process with that batch.
    A module that draws random numbers must draw the same ones on every rank.
    """

    def __init__(self, loss: nn.Module) -> None:
        remember(self, PlainLoss, locals())
        super().__init__()
        self.loss = loss

    @property
    def compares_crops(self) -> bool:
        """Whether the module has no parameters, such as proxies, to compare crops with."""
        return not any(True for _ in self.parameters())

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss of the gathered batch.

        Raises:
            ValueError: If a row of any rank is not finite, or the module does not return a finite scalar with a
                gradient.
        """
        return _of_whole_batch(self.loss, embeddings, labels, "embeddings")


class PlainLogitLoss(ClassificationLoss):
    """A module that is called with logits (B, C) and labels (B,) and returns a scalar, computed like `PlainLoss`."""

    def __init__(self, loss: nn.Module) -> None:
        remember(self, PlainLogitLoss, locals())
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, labels: Tensor) -> LossOutput:
        """Loss of the gathered batch.

        Raises:
            ValueError: If a row of any rank is not finite, or the module does not return a finite scalar with a
                gradient.
        """
        return _of_whole_batch(self.loss, logits, labels, "logits")


def _of_whole_batch(loss: nn.Module, rows: Tensor, labels: Tensor, name: str) -> LossOutput:
    check_rows(rows, labels)
    batch = distributed.global_batch(wide(rows), labels)
    check_finite(batch.embeddings, name)
    with torch.autocast(rows.device.type, enabled=False):
        value = loss(batch.embeddings, batch.labels)
    if not isinstance(value, Tensor) or value.ndim:
        what = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"{type(loss).__name__} returned {what}: a loss is a scalar, such as the mean over the batch.")
    if not value.isfinite():
        raise ValueError(f"{type(loss).__name__} returned {float(value.detach())}, with which nothing can be learnt.")
    if batch.embeddings.requires_grad and not value.requires_grad:
        raise ValueError(f"{type(loss).__name__} returned a scalar without a gradient: compute it without detach().")
    return LossOutput(value, {})


def embedding_loss(loss: object) -> EmbeddingLoss:
    """An `EmbeddingLoss` as it is; `PMLLoss` of one of pytorch-metric-learning; `PlainLoss` of another module.

    Args:
        loss: Loss on embeddings (B, D) and labels (B,); one of pytorch-metric-learning may be a class, which takes its
            sizes from the module.

    Raises:
        ValueError: If it is not called with embeddings and labels.

    Example:
        >>> from pytorch_metric_learning.losses import ContrastiveLoss
        >>> type(embedding_loss(ContrastiveLoss())).__name__
        'PMLLoss'
    """
    if isinstance(loss, EmbeddingLoss):
        return loss
    if isinstance(loss, ClassificationLoss):
        raise ValueError(f"loss must be an EmbeddingLoss, got {type(loss).__name__} on logits: SoftmaxModule takes it.")
    kind = loss if isinstance(loss, type) else type(loss)
    if issubclass(kind, BaseMetricLossFunction) or kind.__module__.startswith("pytorch_metric_learning.losses"):
        return PMLLoss(loss)  # which refuses what is no loss
    if isinstance(loss, nn.Module) and not _of_torch(loss) and _takes_two(loss):
        return PlainLoss(loss)
    hint = "TripletLoss and PMLLoss have what torch's losses of pairs and triplets have"
    if not isinstance(loss, nn.Module):
        hint = "give an object of a class, and write a function as the forward of a torch.nn.Module"
    raise ValueError(
        "loss must be an EmbeddingLoss, or a module of your own that is called with embeddings (B, D) and labels (B,), "
        f"got {kind.__name__}: {hint}."
    )


def classification_loss(loss: object) -> ClassificationLoss:
    """A `ClassificationLoss` as it is; `PlainLogitLoss` of torch's cross-entropy and of a module of one's own.

    Raises:
        ValueError: If it is not called with logits and labels.

    Example:
        >>> classification_loss(nn.CrossEntropyLoss())(torch.zeros(1, 4), torch.tensor([2])).loss  # log 4
        tensor(1.3863)
    """
    if isinstance(loss, ClassificationLoss):
        return loss
    own = isinstance(loss, nn.Module) and not isinstance(loss, EmbeddingLoss | BaseMetricLossFunction)
    if own and (isinstance(loss, nn.CrossEntropyLoss) or (not _of_torch(loss) and _takes_two(loss))):
        return PlainLogitLoss(loss)  # type: ignore[arg-type] # a module
    kind = loss if isinstance(loss, type) else type(loss)
    raise ValueError(
        "loss must be a ClassificationLoss, torch.nn.CrossEntropyLoss() or a module of your own that is called with "
        f"logits (B, C) and labels (B,), got {kind.__name__}; TripletModule takes losses on embeddings."
    )


def _of_torch(loss: object) -> bool:
    return type(loss).__module__.partition(".")[0] == "torch"


def _takes_two(loss: object) -> bool:
    try:
        inspect.signature(loss.forward).bind(None, None)  # type: ignore[attr-defined] # of a module
    except TypeError:
        return False
    return True
