"""Batch norm folded into convolutions changes rounding, and where it would change more, nothing is folded."""

from threading import Lock

import pytest
import torch
from torch import Tensor, nn

from dml_lightning.models import EmbeddingModule, TripletModule
from dml_lightning.models.encoder import Encoder
from dml_lightning.models.inference import folded
from tests.models.small import make


def with_backbone(backbone: nn.Module, width: int) -> EmbeddingModule:
    """A module in evaluation mode whose batch norm is far from the identity."""
    module = make(TripletModule)
    module.encoder.backbone, module.encoder.head = backbone, nn.Sequential(nn.Linear(width, 4))
    for norm in (each for each in backbone.modules() if isinstance(each, nn.BatchNorm2d)):
        for name, low in (("weight", 0.5), ("bias", -1.0), ("running_mean", -1.0), ("running_var", 0.5)):
            getattr(norm, name).data.uniform_(low, 2.0)
    return module.eval()


class Twice(nn.Module):
    """One convolution before two norms: folding one norm into it changes the other's input."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.one, self.other = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        return (self.one(self.convolution(images)) + self.other(self.convolution(2 * images))).mean((2, 3))


class Untraceable(Twice):
    """It looks at its values."""

    def forward(self, images: Tensor) -> Tensor:
        return self.one(self.convolution(images)).mean((2, 3)) if images.sum() > 0 else images.new_zeros(len(images), 4)


def test_a_folded_module_has_the_same_embeddings_and_leaves_the_first_as_it_is() -> None:
    module = with_backbone(Encoder("resnet10t_narrow", 4).backbone, 192)
    images = torch.randn(5, 1, 48, 48)
    with torch.inference_mode():
        expected = module(images)
        faster = folded(module, 48)
        torch.testing.assert_close(faster(images), expected, rtol=0, atol=1e-5)
        assert torch.equal(module(images), expected)
    norms = [sum(isinstance(each, nn.BatchNorm2d) for each in one.modules()) for one in (module, faster)]
    assert norms == [15, 0]


class Locked(nn.BatchNorm2d):
    """It cannot be copied."""

    def __init__(self) -> None:
        super().__init__(1)
        self.lock = Lock()


@pytest.mark.parametrize("backbone", [Twice, Untraceable, Locked, lambda: nn.Flatten(1)])
def test_a_module_that_cannot_be_folded_stays_itself(backbone: type[nn.Module]) -> None:
    module = with_backbone(backbone(), 4)
    assert folded(module, 8) is module


class Unnamed(Encoder):
    """An encoder of one's own whose network is not called a backbone."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.embedding_dim, self.normalize, self.freeze_batch_norm = 4, True, False
        self.network, self.head = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(1)), nn.Sequential(nn.Linear(64, 4))

    def features(self, images: Tensor) -> Tensor:
        return self.network(images)  # type: ignore[no-any-return]


def test_an_encoder_without_a_backbone_stays_itself() -> None:
    module = make(TripletModule, encoder=Unnamed()).eval()
    assert folded(module, 8) is module
