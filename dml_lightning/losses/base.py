"""The two kinds of loss: on embeddings (metric arm) and on logits (softmax arm)."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from dml_lightning.types import LossOutput


class EmbeddingLoss(nn.Module, ABC):
    """A loss on embeddings that gathers across ranks by itself.

    The value is that of the global batch on every rank, and the gradient is right for a strategy
    that averages gradients over ranks. Every rank must call it and run the backward.
    """

    @property
    def compares_crops(self) -> bool:
        """Whether every term compares crops of one batch, so that it needs two of a class and two classes."""
        return True

    @property
    def takes_clutter(self) -> bool:
        """Whether crops labelled `CLUTTER` are negatives only, and nothing to each other."""
        return False

    def set_sizes(self, num_classes: int, embedding_dim: int) -> None:
        """Take C and D from the module that holds this loss; for a loss with parameters of these sizes."""

    def check_sizes(self, num_classes: int, embedding_dim: int) -> None:
        """Refuse to train with parameters that are not of C classes and D dimensions, by a ValueError."""

    def check_clutter(self) -> None:
        """Refuse clutter in training if the loss has no place for it.

        Raises:
            ValueError: If it does not take clutter.
        """
        if not self.takes_clutter:
            raise ValueError(
                f"{type(self).__name__} has no place for clutter (data.ood_train): take a loss that has, such as "
                "TripletLoss, or leave ood_train out of every arm."
            )

    @abstractmethod
    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss of this rank's embeddings (B, D) with labels (B,) within the global batch."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimizer groups of the loss's own parameters, such as proxies; empty when it has none."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [{"params": parameters, "name": "loss"}] if parameters else []


class ClassificationLoss(nn.Module, ABC):
    """A loss on logits, averaged over the global batch on every rank."""

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor) -> LossOutput:
        """Loss of this rank's logits (B, C) with labels (B,) in 0..C-1."""

    def diagnostics(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Further scalars of a batch for the log, by name; by default none."""
        return {}


def positive(**settings: float) -> None:
    """Refuse settings that are not positive and finite.

    Raises:
        ValueError: If one is not; the message names it.

    Example:
        >>> positive(margin=0.2, scale=1.0)
    """
    for name, value in settings.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be positive and finite, got {value}")
