"""Side inputs of an encoder: standardised once, joined at the head, refused where they do not fit."""

from typing import Any

import pytest
import torch

from dml_lightning.models import Encoder, RawPixels, SoftmaxModule, TripletModule
from dml_lightning.models.side import LEAST_SPREAD, SideFeatures
from dml_lightning.types import Batch

TINY = {"channels": [8, 8, 16, 16], "stem_width": 8}
IMAGES = torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
SIDE = torch.tensor([[4.0, 2.0], [8.0, 3.0], [16.0, 9.0], [5.0, 5.0], [30.0, 7.0]])


def tiny(**arguments: Any) -> Encoder:
    torch.manual_seed(0)
    return Encoder("resnet10t", 6, backbone_args=TINY, **arguments)


def test_an_encoder_without_side_inputs_is_what_it_was() -> None:
    plain = tiny()
    assert not [name for name in plain.state_dict() if name.startswith("side")]
    assert torch.equal(plain.eval()(IMAGES), plain(IMAGES, torch.empty(5, 0)))


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_side_inputs_join_at_the_head_and_features_stay_pixels(head: Any) -> None:
    encoder = tiny(side_inputs=2, head=head).eval()
    encoder.side.standardise(SIDE)
    logarithms = SIDE.log()
    standardised = (logarithms - logarithms.mean(0)) / logarithms.std(0, correction=0)
    side = (standardised @ encoder.side.layer.weight.T + encoder.side.layer.bias).relu()
    expected = torch.nn.functional.normalize(encoder.head(torch.cat([encoder.backbone(IMAGES), side], dim=1)))
    torch.testing.assert_close(encoder(IMAGES, SIDE), expected)
    assert not torch.allclose(encoder(IMAGES, 2 * SIDE), expected)


def test_a_crop_has_the_same_features_alone_in_training_and_in_evaluation() -> None:
    features = SideFeatures(2)
    features.standardise(SIDE)
    together = features.train()(SIDE)
    for row, expected in zip(SIDE, together, strict=True):
        torch.testing.assert_close(features.eval()(row[None])[0], expected)


def test_an_input_that_hardly_varies_is_not_blown_up() -> None:
    features = SideFeatures(1)
    features.standardise(torch.full((4, 1), 3.0))
    assert features.get_buffer("scale").item() == pytest.approx(LEAST_SPREAD)


def test_the_wrong_number_of_side_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="takes 2 side inputs, and a crop came with 0"):
        tiny(side_inputs=2)(IMAGES)
    with pytest.raises(ValueError, match="takes 0 side inputs, and a crop came with 2"):
        SoftmaxModule(tiny(), torch.optim.SGD, 3)(IMAGES, SIDE)
    with pytest.raises(ValueError, match="side_inputs must be at least 0, got -1"):
        tiny(side_inputs=-1)


def test_raw_pixels_do_without() -> None:
    assert torch.equal(RawPixels(4)(IMAGES, SIDE), RawPixels(4)(IMAGES))


def test_both_steps_hand_side_inputs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    module = TripletModule(tiny(side_inputs=2), torch.optim.SGD, 2).eval()
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    batch = Batch(IMAGES, torch.tensor([0, 0, 1, 1, 1]), torch.arange(5), SIDE)
    expected = module.encoder(IMAGES, SIDE)
    torch.testing.assert_close(module.training_step(batch, 0)["embeddings"], expected)
    module.on_validation_epoch_start()
    module.validation_step(batch, 0)
    torch.testing.assert_close(module._rows["reference"][0]["vectors"], expected)
