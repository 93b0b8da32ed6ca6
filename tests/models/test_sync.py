"""Batch norm over all ranks must leave the network what it is."""

import copy

import pytest
import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dml_lightning.losses import TripletLoss
from dml_lightning.models import Encoder, GlobalBatchNorm, TripletModule

BACKBONES = ["test_efficientnet", "test_resnet", "mobilenetv3_small_100"]


def module(backbone: str) -> TripletModule:
    torch.manual_seed(0)
    encoder = Encoder(backbone, embedding_dim=8)
    for layer in encoder.modules():
        if isinstance(layer, _BatchNorm):  # statistics that show when they are lost
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
    return TripletModule(encoder, torch.optim.SGD, 3, TripletLoss(0.3)).eval()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_synchronises_every_layer_and_keeps_the_network(backbone: str) -> None:
    model, images = module(backbone), torch.randn(3, 1, 64, 64)
    expected, names = model(images), list(model.state_dict())
    parameters = {name: id(p) for name, p in model.named_parameters()}
    plugin = GlobalBatchNorm()
    plugin.apply(model)
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    assert layers
    assert all(isinstance(layer, nn.SyncBatchNorm) for layer in layers)
    assert {name: id(p) for name, p in model.named_parameters()} == parameters
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(images), expected, rtol=0, atol=0)
    model.on_fit_start()  # nothing to refuse


@pytest.mark.parametrize("backbone", BACKBONES)
def test_afterwards_the_layers_are_those_of_before_with_what_they_learnt(backbone: str) -> None:
    model, images = module(backbone), torch.randn(3, 1, 64, 64)
    kinds = [type(layer) for layer in model.modules()]
    plugin = GlobalBatchNorm()
    plugin.apply(model)
    for layer in model.modules():
        if isinstance(layer, nn.SyncBatchNorm):
            assert layer.running_mean is not None
            layer.running_mean = layer.running_mean + 1  # another tensor, as after a move
            with torch.no_grad():
                layer.weight.mul_(2)
    learnt = model(images)
    plugin.revert(model)
    assert [type(layer) for layer in model.modules()] == kinds
    torch.testing.assert_close(model(images), learnt, rtol=0, atol=0)


def test_the_flag_that_drops_activations_is_refused() -> None:
    model, images = module("test_efficientnet"), torch.randn(3, 1, 64, 64)
    expected = model(images)
    broken = TorchSyncBatchNorm().apply(copy.deepcopy(model))
    assert not torch.allclose(broken(images), expected, atol=0.1)  # why it is refused
    with pytest.raises(ValueError, match=r"sync_batchnorm has dropped the activations of \d+ layers"):
        broken.on_fit_start()
    TorchSyncBatchNorm().apply(module("test_resnet")).on_fit_start()  # batch norm without activation
