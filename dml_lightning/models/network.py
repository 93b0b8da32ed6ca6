"""Networks of the arms: all that naming crops needs of them, without Lightning, which trains them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys
from typing_extensions import override

from dml_lightning.distributed import whole, without_copies
from dml_lightning.models.encoder import Encoder
from dml_lightning.types import Batch, Embeddings, Encoded, LinearHead

SCALE = 16.0  # of the softmax arm's embedding before its classifier, if none is given


class Network(nn.Module):
    """An encoder of crops, and what follows it to name a class. `EmbeddingModule` is one that can be trained.

    Args:
        encoder: Encoder of crops (B, 1, S, S) to embeddings (B, D).
        num_classes: Number C of known classes.
        turned_classes: Number of training classes for each known one.
        clutter: Whether it was trained on clutter, too.
        channels_last: See `EmbeddingModule`.

    Example:
        >>> from dml_lightning.models.encoder import RawPixels
        >>> Network(RawPixels(side=8), num_classes=5)(torch.ones(2, 1, 32, 32)).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        turned_classes: int = 1,
        clutter: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.num_classes, self.turned_classes, self.clutter = num_classes, turned_classes, clutter
        if channels_last:
            self.encoder.to(memory_format=torch.channels_last)

    @property
    def training_classes(self) -> int:
        """Number of known classes in training: all of them upright, then all of them by each turn."""
        return self.num_classes * self.turned_classes

    def compute_logits(self, embeddings: Tensor) -> Tensor | None:
        """Class logits (B, C) of embeddings (B, D); None for an arm without a classifier."""
        return None

    def linear_head(self) -> LinearHead | None:
        """The classifier as weight and bias on the embedding; None for an arm without one."""
        return None

    def reject_head(self) -> LinearHead | None:
        """The logit of the reject class as weight (1, D) and bias (1,); None for an arm without one."""
        return None

    @override
    def forward(self, images: Tensor, side: Tensor | None = None, with_features: bool = False) -> Tensor | Encoded:
        own = {} if side is None or not side.shape[-1] else {"side": side}
        encoded: Tensor | Encoded = self._sized(partial(self.encoder, with_features=with_features, **own), images)
        return encoded

    def _sized(self, function: Callable[[Tensor], Any], images: Tensor) -> Any:
        """Calls the encoder or a part of it; names the size of crops that it does not take."""
        try:
            return function(images)
        except AssertionError as error:  # raised by timm's transformers for a size they do not take
            size = images.shape[-1]
            raise ValueError(
                f"the backbone does not take crops of {size} px: {error} Those of a fixed size take that of "
                f"encoder.img_size: {size}, a multiple of their patches."
            ) from error

    @torch.inference_mode()
    def embed(self, batch: Batch) -> Embeddings:
        """Embeddings of a batch by ascending index, without copies and on the CPU, as `Trainer.predict` returns them.

        `Trainer.predict` gives one for each batch, of each loader if there are several; each process returns its own.
        `Embeddings.joined` makes one of those of a loader.
        """
        # not from the cache of a frozen backbone: the index of other data means other pixels
        with torch.autocast(batch.images.device.type, enabled=False):  # a trainer's mixed precision is for its fit
            vectors, features = self(batch.images, batch.side, with_features=True)
            logits = self.compute_logits(vectors)
        kept = without_copies(batch.index)
        columns = {
            "vectors": vectors.float(),
            "labels": batch.labels,
            "index": batch.index,
            "features": features.float(),
        }
        if logits is not None:
            columns["logits"] = logits.float()
        return Embeddings(**{name: column[kept].cpu() for name, column in columns.items()})

    @override
    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Take weights.

        Raises:
            ValueError: If they are of another module.
        """
        try:
            keys: _IncompatibleKeys = super().load_state_dict(state_dict, strict, assign)
            return keys
        except RuntimeError:
            own = self.state_dict()
            other = sorted(own.keys() ^ state_dict.keys())
            other += [key for key in own.keys() & state_dict.keys() if own[key].shape != state_dict[key].shape]
            if not other:
                raise
            file = getattr(getattr(self, "_trainer", None), "ckpt_path", None) or "the checkpoint"
            raise ValueError(
                f"{file} holds the weights of another arm or encoder: {len(other)} of "
                f"{len(own.keys() | state_dict.keys())} tensors do not fit, first {other[0]}."
            ) from None


class Classifier(Network):
    """A network with a linear classifier on the embedding, which `add_classifier` makes.

    Where it was trained on clutter, there is one more logit, of the reject class. It stands apart: the logits of
    `compute_logits`, and so names, detectors and calibration, are those of the known classes alone.
    """

    scale: float
    classifier: nn.Linear
    reject: nn.Linear | None

    def add_classifier(self, scale: float) -> None:
        """Make the layers of the classifier.

        Args:
            scale: Factor on the embedding before the classifier.
        """
        self.scale = scale
        self.classifier = nn.Linear(self.encoder.embedding_dim, self.training_classes)
        self.reject = nn.Linear(self.encoder.embedding_dim, 1) if self.clutter else None

    @override
    def compute_logits(self, embeddings: Tensor) -> Tensor:
        return self._training_logits(embeddings)[:, : self.num_classes]  # upright

    def _training_logits(self, embeddings: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.scale * embeddings)
        return logits

    @override
    def linear_head(self) -> LinearHead:
        return self._head(self.classifier)

    @override
    def reject_head(self) -> LinearHead | None:
        return None if self.reject is None else self._head(self.reject)

    def _head(self, layer: nn.Linear) -> LinearHead:
        weight, bias = (whole(part.detach())[: self.num_classes] for part in (layer.weight, layer.bias))  # upright
        return LinearHead(self.scale * weight.float(), bias.float())
