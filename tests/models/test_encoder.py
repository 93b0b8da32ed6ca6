from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from dml_lightning.models import Encoder, RawPixels
from dml_lightning.models.encoder import weights_follow

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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_local_checkpoint_is_loaded_and_colour_stems_are_summed(tmp_path: object, channels: int, suffix: str) -> None:
    from safetensors.torch import save_file

    published = timm.create_model("resnet10t", in_chans=channels, num_classes=7, **TINY)
    path = f"{tmp_path}/weights{suffix}"
    state = {key: value.contiguous() for key, value in published.state_dict().items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = tiny(checkpoint=path).backbone.state_dict()
    stem = "conv1.0.weight"
    assert torch.allclose(loaded[stem], state[stem].sum(1, keepdim=True), atol=1e-6)
    others = [key for key in loaded if key != stem]
    assert all(torch.equal(loaded[key], state[key]) for key in others)


def test_a_checkpoint_of_another_backbone_is_named(tmp_path: object) -> None:
    path = f"{tmp_path}/other.pth"
    torch.save(timm.create_model("test_convnext", in_chans=1).state_dict(), path)
    with pytest.raises(ValueError, match=r"other\.pth does not hold weights of 'resnet10t'"):
        tiny(checkpoint=path)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: object) -> None:
    with pytest.raises(ValueError, match=r"nothing\.pth is not a file"):
        tiny(checkpoint=f"{tmp_path}/nothing.pth")


def test_an_unknown_backbone_gets_close_names() -> None:
    with pytest.raises(ValueError, match=r"no backbone named 'resnet10'; close names: .*resnet10t"):
        Encoder("resnet10")
    for nothing in ("", None):
        with pytest.raises(ValueError, match="backbone is empty; name a model of timm"):
            Encoder(nothing)


@pytest.mark.parametrize("content", [b"no weights", [1, 2]])
def test_a_file_that_holds_no_weights_is_named(tmp_path: object, content: object) -> None:
    path = Path(f"{tmp_path}/other.pth")
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=r"other\.pth does not hold weights of 'resnet10t' \(\w+"):
        tiny(checkpoint=str(path))


def test_arguments_that_a_backbone_does_not_take_are_named() -> None:
    with pytest.raises(ValueError, match=r"'test_convnext' does not take .*'stem_width'.* clears"):
        Encoder("test_convnext", backbone_args=TINY)


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="head is 'mpl'; use 'linear' or 'mlp'"):
        tiny(head="mpl")


def test_frozen_batch_norm_makes_a_crop_independent_of_its_batch() -> None:
    images = torch.randn(4, 1, 32, 32)
    for frozen in (True, False):
        encoder = tiny(freeze_batch_norm=frozen).train()
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


def test_weights_that_follow_are_neither_downloaded_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, create = [], timm.create_model

    def offline(name: str, pretrained: bool, **more: object) -> object:
        asked.append(pretrained)
        return create(name, pretrained=False, **more)

    monkeypatch.setattr(timm, "create_model", offline)
    with weights_follow():
        Encoder("resnet10t", embedding_dim=8, pretrained=True)
        Encoder("resnet10t", embedding_dim=8, checkpoint="gone.pth")
    Encoder("resnet10t", embedding_dim=8, pretrained=True)
    assert asked == [False, False, True]
