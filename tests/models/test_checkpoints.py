"""Modules come back from their checkpoints, and nothing in a checkpoint is run."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses
from torch.utils.data import DataLoader

from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.losses import FocalLoss, MultiSimilarityLoss, PMLLoss
from dml_lightning.models import EmbeddingModule, Encoder, SoftmaxModule, TripletModule
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
    module = TrainedRun.load(runs[arm]).module
    assert type(loaded) is type(module)
    assert repr(loaded) == repr(module.train())
    for name, weights in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weights), name
    rates = [made._optimizer(made.parameters()).param_groups[0]["lr"] for made in (loaded, module)]
    assert rates[0] == rates[1]
