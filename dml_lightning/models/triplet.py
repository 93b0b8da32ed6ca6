"""The metric arm: a loss on the embeddings alone."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from typing_extensions import override

from dml_lightning.losses import EmbeddingLoss, TripletLoss
from dml_lightning.models.base import EmbeddingModule
from dml_lightning.models.encoder import Encoder
from dml_lightning.theory import check_margin
from dml_lightning.types import LossOutput


class TripletModule(EmbeddingModule):
    """Metric learning with any embedding loss; a class is named by the nearest prototype.

    Args:
        encoder: Crops (B, 1, S, S) to embeddings (B, D).
        optimizer: Makes the optimizer from parameters.
        num_classes: C, the number of known classes; filled in from the data.
        loss: On embeddings (B, D) and labels (B,); exact batch-all triplets if not given.
        allow_infeasible_margin: Whether to train with a margin beyond its bound all the same.
        **common: `schedule`, `warmup`, `scheduler`, `compile` and `channels_last` of `EmbeddingModule`.

    Raises:
        ValueError: If the loss is none on embeddings, or no set of unit vectors could satisfy its margin.
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
        super().__init__(encoder, optimizer, num_classes, **common)
        if not isinstance(loss, EmbeddingLoss | None):
            raise ValueError(
                f"loss must be an EmbeddingLoss, got {type(loss).__name__}; PMLLoss makes one of a loss of "
                "pytorch-metric-learning."
            )
        self.loss = loss = loss if loss is not None else TripletLoss()
        bounded = encoder.normalize and num_classes > 1 and not allow_infeasible_margin
        if bounded and isinstance(loss, TripletLoss):
            check_margin(loss.margin, num_classes, encoder.embedding_dim, loss.squared)

    @override
    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.encoder.parameters())}, *self.loss.parameter_groups()]

    @override
    def compute_loss(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        output: LossOutput = self.loss(embeddings, labels)
        return output
