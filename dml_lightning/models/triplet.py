"""The metric arm: an encoder trained by a loss on its embeddings."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from typing_extensions import override

from dml_lightning.arguments import remember
from dml_lightning.data.samplers import ClutterBatchSampler, PKBatchSampler
from dml_lightning.losses import EmbeddingLoss, TripletLoss
from dml_lightning.losses.plain import embedding_loss
from dml_lightning.models.base import EmbeddingModule
from dml_lightning.models.encoder import Encoder
from dml_lightning.theory import check_margin
from dml_lightning.types import LossOutput


class TripletModule(EmbeddingModule):
    """Metric-learning module that takes any embedding loss, not only triplets; classes by nearest prototype.

    Args:
        encoder: Encoder of crops (B, 1, S, S) to embeddings (B, D).
        optimizer: Function that makes the optimizer from parameter groups.
        num_classes: Number C of known classes; filled in from the data by the command line.
        loss: Loss on embeddings (B, D) and labels (B,); `TripletLoss()`, exact batch-all triplets, if not given. In
            Python also one of pytorch-metric-learning or a module of your own, see `losses.plain.embedding_loss`.
        allow_infeasible_margin: Whether to train even with a margin that no embeddings can satisfy.
        **common: `schedule`, `warmup`, `layer_decay`, `scheduler`, `compile`, `channels_last`, `turned_classes` and
            `clutter` of `EmbeddingModule`.

    Raises:
        ValueError: If the loss is not one on embeddings or has no place for clutter where there is some, or if no set
            of unit vectors could satisfy its margin.

    Example:
        >>> import torch
        >>> from dml_lightning.losses import MultiSimilarityLoss
        >>> from dml_lightning.models.encoder import RawPixels
        >>> module = TripletModule(RawPixels(side=8), torch.optim.AdamW, num_classes=5, loss=MultiSimilarityLoss())
        >>> module(torch.ones(2, 1, 32, 32)).shape
        torch.Size([2, 64])
    """

    prediction_rule = "prototype"

    def __init__(
        self,
        encoder: Encoder,
        optimizer: OptimizerCallable,
        num_classes: int,
        loss: EmbeddingLoss | None = None,
        allow_infeasible_margin: bool = False,
        **common: Any,
    ) -> None:
        remember(self, TripletModule, locals())
        super().__init__(encoder, optimizer, num_classes, **common)
        self.loss = loss = TripletLoss() if loss is None else embedding_loss(loss)
        loss.set_sizes(self.training_classes, encoder.embedding_dim)
        if self.clutter:
            loss.check_clutter()
        bounded = encoder.normalize and num_classes > 1 and not allow_infeasible_margin
        if bounded and isinstance(loss, TripletLoss):
            check_margin(loss.margin, self.separated, encoder.embedding_dim, loss.squared)

    @override
    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": [each for each in self.encoder.parameters() if each.requires_grad], "name": "encoder"},
            *self.loss.parameter_groups(),
        ]

    @override
    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.loss.check_sizes(self.training_classes, self.encoder.embedding_dim)

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        plan = getattr(self.trainer.train_dataloader, "plan", None)
        plan = plan.known if isinstance(plan, ClutterBatchSampler) else plan
        if self.loss.compares_crops and isinstance(plan, PKBatchSampler):
            _check_plan(plan)

    @override
    def compute_loss(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        output: LossOutput = self.loss(embeddings, labels)
        return output


def _check_plan(plan: PKBatchSampler) -> None:
    """Refuse batches in which a loss finds nothing to compare: it would be 0 in every step."""
    for count, option, missing in (
        (plan.global_classes, "classes_per_batch", "crop of another class"),
        (plan.global_samples, "samples_per_class", "second crop of a class"),
    ):
        if count < 2:
            raise ValueError(
                f"a global batch holds no {missing} (data.{option} times ranks is {count}), so that this loss has "
                f"nothing to compare: let data.{option} be at least 2."
            )
