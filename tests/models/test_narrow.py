"""The small backbone has a name of its own, and names of timm are timm's models."""

import pytest
import timm
import torch
import yaml

from dml_lightning.cli import main
from dml_lightning.models import Encoder
from tests import ROOT

OF_OLD_RECIPES = {"channels": [24, 48, 96, 192], "stem_width": 16}


def test_it_is_the_net_that_recipes_of_before_describe() -> None:
    torch.manual_seed(3)
    named = Encoder("resnet10t_narrow", 6)
    torch.manual_seed(3)
    described = Encoder("resnet10t", 6, backbone_args=OF_OLD_RECIPES)
    images = torch.randn(2, 1, 32, 32)
    assert torch.allclose(named.eval()(images), described.eval()(images), atol=1e-6)
    assert all(map(torch.equal, named.state_dict().values(), described.state_dict().values()))
    assert list(named.state_dict()) == list(described.state_dict())
    assert sum(p.numel() for p in named.backbone.parameters()) == 698_964


def test_its_widths_can_be_replaced() -> None:
    assert Encoder("resnet10t_narrow", 6, backbone_args={"channels": [8, 8, 8, 16]}).head[0].in_features == 16  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["resnet18", "resnet10t"])
def test_another_backbone_on_the_command_line_is_timm_s_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"--config={ROOT}/configs/{each}.yaml" for each in ("base", "data/simulated", "model/triplet")]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *files, f"--model.init_args.encoder.backbone={name}", "--print_config"])
    settings = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["encoder"]["init_args"]
    encoder = Encoder(**settings)
    full = timm.create_model(name, in_chans=1, num_classes=0)
    assert (settings["backbone"], settings["backbone_args"]) == (name, None)
    assert [p.shape for p in encoder.backbone.parameters()] == [p.shape for p in full.parameters()]


def test_weights_that_nobody_published_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no weights of 'resnet10t_narrow' are published; leave out"):
        Encoder("resnet10t_narrow", pretrained=True)
