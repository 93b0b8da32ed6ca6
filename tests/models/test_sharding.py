"""A module in shards on two ranks trains as a whole one does on one, to rounding of float64."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from dml_lightning.distributed import rank, whole
from dml_lightning.models import EmbeddingModule, Encoder, SoftmaxModule, TripletModule
from dml_lightning.models.sharding import shard
from tests.ranks import Gloo

ARMS = {"softmax": SoftmaxModule, "triplet": TripletModule}
NO_BATCH_NORM = {"channels": [8, 8, 16, 16], "stem_width": 8, "norm_layer": "groupnorm1"}
CROPS, CUT = 16, 5  # ranks hold unequal parts


def build(arm: str) -> EmbeddingModule:
    torch.manual_seed(0)
    encoder = Encoder("resnet10t", embedding_dim=8, backbone_args=NO_BATCH_NORM)
    return ARMS[arm](encoder, partial(torch.optim.AdamW, lr=0.01), 4).double()


def train(module: EmbeddingModule, rows: slice) -> dict[str, Tensor]:
    """The parameters after four steps on the same global batches."""
    generator = torch.Generator().manual_seed(1)
    optimizer = module._optimizer(module.parameter_groups())
    for _ in range(4):
        images = torch.randn(CROPS, 1, 16, 16, generator=generator, dtype=torch.float64)
        labels = torch.arange(CROPS) % 4
        loss = module.compute_loss(module(images[rows]), labels[rows]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: whole(value).detach() for name, value in module.state_dict().items()}


def train_in_shards(arm: str) -> tuple[int, set[bool], dict[str, Tensor]]:
    module, mesh = build(arm), init_device_mesh("cpu", (2,))
    shard(module, mesh)
    shard(module, mesh)  # Lightning calls the hook before every stage
    units = sum(isinstance(each, FSDPModule) for each in module.modules())
    kinds = {isinstance(value, DTensor) for value in module.parameters()}
    return units, kinds, train(module, slice(None, CUT) if rank() == 0 else slice(CUT, None))


@pytest.mark.parametrize("arm", ARMS)
def test_shards_train_as_the_whole(gloo: Gloo, arm: str) -> None:
    start = {name: value.clone() for name, value in build(arm).state_dict().items()}
    expected = train(build(arm), slice(None))
    for units, kinds, found in gloo(2).run(train_in_shards, arm):
        assert units > 4  # blocks of the backbone, not the whole at once
        assert kinds == {True}
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-10)
    assert max((expected[name] - start[name]).abs().max() for name in start) > 0.01


def refusal(frozen: bool) -> str:
    encoder = Encoder("resnet10t", embedding_dim=8, freeze_batch_norm=frozen)
    try:
        shard(TripletModule(encoder, torch.optim.AdamW, 4), init_device_mesh("cpu", (2,)))
    except ValueError as error:
        return str(error)
    return ""


def test_batch_norm_is_refused_unless_it_is_frozen(gloo: Gloo) -> None:
    for said in gloo(2).run(refusal, False):
        assert "encoder.backbone.conv1.1 and 13 more layers of batch norm would learn" in said
    assert gloo(2).run(refusal, True) == ["", ""]
