"""Encoders of crops: a timm backbone with a projection head, and raw pixels as a floor."""

from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dml_lightning.arguments import remember
from dml_lightning.models.side import SIDE_FEATURES, SideFeatures
from dml_lightning.types import Encoded


class Encoder(nn.Module):
    """A backbone of timm with one input channel, a projection head, and optional L2 normalisation.

    Args:
        backbone: Name of a timm model (`timm.list_models()` lists them), or of weights with a config of timm:
            `hf-hub:OWNER/NAME` on the Hugging Face hub, `local-dir:FOLDER` on this machine.
        embedding_dim: Embedding size D, at least 1.
        normalize: Whether embeddings are scaled to length 1; only then do margins have an upper bound.
        pretrained: Whether timm loads the weights of that name; the stem is summed over colours to one channel.
        checkpoint: Path of a local weights file (.pth or .safetensors) in the backbone's own layout, one or three
            input channels, with or without a classifier. Used instead of the published weights.
        head: Kind of projection: `linear` is one layer; `mlp` adds a hidden layer of the backbone's width with ReLU.
        freeze: Whether the backbone stays as it is and only the projection learns, with what follows it (a linear
            probe). Without augmentation its features are computed once for each crop and kept in memory; with it
            training computes them at every step. They depend on the batch in which they are computed by rounding, and
            so does a fit that is resumed.
        freeze_batch_norm: Whether batch norm keeps its running statistics while training, which makes
            a crop's embedding independent of the rest of its batch.
        img_size: Side S of the crops in px for backbones that need to know it (vision transformers), which resample
            their weights to it; the others take any side.
        backbone_args: Further arguments of `timm.create_model`, such as `channels` or `output_stride`.
        side_inputs: Number n of side inputs that join the backbone's features at the head; the command line takes it
            from the data (`data.side_inputs`).

    Raises:
        ValueError: If a setting is out of range, the backbone is unknown to timm, cannot be reached or does not take
            `backbone_args`, or the weights do not fit it.

    Example:
        >>> encoder = Encoder(backbone="resnet10t", embedding_dim=64)
        >>> encoder(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 64])
    """

    freeze = False
    side_inputs = 0
    description: dict[str, Any] | None = None  # of a backbone of the hub or of a local folder, for its run

    def __init__(
        self,
        backbone: str = "resnet10t",
        embedding_dim: int = 128,
        normalize: bool = True,
        pretrained: bool = False,
        checkpoint: str | None = None,
        head: Literal["linear", "mlp"] = "linear",
        freeze: bool = False,
        freeze_batch_norm: bool = False,
        img_size: int | None = None,
        backbone_args: dict[str, Any] | None = None,
        side_inputs: int = 0,
    ) -> None:
        remember(self, Encoder, locals())
        from dml_lightning.models.backbones import create_backbone  # timm takes two seconds

        super().__init__()
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim must be at least 1, got {embedding_dim}.")
        if not backbone:  # null, too
            raise ValueError("backbone is empty; name a model of timm, such as resnet10t.")
        if not isinstance(backbone, str):
            raise ValueError(
                f"backbone is the name of a model of timm, got {type(backbone).__name__}: a network of your own goes "
                "into a class that derives from Encoder (docs/extending.md)."
            )
        if head not in ("linear", "mlp"):
            raise ValueError(f"head is {head!r}; use 'linear' or 'mlp'.")
        if side_inputs < 0:
            raise ValueError(f"side_inputs must be at least 0, got {side_inputs}.")
        self.embedding_dim = embedding_dim
        self.normalize = normalize
        self.freeze, self.freeze_batch_norm = freeze, freeze_batch_norm or freeze
        self.backbone, self.description = create_backbone(
            backbone, pretrained, checkpoint, img_size, backbone_args or {}
        )
        self.backbone.requires_grad_(not freeze)
        # A backbone with a head of its own can be wider than num_features (mobilenetv3: 1024, not 288).
        hidden_size = getattr(self.backbone, "head_hidden_size", None)
        width = cast(int, hidden_size or self.backbone.num_features)
        if side_inputs:
            self.side_inputs, self.side = side_inputs, SideFeatures(side_inputs)
            width += SIDE_FEATURES
        hidden: list[nn.Module] = [nn.Linear(width, width), nn.ReLU()] if head == "mlp" else []
        self.head = nn.Sequential(*hidden, nn.Linear(width, embedding_dim))
        self.train()  # a fit keeps the modes that it finds, and calls no train()

    def forward(self, images: Tensor, side: Tensor | None = None, with_features: bool = False) -> Tensor | Encoded:
        """Embed a batch.

        Args:
            images: Normalised crops (B, 1, S, S).
            side: Side inputs (B, n) of the crops, for an encoder that takes some.
            with_features: Whether to return the backbone's features, too.

        Returns:
            Embeddings (B, D); if `normalize`, of length 1 and in float32 even under mixed precision. With features both
            as `Encoded`.

        Raises:
            ValueError: If the images are no crops of one channel, or there are more or fewer side inputs than the
                encoder takes.
        """
        encoded = self.encoded(self.features(images), side)
        return encoded if with_features else encoded.vectors

    def features(self, images: Tensor) -> Tensor:
        """Features (B, F) of the backbone.

        Raises:
            ValueError: If the images are no crops of one channel.
        """
        if images.ndim != 4 or images.shape[1] != 1 or not images.is_floating_point():
            raise ValueError(
                f"the encoder takes crops (B, 1, S, S) of floats, got {tuple(images.shape)} of {images.dtype}."
            )
        features: Tensor = self.backbone(images)
        return features

    def encoded(self, features: Tensor, side: Tensor | None = None) -> Encoded:
        """Embeddings (B, D) of features (B, F) and side inputs (B, n), and the features at unit length."""
        given = 0 if side is None else side.shape[-1]
        if given != self.side_inputs:
            raise ValueError(f"the encoder takes {self.side_inputs} side inputs, and a crop came with {given}.")
        joined = features if side is None or not given else torch.cat([features, self.side(side)], dim=1)
        vectors: Tensor = self.head(joined)
        if self.normalize:
            vectors = _unit_length(vectors)
        return Encoded(vectors, _unit_length(features))

    def train(self, mode: bool = True) -> "Encoder":
        """Set training mode; a frozen backbone and frozen batch norm stay in evaluation mode."""
        super().train(mode)
        if self.freeze:
            self.backbone.eval()
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def _unit_length(rows: Tensor) -> Tensor:
    """Rows at unit length: float64 stays float64, half precision would leave norms off by 1e-3."""
    return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=1)


class RawPixels(Encoder):
    """Pixels of the crop as its embedding, without side inputs: the floor that every trained encoder has to beat.

    Args:
        side: Side in px that crops are averaged or repeated to; D is its square.
        normalize: Whether embeddings are scaled to length 1.

    Example:
        >>> RawPixels(side=2, normalize=False)(torch.arange(16.0).view(1, 1, 4, 4))
        tensor([[ 2.5000,  4.5000, 10.5000, 12.5000]])
    """

    def __init__(self, side: int = 32, normalize: bool = True) -> None:
        remember(self, RawPixels, locals())
        nn.Module.__init__(self)
        self.embedding_dim = side**2
        self.normalize = normalize
        self.freeze_batch_norm = False
        self.backbone = nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten())
        self.head = nn.Sequential()

    def forward(self, images: Tensor, side: Tensor | None = None, with_features: bool = False) -> Tensor | Encoded:
        """Embed a batch by its pixels alone."""
        return super().forward(images, with_features=with_features)
