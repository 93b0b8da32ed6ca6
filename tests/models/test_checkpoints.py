"""Modules come back from their checkpoints, and nothing in a checkpoint is run."""

from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses
from torch.utils.data import DataLoader

from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.losses import FocalLoss, MultiSimilarityLoss, PMLLoss
from dml_lightning.models import EmbeddingModule, Encoder, SoftmaxModule, TripletModule
from dml_lightning.models.checkpoints import FOR_TRAINING, network_of
from dml_lightning.models.network import Classifier, Network
from dml_lightning.runs.recipes import read_recipe
from tests.models.small import Blobs, Flat, loaders, make, optimizer, trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
SGD = partial(torch.optim.SGD, lr=0.25)


def saved(module: EmbeddingModule, tmp_path: Path) -> Path:
    """Checkpoint after one step."""
    fit = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    fit.fit(module, DataLoader(Blobs(12), batch_size=12), loaders())
    fit.save_checkpoint(tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


@pytest.mark.parametrize(
    ("arm", "arguments"),
    [
        (TripletModule, {"loss": MultiSimilarityLoss(beta=40)}),
        (TripletModule, {"loss": PMLLoss(partial(losses.ProxyAnchorLoss, margin=0.3))}),
        (SoftmaxModule, {"loss": FocalLoss(gamma=1.0), "scale": 8.0, "schedule": "constant"}),
    ],
)
def test_a_module_made_in_python_comes_back(
    tmp_path: Path, arm: type[EmbeddingModule], arguments: dict[str, Any]
) -> None:
    module = arm(Encoder("test_resnet", embedding_dim=4), SGD, num_classes=3, **arguments)
    path = saved(module, tmp_path)
    torch.load(path, weights_only=True)
    images = Blobs(6).images
    for kind in (arm, EmbeddingModule):
        loaded = kind.load_from_checkpoint(path)
        assert type(loaded) is arm
        torch.testing.assert_close(loaded.eval()(images), module.eval()(images))
        assert repr(loaded.loss) == repr(module.loss)
        assert loaded._schedule == module._schedule
        assert loaded._optimizer(loaded.parameters()).param_groups[0]["lr"] == 0.25
    assert arm.load_from_checkpoint(path, warmup=0.5)._warmup == 0.5


def test_what_cannot_be_saved_is_asked_for(tmp_path: Path) -> None:
    module = make(TripletModule, loss=PMLLoss(losses.TripletMarginLoss()))
    path = saved(module, tmp_path)
    given: dict[str, Any] = {"encoder": Flat(), "optimizer": optimizer, "loss": PMLLoss(losses.TripletMarginLoss())}
    with pytest.raises(
        ValueError, match=r"last\.ckpt holds .*\(\.\.\., encoder=\.\.\., optimizer=\.\.\., loss=\.\.\.\)"
    ):
        TripletModule.load_from_checkpoint(path)
    with pytest.raises(ValueError, match=r"give load_from_checkpoint\(\.\.\., loss=\.\.\.\)"):
        TripletModule.load_from_checkpoint(path, encoder=Flat(), optimizer=optimizer)
    loaded = TripletModule.load_from_checkpoint(path, **given)
    assert loaded.loss is given["loss"]
    torch.testing.assert_close(loaded(Blobs(3).images), module(Blobs(3).images))


def test_a_checkpoint_of_before_takes_the_arguments(tmp_path: Path) -> None:
    module = make(SoftmaxModule)
    path = saved(module, tmp_path)
    content = torch.load(path, weights_only=True)
    del content["model"]
    torch.save(content, path)
    with pytest.raises(
        ValueError, match=r"not kept .*encoder=\.\.\., optimizer=\.\.\., num_classes=\.\.\.\).*TrainedRun"
    ):
        SoftmaxModule.load_from_checkpoint(path)
    loaded = SoftmaxModule.load_from_checkpoint(path, encoder=Flat(), optimizer=optimizer, num_classes=3)
    torch.testing.assert_close(loaded(Blobs(3).images), module(Blobs(3).images))


def test_another_arm_and_damage_and_foreign_classes_are_named(tmp_path: Path) -> None:
    path = saved(TripletModule(Encoder("test_resnet", embedding_dim=4), SGD, num_classes=3), tmp_path)
    with pytest.raises(ValueError, match=r"holds a TripletModule and no SoftmaxModule: TripletModule\.load_from"):
        SoftmaxModule.load_from_checkpoint(path)
    content = torch.load(path, weights_only=True)
    touched = tmp_path / "touched"
    run = {"class_path": "os.system", "init_args": {"command": f"touch {touched}"}}
    for wrong, message in (
        (run | {"unsaved": [], "backbone": None}, r"names os\.system as model"),
        (content["model"] | {"init_args": content["model"]["init_args"] | {"optimizer": run}}, r"system as optimizer"),
        ({"class_path": 1}, "its entry 'model' describes no module"),
        ("os.system", "its entry 'model' describes no module"),
    ):
        torch.save(content | {"model": wrong}, path)
        with pytest.raises(ValueError, match=message):
            TripletModule.load_from_checkpoint(path)
    assert not touched.exists()


@pytest.mark.parametrize("arm", ["softmax", "triplet"])
def test_a_module_made_by_the_command_line_comes_back(runs: dict[str, Path], arm: str) -> None:
    loaded = EmbeddingModule.load_from_checkpoint(runs[arm] / "checkpoints" / "best.ckpt")
    network = TrainedRun.load(runs[arm]).module
    assert type(network) is {"softmax": Classifier, "triplet": Network}[arm]
    assert isinstance(loaded, type(network))
    assert repr(loaded.encoder) == repr(network.train().encoder)
    recipe = read_recipe(runs[arm])["model"]["init_args"]
    assert type(loaded.loss).__name__ == recipe["loss"]["class_path"].rpartition(".")[2]
    rate = loaded._optimizer(loaded.parameters()).param_groups[0]["lr"]
    assert rate == recipe["optimizer"]["init_args"]["lr"]
    weights = {name: each for name, each in loaded.state_dict().items() if not name.startswith("loss.")}
    assert weights.keys() == network.state_dict().keys()
    for name, own in network.state_dict().items():
        assert torch.equal(weights[name], own), name


def section(arm: str = "softmax.SoftmaxModule", **arguments: Any) -> dict[str, Any]:
    encoder = {"class_path": "dml_lightning.models.RawPixels", "init_args": {"side": 2}}
    return {
        "class_path": f"dml_lightning.models.{arm}",
        "init_args": {"encoder": encoder, "num_classes": 3, **arguments},
    }


def test_a_network_takes_what_naming_needs_of_an_arm() -> None:
    training = {"optimizer": {"class_path": "torch.optim.SGD"}, "loss": None, "compile": True}
    made = network_of(section(**training, scale=4, turned_classes=2, clutter=True), "recipe.yaml")
    assert isinstance(made, Classifier)
    assert made.reject is not None
    assert (made.scale, made.classifier.out_features, made.num_classes) == (4, 6, 3)
    assert type(network_of(section("TripletModule"), "recipe.yaml")) is Network
    assert network_of(section() | {"class_path": "ours.SoftmaxModule"}, "recipe.yaml") is None
    with pytest.raises(
        ValueError, match=r"^recipe\.yaml describes no model of this version: 'what' is not accepted\.$"
    ):
        network_of(section(what=1), "recipe.yaml")


def test_every_argument_of_the_arms_is_for_naming_or_for_training() -> None:
    """A new one has to be put down as one or the other, or runs could not be read."""
    for arm, own in ((SoftmaxModule, {"scale"}), (TripletModule, set())):
        common = {*signature(arm).parameters, *signature(EmbeddingModule).parameters} - {"common"}
        assert common - FOR_TRAINING == {*signature(Network).parameters} | own
