"""Backbones by their names, with weights of files, local folders and the hub's cache, which the tests write."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import Tensor, nn

from dml_lightning.files import write_json
from dml_lightning.models import Encoder
from dml_lightning.models.backbones import create_backbone
from dml_lightning.models.weights import DESCRIPTION, weights_follow

TINY = {"channels": [8, 8, 16, 16], "stem_width": 8}


def tiny(**arguments: Any) -> Encoder:
    return Encoder("resnet10t", 6, backbone_args=TINY, **arguments)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_local_checkpoint_is_loaded_and_colour_stems_are_summed(tmp_path: Path, channels: int, suffix: str) -> None:
    published = timm.create_model("resnet10t", in_chans=channels, num_classes=7, **TINY)
    path = f"{tmp_path}/weights{suffix}"
    state = {key: value.contiguous() for key, value in published.state_dict().items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    check_loaded(tiny(checkpoint=path).backbone, state)


def check_loaded(backbone: nn.Module, state: dict[str, Tensor]) -> None:
    """A ResNet has all weights of a file, its stem summed over colours."""
    loaded = backbone.state_dict()
    stem = "conv1.0.weight"
    assert torch.allclose(loaded[stem], state[stem].sum(1, keepdim=True), atol=1e-6)
    others = [key for key in loaded if key != stem]
    assert all(torch.equal(loaded[key], state[key]) for key in others)


def test_a_checkpoint_of_another_backbone_is_named(tmp_path: Path) -> None:
    path = f"{tmp_path}/other.pth"
    torch.save(timm.create_model("test_convnext", in_chans=1).state_dict(), path)
    with pytest.raises(ValueError, match=r"other\.pth does not hold weights of 'resnet10t'"):
        tiny(checkpoint=path)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.pth is not a file"):
        tiny(checkpoint=f"{tmp_path}/nothing.pth")


def test_an_unknown_backbone_gets_close_names() -> None:
    with pytest.raises(ValueError, match=r"no backbone named 'resnet10'; close names: .*resnet10t"):
        Encoder("resnet10")
    for nothing in ("", None):
        with pytest.raises(ValueError, match="backbone is empty; name a model of timm"):
            Encoder(nothing)


@pytest.mark.parametrize("content", [b"no weights", [1, 2]])
def test_a_file_that_holds_no_weights_is_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=r"other\.pth does not hold weights of 'resnet10t' \(\w+"):
        tiny(checkpoint=str(path))


def test_arguments_that_a_backbone_does_not_take_are_named() -> None:
    with pytest.raises(ValueError, match=r"'test_convnext' does not take .*'stem_width'.* clears"):
        Encoder("test_convnext", backbone_args=TINY)


def test_weights_that_follow_are_neither_downloaded_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, create = [], timm.create_model

    def offline(pretrained: bool, **more: Any) -> object:
        asked.append(pretrained)
        return create(pretrained=False, **more)

    monkeypatch.setattr(timm, "create_model", offline)
    with weights_follow():
        Encoder("resnet10t", embedding_dim=8, pretrained=True)
        Encoder("resnet10t", embedding_dim=8, checkpoint="gone.pth")
    Encoder("resnet10t", embedding_dim=8, pretrained=True)
    assert asked == [False, False, True]


# Weights that come with a config of timm


def published(folder: Path, **arguments: Any) -> nn.Module:
    """A small ResNet of other widths than timm's, in timm's own format in a folder."""
    torch.manual_seed(5)
    model = timm.create_model("resnet10t", num_classes=7, **TINY, **arguments)
    save_for_hf(model, str(folder), model_args=TINY)
    return model


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with the repository birds/net, without a network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--birds--net"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("channels", [1, 3])
def test_a_local_folder_is_loaded(tmp_path: Path, channels: int) -> None:
    state = published(tmp_path, in_chans=channels).state_dict()
    encoder = Encoder(f"local-dir:{tmp_path}", 6, pretrained=True)
    check_loaded(encoder.backbone, state)
    assert encoder(torch.zeros(2, 1, 32, 32)).shape == (2, 6)


def test_a_repository_of_the_hub_is_loaded(cached: Path) -> None:
    state = published(cached / "models--birds--net" / "snapshots" / "abc").state_dict()
    encoder = Encoder("hf-hub:birds/net", 6, pretrained=True, backbone_args={"cache_dir": str(cached)})
    check_loaded(encoder.backbone, state)


def test_without_a_network_timm_says_so(cached: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot reach the backbone 'hf-hub:birds/owl': .*check your connection"):
        Encoder("hf-hub:birds/owl", pretrained=True, backbone_args={"cache_dir": str(cached)})


def test_weights_are_not_left_out_by_accident(tmp_path: Path) -> None:
    published(tmp_path)
    with pytest.raises(ValueError, match=r"names weights, and pretrained: false leaves them out: set encoder\.pretr"):
        Encoder(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("config", [None, {"model_cfg": {"embed_dim": 512}}, {"architectures": ["CLIPModel"]}])
def test_weights_without_a_config_of_timm(tmp_path: Path, config: Any) -> None:
    """What BioCLIP's repository holds: a config of open_clip, under its own name or in place of timm's."""
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"has no config of timm, .* with the weights as encoder\.checkpoint"):
        Encoder(f"local-dir:{tmp_path}", pretrained=True)


def test_weights_in_the_layout_of_clip_are_loaded(tmp_path: Path) -> None:
    arguments = {"embed_dim": 32, "depth": 1, "num_heads": 2, "img_size": 32}
    model = timm.create_model("vit_base_patch16_clip_224", in_chans=3, num_classes=8, **arguments)
    layers = {"norm_pre": "ln_pre", "norm": "ln_post"}
    inside = {"norm1": "ln_1", "norm2": "ln_2"}
    inside |= {"attn.proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    layers |= {f"blocks.0.{ours}": f"transformer.resblocks.0.{theirs}" for ours, theirs in inside.items()}
    clip = {
        f"visual.{theirs}.{kind}": model.get_submodule(ours).get_parameter(kind).detach()
        for ours, theirs in layers.items()
        for kind in ("weight", "bias")
    }
    for kind in ("weight", "bias"):
        clip[f"visual.transformer.resblocks.0.attn.in_proj_{kind}"] = getattr(model.blocks[0].attn.qkv, kind).detach()
    clip["visual.conv1.weight"] = model.patch_embed.proj.weight.detach()
    clip["visual.class_embedding"] = model.cls_token.detach()[0, 0]
    clip["visual.positional_embedding"] = model.pos_embed.detach()[0]
    clip["visual.proj"] = model.head.weight.detach().T
    clip["token_embedding.weight"] = torch.zeros(5, 8)  # of the tower of texts
    torch.save(clip, tmp_path / "open_clip_pytorch_model.bin")
    path = str(tmp_path / "open_clip_pytorch_model.bin")
    encoder = Encoder("vit_base_patch16_clip_224", checkpoint=path, backbone_args=arguments)
    for name, parameter in encoder.backbone.named_parameters():
        expected = model.get_parameter(name)
        expected = expected.sum(1, keepdim=True) if name == "patch_embed.proj.weight" else expected
        assert torch.allclose(parameter, expected, atol=1e-6), name


def test_an_architecture_that_timm_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "swan_base", "pretrained_cfg": {}}))
    with pytest.raises(ValueError, match=r"timm cannot make the backbone 'local-dir:.*Unknown model \(swan_base\)"):
        Encoder(f"local-dir:{tmp_path}", pretrained=True)


def test_weights_of_another_network_than_the_config_names_are_refused(tmp_path: Path) -> None:
    published(tmp_path)
    torch.save(timm.create_model("test_convnext", in_chans=3).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"does not hold weights of 'resnet10t' .*0 of its \d+ matrices are there"):
        Encoder(f"local-dir:{tmp_path}", pretrained=True)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    published(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"does not hold weights of 'local-dir:.*No suitable checkpoints"):
        Encoder(f"local-dir:{tmp_path}", pretrained=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imageomics/bioclip", "backbone: .* Use 'hf-hub:imageomics/bioclip'"),
        ("s3:birds", "backbone: Unknown model source 's3'"),
    ],
)
def test_names_of_no_source_are_explained(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Encoder(name, pretrained=True)


def test_a_run_describes_its_backbone_so_that_the_source_may_be_gone(tmp_path: Path) -> None:
    folder, run = tmp_path / "weights", tmp_path / "run"
    published(folder)
    name = f"local-dir:{folder}"
    encoder = Encoder(name, 6, pretrained=True)
    assert encoder.description is not None
    assert Encoder("resnet10t").description is None
    write_json(run / DESCRIPTION, encoder.description)
    shutil.rmtree(folder)
    with weights_follow(run):
        again = Encoder(name, 6, pretrained=True)
    again.load_state_dict(encoder.state_dict())
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(again.eval()(images), encoder.eval()(images))
    with weights_follow(tmp_path), pytest.raises(ValueError, match="has no config of timm"):
        Encoder(name, 6, pretrained=True)


# The side of the crops


def test_a_transformer_takes_crops_of_the_stated_side() -> None:
    encoder = Encoder("test_vit", 6, img_size=48)
    assert encoder(torch.zeros(2, 1, 48, 48)).shape == (2, 6)
    assert encoder.backbone.patch_embed.img_size == (48, 48)


def test_position_embeddings_are_resampled_to_the_stated_side(tmp_path: Path) -> None:
    save_for_hf(timm.create_model("test_vit", num_classes=3), str(tmp_path))
    large, small = (Encoder(f"local-dir:{tmp_path}", 6, pretrained=True, img_size=side) for side in (160, 48))
    assert large.backbone.pos_embed.shape[1] == 1 + 10**2
    assert small.backbone.pos_embed.shape[1] == 1 + 3**2
    state = large.backbone.state_dict()
    assert all(
        torch.equal(value, state[key]) for key, value in small.backbone.state_dict().items() if key != "pos_embed"
    )


def test_a_network_of_any_side_ignores_it() -> None:
    assert tiny(img_size=48)(torch.zeros(2, 1, 32, 32)).shape == (2, 6)


def test_two_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot make the backbone 'test_vit': Conflicting input image sizes"):
        Encoder("test_vit", img_size=48, backbone_args={"img_size": 32})
    backbone, _ = create_backbone("test_vit", False, None, 32, {"img_size": 32})
    assert backbone(torch.zeros(1, 1, 32, 32)).shape == (1, 64)
