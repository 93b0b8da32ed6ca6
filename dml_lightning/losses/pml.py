"""Losses and miners of pytorch-metric-learning, on the global batch."""

from typing import Any

from torch import Tensor, nn

from dml_lightning import distributed
from dml_lightning.losses.base import EmbeddingLoss
from dml_lightning.types import LossOutput


class PMLLoss(EmbeddingLoss):
    """A pytorch-metric-learning loss, with a miner if wanted."""

    def __init__(self, loss: nn.Module, miner: nn.Module | None = None) -> None:
        super().__init__()
        self.loss, self.miner = loss, miner

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss of the gathered batch; every rank computes all of it."""
        vectors = distributed.gather_with_grad(embeddings)
        every = distributed.gather(labels)
        pairs: Any = None if self.miner is None else self.miner(vectors, every)
        return LossOutput(self.loss(vectors, every, pairs), {})
