"""Losses and miners of pytorch-metric-learning, on the global batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.miners import BaseMiner
from torch import Tensor, nn

from dml_lightning import distributed
from dml_lightning.arguments import remember
from dml_lightning.losses.base import EmbeddingLoss, positive
from dml_lightning.losses.functional import check_rows
from dml_lightning.losses.pml_kinds import check_kind, check_sizes, sized
from dml_lightning.losses.pml_share import PER_ANCHOR_MINERS, can_be_shared, mine_globally, share
from dml_lightning.pairs.blocks import check_finite, wide
from dml_lightning.types import LossOutput, is_clutter


class PMLLoss(EmbeddingLoss):
    """A pytorch-metric-learning loss, with a miner if wanted, on the gathered batch.

    Value and gradient (proxies included) are those of a single process with the global batch. A rank
    computes the terms of its own anchors only if the library's loss is a mean of terms of one anchor
    each: TripletMarginLoss without `swap`, ContrastiveLoss, MultiSimilarityLoss, CircleLoss and
    SupConLoss, with MeanReducer or AvgNonZeroReducer and no regulariser. Other losses mix anchors, so
    every rank computes all of it: exact, and as slow as a single process. Miners always get the whole
    batch, since some compare anchors.

    Clutter is a negative only. The losses above take it, under the same conditions, with BatchHardMiner,
    BatchEasyHardMiner, MultiSimilarityMiner, PairMarginMiner, TripletMarginMiner or no miner. Others refuse it, such
    as those with proxies, which would give it a proxy.

    Random draws depend on `seed` and the number of training calls so far, which is saved in the
    checkpoint: they are the same on every rank and after a resume.

    Args:
        loss: Any loss of `pytorch_metric_learning.losses`, by `class_path` in a config; its
            parameters, such as proxies, are trained and saved with the module's. A loss that needs
            `num_classes` and `embedding_size` is given without them: as its class or a partial call of it,
            in a config by leaving them out. The module then makes it with its own.
        miner: Any miner of `pytorch_metric_learning.miners`.
        proxy_lr: Learning rate of the loss's own parameters; the optimizer's if not given.
        seed: Seed of random losses and miners.

    Raises:
        ValueError: If loss or miner is none of the library's, or a wrapper whose state no checkpoint holds, or
            `proxy_lr` is not positive.

    Example:
        >>> points, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), torch.tensor([0, 0, 1])
        >>> PMLLoss(losses.TripletMarginLoss(margin=0.2))(points, labels).loss  # of the one triplet with a loss
        tensor(0.2000)
    """

    calls: Tensor  # () int64

    def __init__(
        self,
        loss: BaseMetricLossFunction | Callable[..., BaseMetricLossFunction],
        miner: BaseMiner | None = None,
        proxy_lr: float | None = None,
        seed: int = 0,
    ) -> None:
        remember(self, PMLLoss, locals())
        super().__init__()
        if not isinstance(miner, BaseMiner | None):
            raise ValueError(f"miner must be one of pytorch-metric-learning's, got {type(miner).__name__}")
        if proxy_lr is not None:
            positive(proxy_lr=proxy_lr)
        self._unsized = None if isinstance(loss, nn.Module) else loss
        self.loss: Any = loss if self._unsized is None else None
        self.miner, self.proxy_lr, self.seed = miner, proxy_lr, seed
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        check_kind(loss)

    @property
    def compares_crops(self) -> bool:
        """Whether the loss has no parameters, such as proxies, to compare crops with."""
        return not any(True for _ in self.parameters())

    @property
    def takes_clutter(self) -> bool:
        """Whether clutter can be kept out of the anchors."""
        return can_be_shared(self.loss) and (self.miner is None or type(self.miner) in PER_ANCHOR_MINERS)

    def check_clutter(self) -> None:
        """Refuse clutter in training if loss or miner has no place for it.

        Raises:
            ValueError: If it does not take clutter; the message names the loss and the miner.
        """
        if not self.takes_clutter:
            miner = "" if self.miner is None else f" with {type(self.miner).__name__}"
            raise ValueError(
                f"pytorch-metric-learning's {type(self.loss).__name__}{miner} has no place for clutter "
                "(data.ood_train): take a loss and a miner that PMLLoss names for it, or leave ood_train out of every "
                "arm."
            )

    def set_sizes(self, num_classes: int, embedding_dim: int) -> None:
        """Make the loss if it was given without its sizes."""
        if self.loss is None and self._unsized is not None:
            self.loss = sized(self._unsized, num_classes, embedding_dim)

    def check_sizes(self, num_classes: int, embedding_dim: int) -> None:
        """Refuse a loss that was made for another number of classes or dimensions.

        Raises:
            ValueError: If a size differs.
        """
        check_sizes(self.loss, num_classes, embedding_dim)

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss of the gathered batch of embeddings (B, D) and labels (B,).

        Raises:
            ValueError: If the shapes disagree, labels are not integers, an embedding of any rank is not finite, or
                there is clutter that the loss does not take.
        """
        check_rows(embeddings, labels)
        if self.loss is None:
            raise ValueError("the loss has no sizes yet: TripletModule gives them, or call set_sizes before.")
        anchors = wide(embeddings)
        batch = distributed.global_batch(anchors, labels)
        check_finite(batch.embeddings)
        devices = [anchors.device] if anchors.is_cuda else []
        with torch.autocast(anchors.device.type, enabled=False), torch.random.fork_rng(devices):
            torch.manual_seed(int(np.random.default_rng([self.seed, int(self.calls)]).integers(2**32)))
            loss = self._loss_of(anchors, labels, batch)
        if self.training:
            self.calls += 1
        return LossOutput(loss, {})

    def _loss_of(self, anchors: Tensor, labels: Tensor, batch: distributed.GlobalBatch) -> Tensor:
        clutter = bool(is_clutter(batch.labels).any())
        if clutter:
            self.check_clutter()
        shared = clutter or (distributed.world_size() > 1 and can_be_shared(self.loss))
        mined = mine_globally(self.loss if shared else None, self.miner, batch)
        # the library, which knows no clutter, treats a batch with a single mined pair or triplet as one without any
        if clutter or (shared and (mined is None or any(len(column) > 1 for column in mined))):
            return share(self.loss, anchors, labels, batch, mined, clutter)
        loss: Tensor = self.loss(batch.embeddings, batch.labels, mined)
        return loss

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The loss's parameters, with `proxy_lr` if it is given."""
        settings = {} if self.proxy_lr is None else {"lr": self.proxy_lr}
        return [{**group, **settings} for group in super().parameter_groups()]


class MultiSimilarityLoss(PMLLoss):
    """Mean over anchors of the multi-similarity loss, on dot products of the embeddings.

    (1/α) log(1 + Σ_p exp(−α(S_ip − λ))) + (1/β) log(1 + Σ_n exp(β(S_in − λ))), Wang et al. 2019, equation 15, without
    its mining (a miner of pytorch-metric-learning, by `PMLLoss`).

    Args:
        alpha: Sharpness α over positives, above 0.
        beta: Sharpness β over negatives, above 0.
        base: Similarity λ that separates near from far.

    Raises:
        ValueError: If alpha or beta is not positive and finite.

    Example:
        >>> points, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
        >>> MultiSimilarityLoss()(points, labels).loss  # log(1 + 1/e) / 2 of two of three anchors
        tensor(0.1044)
    """

    def __init__(self, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5) -> None:
        remember(self, MultiSimilarityLoss, locals())
        positive(alpha=alpha, beta=beta)
        dot_products = DotProductSimilarity(normalize_embeddings=False)
        super().__init__(losses.MultiSimilarityLoss(alpha, beta, base, distance=dot_products))
        self.register_buffer("calls", self.calls, persistent=False)  # it draws nothing; old checkpoints lack it
