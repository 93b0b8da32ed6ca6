import re

import pytest
import torch
from torch import nn

from dml_lightning.models import Encoder, RawPixels

TINY = {"channels": [8, 8, 16, 16], "stem_width": 8}


def tiny(**arguments: object) -> Encoder:
    return Encoder("resnet10t", 6, backbone_args=TINY, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "mobilenetv3_small_050"])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_any_timm_backbone_gives_embeddings_of_the_asked_size(backbone: str, head: str) -> None:
    encoder = Encoder(backbone, 5, head=head).eval()  # type: ignore[arg-type]
    assert encoder(torch.randn(2, 1, 32, 32)).shape == (2, 5)


def test_embeddings_have_length_one_only_if_asked() -> None:
    images = torch.randn(4, 1, 32, 32)
    assert torch.allclose(tiny()(images).norm(dim=1), torch.ones(4), atol=1e-6)
    assert not torch.allclose(tiny(normalize=False)(images).norm(dim=1), torch.ones(4), atol=1e-2)


def test_norms_are_one_to_float32_under_bfloat16() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = tiny()(torch.randn(4, 1, 32, 32))
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_features_are_the_backbone_s_at_unit_length(normalize: bool) -> None:
    encoder, images = tiny(normalize=normalize).eval(), torch.randn(4, 1, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors, features = encoder(images, with_features=True)
        raw = encoder.backbone(images)
    assert torch.equal(features, raw.float() / raw.float().norm(dim=1, keepdim=True))
    assert features.dtype == torch.float32
    vectors, features = encoder(images, with_features=True)
    assert torch.equal(vectors, encoder(images))
    assert features.shape == (4, 16)


def test_a_zero_projection_has_a_finite_gradient() -> None:
    encoder = tiny()
    nn.init.zeros_(encoder.head[0].weight)
    nn.init.zeros_(encoder.head[0].bias)
    encoder(torch.randn(2, 1, 32, 32)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="head is 'mpl'; use 'linear' or 'mlp'"):
        tiny(head="mpl")


def test_frozen_batch_norm_makes_a_crop_independent_of_its_batch() -> None:
    images = torch.randn(4, 1, 32, 32)
    for frozen in (True, False):
        encoder = tiny(freeze_batch_norm=frozen)  # as made: a fit of Lightning does not call train()
        alone = encoder(images[:2])
        together = encoder(torch.cat([images[:2], 9 * images[2:]]))[:2]
        assert torch.allclose(alone, together, atol=1e-5) == frozen


def test_raw_pixels_are_the_crop_scaled_to_length_one() -> None:
    images = torch.randn(3, 1, 8, 8)
    encoder = RawPixels(side=8)
    assert encoder.embedding_dim == 64
    expected = images.flatten(1) / images.flatten(1).norm(dim=1, keepdim=True)
    assert torch.allclose(encoder(images), expected)
    assert not list(encoder.parameters())
    assert torch.allclose(RawPixels(side=4)(images.repeat_interleave(2, 2)), RawPixels(side=4)(images))


@pytest.mark.parametrize("encoder", [RawPixels(side=4), Encoder("resnet10t_narrow", embedding_dim=4)])
@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)]
)
def test_what_is_no_batch_of_crops_is_refused(encoder: Encoder, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=re.escape(f"got {tuple(images.shape)} of {images.dtype}.")):
        encoder(images)


def test_a_network_in_place_of_a_name_is_told_where_it_belongs() -> None:
    with pytest.raises(ValueError, match=r"the name of a model of timm, got Flatten: .* derives from Encoder"):
        Encoder(nn.Flatten())  # type: ignore[arg-type]
