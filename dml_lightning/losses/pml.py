"""Losses and miners of pytorch-metric-learning, on the global batch."""

from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.miners import BaseMiner
from torch import Tensor

from dml_lightning import distributed
from dml_lightning.losses.base import EmbeddingLoss
from dml_lightning.losses.distances import wide
from dml_lightning.losses.functional import check_rows
from dml_lightning.types import LossOutput


class PMLLoss(EmbeddingLoss):
    """A pytorch-metric-learning loss, with a miner if wanted, on the gathered batch.

    Every rank computes all of it, so value and gradient (proxies included) are those of a single
    process. What is drawn at random comes from `seed` and the number of training calls so far,
    which the checkpoint keeps: the same on every rank and after a resume.

    Args:
        loss: any loss of `pytorch_metric_learning.losses`, by `class_path` in a config; its
            parameters, such as proxies, train and are saved with the module's.
        miner: any miner of `pytorch_metric_learning.miners`.
        proxy_lr: learning rate of the loss's own parameters; the optimizer's when not given.
        seed: of random miners.
    """

    calls: Tensor  # () int64

    def __init__(
        self,
        loss: BaseMetricLossFunction,
        miner: BaseMiner | None = None,
        proxy_lr: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, kind in (
            ("loss", loss, BaseMetricLossFunction),
            ("miner", miner, BaseMiner | None),
        ):
            if not isinstance(value, kind):
                raise ValueError(
                    f"{name} must be one of pytorch-metric-learning's, got {type(value).__name__}"
                )
        if proxy_lr is not None and not proxy_lr > 0:
            raise ValueError(f"proxy_lr must be positive, got {proxy_lr}")
        self.loss, self.miner, self.proxy_lr, self.seed = loss, miner, proxy_lr, seed
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss of the gathered batch of embeddings (B, D) and labels (B,)."""
        check_rows(embeddings, labels)
        vectors = distributed.gather_with_grad(wide(embeddings))
        every = distributed.gather(labels)
        devices = [vectors.device] if vectors.is_cuda else []
        with (
            torch.autocast(vectors.device.type, enabled=False),
            torch.random.fork_rng(devices),
        ):
            torch.manual_seed(
                int(np.random.default_rng([self.seed, int(self.calls)]).integers(2**32))
            )
            mined = None if self.miner is None else self.miner(vectors, every)
            loss = self.loss(vectors, every, mined)
        if self.training:
            self.calls += 1
        return LossOutput(loss, {})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The loss's parameters, with `proxy_lr` where it is given."""
        own = {} if self.proxy_lr is None else {"lr": self.proxy_lr}
        return [{**group, **own} for group in super().parameter_groups()]
