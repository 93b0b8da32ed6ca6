"""What naming crops needs of an arm is what the arm computes."""

import pytest
import torch

from dml_lightning.models import EmbeddingModule, SoftmaxModule, TripletModule
from dml_lightning.models.network import Classifier, Network
from dml_lightning.types import Batch
from tests.models.small import Blobs, Flat, make


def batch(count: int) -> Batch:
    crops = Blobs(count)
    return Batch(crops.images, crops.labels, crops.index, torch.empty(count, 0))


@pytest.mark.parametrize(("arm", "kind"), [(SoftmaxModule, Classifier), (TripletModule, Network)])
def test_a_network_with_the_weights_of_an_arm_answers_as_it_does(
    arm: type[EmbeddingModule], kind: type[Network]
) -> None:
    common = {"turned_classes": 2, "clutter": True}
    module, network = make(arm, **common), kind(Flat(), 3, **common)
    if isinstance(network, Classifier):
        network.add_classifier(scale=16.0)
    network.load_state_dict(module.state_dict())
    one, other = module.eval().embed(batch(5)), network.eval().embed(batch(5))
    assert torch.equal(one.vectors, other.vectors)
    assert torch.equal(one.index, other.index)
    assert (one.logits is None) == (other.logits is None) == (kind is Network)
    if one.logits is not None and other.logits is not None:
        assert torch.equal(one.logits, other.logits)
        assert one.logits.shape == (5, 3)
    for name in ("linear_head", "reject_head"):
        own, again = getattr(module, name)(), getattr(network, name)()
        assert (own is None) == (again is None) == (kind is Network)
        assert own is None or all(map(torch.equal, own, again))


def test_weights_of_another_arm_are_refused() -> None:
    network = Network(Flat(), 3)
    with pytest.raises(ValueError, match=r"the checkpoint holds the weights of another arm .* first classifier\.bias"):
        network.load_state_dict(make(SoftmaxModule).state_dict())
