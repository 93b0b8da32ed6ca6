"""Learning rates by the depth of a layer."""

from functools import partial
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses
from torch import nn
from torch.utils.data import DataLoader

from dml_lightning.losses import PMLLoss
from dml_lightning.models import EmbeddingModule, Encoder, SoftmaxModule, TripletModule
from dml_lightning.models.encoder import RawPixels
from dml_lightning.models.layers import scale_rates, split_by_layer
from tests.models.small import Blobs, loaders, trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def rates(module: EmbeddingModule, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Learning rate by the name of the parameter; every parameter once."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    listed = [(names[id(each)], group["lr"]) for group in optimizer.param_groups for each in group["params"]]
    assert len(listed) == len(dict(listed)) == len(names)
    return dict(listed)


def made(module: EmbeddingModule) -> torch.optim.Optimizer:
    groups = split_by_layer(module.parameter_groups(), module.encoder.backbone, 0.5)
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.03)
    scale_rates(optimizer)
    assert all(group["weight_decay"] == 0.03 for group in optimizer.param_groups)
    return optimizer


def test_rates_fall_by_one_factor_from_block_to_block_of_a_transformer() -> None:
    module = SoftmaxModule(Encoder("test_vit", 4, img_size=32), torch.optim.AdamW, num_classes=3)
    blocks = len(module.encoder.backbone.blocks)
    assert blocks > 2
    for name, rate in rates(module, made(module)).items():
        part = name.removeprefix("encoder.backbone.").split(".")
        if not name.startswith("encoder.backbone."):
            depth = 0  # projection and classifier
        elif part[0] == "blocks":
            depth = blocks - int(part[1])
        else:
            depth = 1 if part[0].startswith(("norm", "fc_norm")) else blocks + 1  # stem, position and class tokens
        assert rate == pytest.approx(0.1 * 0.5**depth), name


def test_rates_rise_with_the_layers_of_a_network_of_convolutions() -> None:
    loss = PMLLoss(partial(losses.ProxyAnchorLoss))
    module = TripletModule(Encoder("resnet10t", 4), torch.optim.AdamW, num_classes=3, loss=loss)
    found = rates(module, made(module))
    stages = [found[f"encoder.backbone.{name}.weight"] for name in ("conv1.0", "layer1.0.conv1", "layer4.0.conv2")]
    assert stages[0] < stages[1] < stages[2] == pytest.approx(0.05)
    own = [rate for name, rate in found.items() if not name.startswith("encoder.backbone.")]
    assert own == [0.1] * len(own)


def test_a_fit_follows_the_schedule_from_the_rate_of_each_layer(tmp_path: Any) -> None:
    module = SoftmaxModule(
        Encoder("test_vit", 4, img_size=32),
        lambda groups: torch.optim.SGD(groups, lr=0.1),
        num_classes=3,
        layer_decay=0.5,
        schedule="constant",
        warmup=0.0,
    )
    train = Blobs(12)
    train.images = nn.functional.interpolate(train.images, 32)
    fit = trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    fit.fit(module, DataLoader(train, 6), loaders())
    found = sorted({group["lr"] for group in fit.optimizers[0].param_groups})
    blocks = len(module.encoder.backbone.blocks)
    assert found == pytest.approx(sorted(0.1 * 0.5**depth for depth in range(blocks + 2)))


@pytest.mark.parametrize("backbone", [RawPixels(side=4).backbone, nn.Flatten(), nn.Linear(2, 2)])
def test_a_backbone_without_layers_is_refused(backbone: nn.Module) -> None:
    with pytest.raises(ValueError, match="layer_decay has no effect: timm tells no layers"):
        split_by_layer([], backbone, 0.5)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 75.0])
def test_a_factor_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=rf"between 0 and 1 and is for a backbone that learns, got {decay};"):
        SoftmaxModule(RawPixels(side=4), torch.optim.AdamW, num_classes=3, layer_decay=decay)


def test_layers_of_a_frozen_backbone_have_no_rate() -> None:
    encoder = Encoder("test_vit", 4, freeze=True, img_size=32)
    with pytest.raises(ValueError, match=r"got 0\.5 and a frozen one"):
        SoftmaxModule(encoder, torch.optim.AdamW, num_classes=3, layer_decay=0.5)
