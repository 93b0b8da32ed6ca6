"""Encoders of crops: a timm backbone with a projection head, and raw pixels as a floor."""

import difflib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, cast

import timm
import torch
import torch.nn.functional as F
from timm.models import load_state_dict
from torch import Tensor, nn

from dml_lightning.models.side import SIDE_FEATURES, SideFeatures

_WEIGHTS_FOLLOW = ContextVar("weights_follow", default=False)


@contextmanager
def weights_follow() -> Iterator[None]:
    """Make encoders without published or given weights, since those of a run's checkpoint follow."""
    token = _WEIGHTS_FOLLOW.set(True)
    try:
        yield
    finally:
        _WEIGHTS_FOLLOW.reset(token)


class Encoder(nn.Module):
    """Any timm backbone with one input channel, a projection head, and optional L2 normalisation.

    Args:
        backbone: Name of a timm model; `timm.list_models()` lists them.
        embedding_dim: Embedding size D, at least 1.
        normalize: Whether embeddings are scaled to length 1; only then do margins have an upper bound.
        pretrained: Whether timm loads its published weights; the stem is summed over colours to one channel.
        checkpoint: Path of a local weights file (.pth or .safetensors) in the backbone's own layout, one or three
            input channels, with or without a classifier. Used instead of the published weights.
        head: Kind of projection: `linear` is one layer; `mlp` adds a hidden layer of the backbone's width with ReLU.
        freeze_batch_norm: Whether batch norm keeps its running statistics while training, which makes
            a crop's embedding independent of the rest of its batch.
        backbone_args: Further arguments of `timm.create_model`, such as `channels` or `output_stride`.
        side_inputs: Number n of side inputs that join the backbone's features at the head; the command line takes it
            from the data (`data.side_inputs`).

    Raises:
        ValueError: If a setting is out of range, the backbone is unknown to timm or does not take `backbone_args`, or
            the checkpoint does not fit it.

    Example:
        >>> encoder = Encoder(backbone="resnet10t", embedding_dim=64)
        >>> encoder(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 64])
    """

    side_inputs = 0

    def __init__(
        self,
        backbone: str = "resnet10t",
        embedding_dim: int = 128,
        normalize: bool = True,
        pretrained: bool = False,
        checkpoint: str | None = None,
        head: Literal["linear", "mlp"] = "linear",
        freeze_batch_norm: bool = False,
        backbone_args: dict[str, Any] | None = None,
        side_inputs: int = 0,
    ) -> None:
        super().__init__()
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim must be at least 1, got {embedding_dim}.")
        if not backbone:  # null, too
            raise ValueError("backbone is empty; name a model of timm, such as resnet10t.")
        if head not in ("linear", "mlp"):
            raise ValueError(f"head is {head!r}; use 'linear' or 'mlp'.")
        if side_inputs < 0:
            raise ValueError(f"side_inputs must be at least 0, got {side_inputs}.")
        self.embedding_dim = embedding_dim
        self.normalize = normalize
        self.freeze_batch_norm = freeze_batch_norm
        self.backbone = _create_backbone(backbone, pretrained, checkpoint, backbone_args or {})
        # A backbone with a head of its own can be wider than num_features (mobilenetv3: 1024, not 288).
        hidden_size = getattr(self.backbone, "head_hidden_size", None)
        width = cast(int, hidden_size or self.backbone.num_features)
        if side_inputs:
            self.side_inputs, self.side = side_inputs, SideFeatures(side_inputs)
            width += SIDE_FEATURES
        hidden: list[nn.Module] = [nn.Linear(width, width), nn.ReLU()] if head == "mlp" else []
        self.head = nn.Sequential(*hidden, nn.Linear(width, embedding_dim))

    def forward(self, images: Tensor, side: Tensor | None = None) -> Tensor:
        """Embed a batch.

        Args:
            images: Normalised crops (B, 1, S, S).
            side: Side inputs (B, n) of the crops, for an encoder that takes some.

        Returns:
            Embeddings (B, D); if `normalize`, of length 1 and in float32 even under mixed precision.

        Raises:
            ValueError: If there are more or fewer side inputs than the encoder takes.
        """
        features: Tensor = self.backbone(images)
        given = 0 if side is None else side.shape[-1]
        if given != self.side_inputs:
            raise ValueError(f"the encoder takes {self.side_inputs} side inputs, and a crop came with {given}.")
        if side is not None and given:
            features = torch.cat([features, self.side(side)], dim=1)
        vectors: Tensor = self.head(features)  # (B, D)
        if not self.normalize:
            return vectors
        # float64 input stays float64; half precision would leave norms off by 1e-3
        return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=1)

    def train(self, mode: bool = True) -> "Encoder":
        """Set training mode; frozen batch norm stays in evaluation mode."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


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
        nn.Module.__init__(self)
        self.embedding_dim = side**2
        self.normalize = normalize
        self.freeze_batch_norm = False
        self.backbone = nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten())
        self.head = nn.Sequential()

    def forward(self, images: Tensor, side: Tensor | None = None) -> Tensor:
        """Embed a batch by its pixels alone."""
        return super().forward(images)


def _create_backbone(name: str, pretrained: bool, checkpoint: str | None, arguments: dict[str, Any]) -> nn.Module:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"close names: {', '.join(close)}" if close else "timm.list_models() names them all"
        raise ValueError(f"timm has no backbone named {name!r}; {hint}.")
    if _WEIGHTS_FOLLOW.get():
        pretrained, checkpoint = False, None
    if checkpoint is None:
        return _timm_model(name, pretrained, arguments)
    if not Path(checkpoint).is_file():
        raise ValueError(f"The backbone's checkpoint {checkpoint} is not a file.")
    arguments = {**arguments, "pretrained_cfg_overlay": {"file": checkpoint}}
    try:
        backbone = _timm_model(name, True, arguments)
    except (RuntimeError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{checkpoint} does not hold weights of {name!r} ({type(error).__name__}: {error})."
        ) from error
    _check_loaded(backbone, name, checkpoint)
    return backbone


def _timm_model(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, in_chans=1, num_classes=0, **arguments)
    except TypeError as error:
        raise ValueError(
            f"the backbone {name!r} does not take the backbone_args {arguments}: {error}; "
            "backbone_args={} clears those of a config."
        ) from error
    return model


def _check_loaded(backbone: nn.Module, name: str, checkpoint: str) -> None:
    """Refuse a checkpoint whose weights timm did not load: without a classifier to load it accepts any mismatch.

    Matrices are compared by size and sum, since timm renames them on the way for some backbones.
    """
    stored = {_fingerprint(t) for t in load_state_dict(checkpoint).values() if t.ndim > 1}
    matrices = [p for p in backbone.parameters() if p.ndim > 1]
    loaded = sum(_fingerprint(p) in stored for p in matrices)
    if loaded < len(matrices) / 2:  # the stem may be summed over colours, a few may be resampled
        raise ValueError(
            f"{checkpoint} does not hold weights of {name!r} with these backbone_args: "
            f"{loaded} of its {len(matrices)} matrices are in the file."
        )


def _fingerprint(tensor: Tensor) -> tuple[int, float]:
    return tensor.numel(), float(tensor.detach().double().sum())
