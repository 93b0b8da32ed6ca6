"""Losses of the softmax arm, on logits."""

import torch.nn.functional as F
from torch import Tensor

from dml_lightning import distributed
from dml_lightning.losses.base import ClassificationLoss
from dml_lightning.losses.distances import wide
from dml_lightning.types import LossOutput


class CrossEntropyLoss(ClassificationLoss):
    """−z_y + log Σ exp(z_k)."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> LossOutput:
        """Mean over the global batch."""
        total = F.cross_entropy(
            wide(logits), labels, label_smoothing=self.label_smoothing, reduction="sum"
        )
        count = total.new_tensor(len(labels))
        return LossOutput(distributed.global_mean(total, count), {})
