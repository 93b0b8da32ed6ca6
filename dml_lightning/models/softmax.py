"""The baseline arm: a linear classifier on the embedding."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from typing_extensions import override

from dml_lightning.arguments import remember
from dml_lightning.losses import ClassificationLoss, CrossEntropyLoss
from dml_lightning.losses.plain import classification_loss
from dml_lightning.models.base import EmbeddingModule
from dml_lightning.models.encoder import Encoder
from dml_lightning.models.network import SCALE, Classifier
from dml_lightning.types import LossOutput, is_clutter


class SoftmaxModule(EmbeddingModule, Classifier):
    """Softmax classification of the known classes; its embedding is the classifier's input.

    Where training batches hold clutter, it is one class more of the loss, the reject class. Its logit stands apart:
    the logits of `compute_logits`, and so names, detectors and calibration, are those of the known classes alone.

    Args:
        encoder: Encoder of crops (B, 1, S, S) to embeddings (B, D).
        optimizer: Function that makes the optimizer from parameters.
        num_classes: Number C of known classes; filled in from the data by the command line.
        loss: Loss on logits (B, C), or (B, C + 1) with clutter; cross-entropy if not given. In Python also torch's or
            a module of your own, see `losses.plain.classification_loss`.
        scale: Factor on the embedding before the classifier: the logits of unit vectors would otherwise
            be too close together for a low loss (Wang et al. 2017, NormFace, section 3.3).
        **common: `schedule`, `warmup`, `layer_decay`, `scheduler`, `compile`, `channels_last`, `turned_classes` and
            `clutter` of `EmbeddingModule`.

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
        scale: float = SCALE,
        **common: Any,
    ) -> None:
        remember(self, SoftmaxModule, locals())
        super().__init__(encoder, optimizer, num_classes, **common)
        self.loss = CrossEntropyLoss() if loss is None else classification_loss(loss)
        self.add_classifier(scale)

    def _with_reject(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and labels of the loss: of the training classes and, with clutter, of the reject class behind them."""
        logits = self._training_logits(embeddings)
        if self.reject is None:
            return logits, labels
        logits = torch.cat([logits, self.reject(self.scale * embeddings)], dim=1)
        return logits, torch.where(is_clutter(labels), self.training_classes, labels)

    @override
    @torch.no_grad()
    def diagnostics(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.loss.diagnostics(*self._with_reject(embeddings, labels))

    @override
    def compute_loss(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        output: LossOutput = self.loss(*self._with_reject(embeddings, labels))
        return output
