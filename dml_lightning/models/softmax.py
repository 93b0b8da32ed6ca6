"""The baseline arm: a linear classifier on the embedding."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from typing_extensions import override

from dml_lightning.distributed import whole
from dml_lightning.losses import ClassificationLoss, CrossEntropyLoss
from dml_lightning.models.base import EmbeddingModule
from dml_lightning.models.encoder import Encoder
from dml_lightning.types import LinearHead, LossOutput


class SoftmaxModule(EmbeddingModule):
    """Softmax classification of the known classes; its embedding is the classifier's input.

    Args:
        encoder: Encoder of crops (B, 1, S, S) to embeddings (B, D).
        optimizer: Function that makes the optimizer from parameters.
        num_classes: Number C of known classes; filled in from the data by the command line.
        loss: Loss on logits (B, C); cross-entropy if not given.
        scale: Factor on the embedding before the classifier: the logits of unit vectors would otherwise
            be too close together for a low loss (Wang et al. 2017, NormFace, section 3.3).
        **common: `schedule`, `warmup`, `layer_decay`, `scheduler`, `compile`, `channels_last` and `turned_classes` of
            `EmbeddingModule`.

    Raises:
        ValueError: If the loss is not one on logits.

    Example:
        >>> from dml_lightning.models.encoder import RawPixels
        >>> module = SoftmaxModule(RawPixels(side=8), torch.optim.AdamW, num_classes=5)
        >>> module.compute_logits(module(torch.ones(2, 1, 32, 32))).shape
        torch.Size([2, 5])
    """

    prediction_rule = "softmax"

    def __init__(
        self,
        encoder: Encoder,
        optimizer: OptimizerCallable,
        num_classes: int,
        loss: ClassificationLoss | None = None,
        scale: float = 16.0,
        **common: Any,
    ) -> None:
        super().__init__(encoder, optimizer, num_classes, **common)
        if not isinstance(loss, ClassificationLoss | None):
            raise ValueError(
                f"loss must be a ClassificationLoss on logits, got {type(loss).__name__}; TripletModule takes "
                "losses on embeddings."
            )
        self.loss = loss if loss is not None else CrossEntropyLoss()
        self.scale = scale
        self.classifier = nn.Linear(encoder.embedding_dim, self.training_classes)

    @override
    def compute_logits(self, embeddings: Tensor) -> Tensor:
        return self._training_logits(embeddings)[:, : self.num_classes]  # upright

    def _training_logits(self, embeddings: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.scale * embeddings)
        return logits

    @override
    def linear_head(self) -> LinearHead:
        weight, bias = (
            whole(part.detach())[: self.num_classes] for part in (self.classifier.weight, self.classifier.bias)
        )
        return LinearHead(self.scale * weight.float(), bias.float())

    @override
    @torch.no_grad()
    def diagnostics(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.loss.diagnostics(self._training_logits(embeddings), labels)

    @override
    def compute_loss(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        output: LossOutput = self.loss(self._training_logits(embeddings), labels)
        return output
