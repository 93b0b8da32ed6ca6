"""Features that are computed once, and a fit that learns the projection alone."""

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dml_lightning.models import EmbeddingModule, Encoder, SoftmaxModule, TripletModule
from dml_lightning.models.frozen import FeatureCache
from tests.models.small import Blobs, loaders, trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
CHANNELS = {"channels": [8, 8, 8, 8], "stem_width": 8}


def test_each_crop_is_computed_once_and_returned_in_the_order_asked_for() -> None:
    cache, computed = FeatureCache(), []

    def compute(images: Tensor) -> Tensor:
        computed.append(len(images))
        return 2 * images.flatten(1)

    images, index = torch.randn(9, 1, 2, 2, requires_grad=True), torch.arange(9) + 100
    orders = torch.tensor([[0, 1, 2, 3], [3, 2, 7, 7], [8, 0, 7, 3], [1, 2, 0, 8]])
    for order in orders:
        features = cache(images[order], index[order], compute)
        assert torch.equal(features, 2 * images[order].flatten(1))
        assert not features.requires_grad
    assert computed == [4, 2, 1]  # a copy within a batch is computed with it
    cache.clear()
    cache(images, index, compute)
    assert computed[-1] == 9


class Counted(nn.Module):
    """A backbone with batch norm that counts the crops that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5))
        self.crops = 0

    def forward(self, images: Tensor) -> Tensor:
        self.crops += len(images)
        return self.layers(images)  # type: ignore[no-any-return]


class Probe(Encoder):
    """A frozen encoder whose backbone counts."""

    def __init__(self) -> None:
        super().__init__("resnet10t", 4, freeze=True, backbone_args=CHANNELS)
        self.backbone, self.head = Counted().requires_grad_(False), nn.Sequential(nn.Linear(144, 4))
        self.train()


class Crops(L.LightningDataModule):
    """Batches of 24 of 96 crops; training sees the same pixels of a crop each time, or not."""

    def __init__(self, same_crops: bool) -> None:
        super().__init__()
        self.same_crops = same_crops

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Blobs(96), batch_size=24, shuffle=True)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        return loaders()


def fitted(tmp_path: Any, arm: type[EmbeddingModule], same_crops: bool) -> EmbeddingModule:
    torch.manual_seed(0)
    module = arm(Probe(), lambda parameters: torch.optim.SGD(parameters, lr=0.5), num_classes=3)
    trainer(tmp_path, max_epochs=3).fit(module, Crops(same_crops))
    return module


@pytest.mark.parametrize("arm", [SoftmaxModule, TripletModule])
def test_a_frozen_backbone_sees_each_crop_once_and_the_fit_is_the_same(
    tmp_path: Any, arm: type[EmbeddingModule]
) -> None:
    once, always = (fitted(tmp_path, arm, same_crops) for same_crops in (True, False))
    validation = 30 + 21 + 6 + 9 + 6  # crops of index 0 to 29 are among those of training
    assert once.encoder.backbone.crops == 96 + validation - 30
    assert always.encoder.backbone.crops == 3 * 96 + validation
    torch.manual_seed(0)
    start = Probe()
    learnt = dict(once.named_parameters())
    for name, parameter in always.named_parameters():
        assert torch.allclose(parameter, learnt[name], atol=1e-5), name
    for name, value in start.backbone.state_dict().items():  # running statistics, too
        assert torch.equal(once.encoder.backbone.state_dict()[name], value), name
    assert not torch.allclose(once.encoder.head[0].weight, start.head[0].weight)
    sets, again = once.embeddings(), always.embeddings()
    assert torch.allclose(sets["known"].vectors, again["known"].vectors, atol=1e-5)


def test_other_weights_and_other_data_are_not_taken_for_those_of_before(tmp_path: Any) -> None:
    module = fitted(tmp_path, TripletModule, same_crops=True)
    other = {key: torch.zeros_like(value) for key, value in module.state_dict().items()}
    before = module.embeddings()["known"].vectors
    quiet = trainer(tmp_path)
    shifted = loaders()
    for loader in shifted:
        loader.dataset.images = loader.dataset.images.flip(-1)  # type: ignore[attr-defined]
    quiet.validate(module, shifted, verbose=False)
    with torch.no_grad():
        expected = module(shifted[1].dataset.images)  # type: ignore[attr-defined]
    assert torch.allclose(module.embeddings()["known"].vectors, expected, atol=1e-6)
    assert not torch.allclose(before, expected, atol=1e-2)
    module._features(torch.ones(1, 1, 8, 8), torch.tensor([0]), module.encoder.features)
    module.load_state_dict(other)
    assert module._features(torch.ones(1, 1, 8, 8), torch.tensor([0]), module.encoder.features).abs().max() == 0


def test_a_frozen_encoder_of_timm_learns_its_projection_alone() -> None:
    encoder = Encoder("resnet10t", 4, freeze=True, backbone_args=CHANNELS)
    images = torch.randn(4, 1, 32, 32)
    assert torch.allclose(encoder(images)[:2], encoder(images[:2]), atol=1e-6)  # statistics are not those of the batch
    encoder(images).sum().backward()
    assert {name for name, each in encoder.named_parameters() if each.grad is not None} == {
        "head.0.weight",
        "head.0.bias",
    }
    assert torch.equal(encoder.encoded(encoder.features(images)).vectors, encoder(images))
    module = SoftmaxModule(encoder, torch.optim.SGD, num_classes=3)
    trained = [each for group in module.parameter_groups() for each in group["params"]]
    assert {id(each) for each in trained} == {
        id(each) for each in (*encoder.head.parameters(), *module.classifier.parameters())
    }
