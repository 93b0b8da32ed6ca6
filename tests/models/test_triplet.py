"""The arm that embeds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses as library
from torch.utils.data import DataLoader

from dml_lightning.data.loaders import TrainingLoader
from dml_lightning.data.samplers import PKBatchSampler
from dml_lightning.losses import EmbeddingLoss, PMLLoss, TripletLoss
from dml_lightning.models import TripletModule
from dml_lightning.theory import max_feasible_margin
from tests.models.small import Blobs, loaders, make, trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def test_an_infeasible_margin_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match=r"3 classes.*1\.73"):
        make(TripletModule, loss=TripletLoss(margin=1.9))
    make(TripletModule, loss=TripletLoss(margin=1.9), allow_infeasible_margin=True)
    make(TripletModule, loss=TripletLoss(margin=1.9), normalize=False)


def test_clutter_is_one_kind_more_to_keep_apart() -> None:
    """Four unit vectors have a pair nearer than 1.64, three do not."""
    make(TripletModule, loss=TripletLoss(margin=1.7))
    with pytest.raises(ValueError, match=r"4 classes.*1\.63"):
        make(TripletModule, loss=TripletLoss(margin=1.7), clutter=True)
    with pytest.raises(ValueError, match="ArcFaceLoss has no place for clutter"):
        make(TripletModule, loss=PMLLoss(library.ArcFaceLoss), clutter=True)


def test_proxies_are_of_the_module_s_classes_and_embedding() -> None:
    module = make(TripletModule, loss=PMLLoss(library.ArcFaceLoss))
    assert module.loss.loss.W.shape == (4, 3)
    assert "loss.loss.W" in module.state_dict()


@pytest.mark.parametrize(("classes", "dim", "message"), [(5, 4, "num_classes is 5.* 3"), (3, 8, "size is 8.* 4")])
def test_proxies_of_other_sizes_do_not_train(tmp_path: Path, classes: int, dim: int, message: str) -> None:
    module = make(TripletModule, loss=PMLLoss(library.ProxyAnchorLoss(classes, dim)))
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path).fit(module, DataLoader(Blobs(24), batch_size=8), loaders())


def test_groups_of_parameters_have_names() -> None:
    module = make(TripletModule, loss=PMLLoss(library.ProxyAnchorLoss, proxy_lr=0.5))
    groups = torch.optim.SGD(module.parameter_groups(), lr=0.1).param_groups
    assert [(group["name"], group["lr"]) for group in groups] == [("encoder", 0.1), ("loss", 0.5)]


class Planned(TrainingLoader):
    """Crops in P x K batches, each given as it is."""

    def __init__(self, **sizes: int) -> None:
        crops = Blobs(24)
        super().__init__(crops, PKBatchSampler(crops.labels.tolist(), **sizes))
        self.collate_fn = torch.utils.data.default_collate


@pytest.mark.parametrize(
    ("sizes", "loss", "refused"),
    [
        ({"classes_per_batch": 3, "samples_per_class": 1}, TripletLoss(), "samples_per_class"),
        ({"classes_per_batch": 1, "samples_per_class": 4}, TripletLoss(), "classes_per_batch"),
        ({"classes_per_batch": 3, "samples_per_class": 1}, PMLLoss(library.ContrastiveLoss()), "samples_per_class"),
        ({"classes_per_batch": 3, "samples_per_class": 1}, PMLLoss(library.ProxyAnchorLoss), None),
        ({"classes_per_batch": 3, "samples_per_class": 1}, TripletLoss(memory_size=24), None),
        ({"classes_per_batch": 2, "samples_per_class": 2}, TripletLoss(), None),
    ],
)
def test_batches_without_anything_to_compare_are_refused(
    tmp_path: Path, sizes: dict[str, Any], loss: EmbeddingLoss, refused: str | None
) -> None:
    run = trainer(tmp_path, max_epochs=1)
    if refused is None:
        run.fit(make(TripletModule, loss=loss), Planned(**sizes), loaders())
        return
    with pytest.raises(ValueError, match=f"nothing to compare: let data.{refused} be at least 2"):
        run.fit(make(TripletModule, loss=loss), Planned(**sizes), loaders())
    assert run.global_step == 0


def test_turned_classes_have_proxies_and_count_for_the_margin() -> None:
    module = make(TripletModule, loss=PMLLoss(library.ProxyAnchorLoss), turned_classes=4)
    assert module.loss.loss.proxies.shape == (12, 4)
    largest = max_feasible_margin(num_classes=12, embedding_dim=4)
    assert largest < max_feasible_margin(num_classes=3, embedding_dim=4)
    make(TripletModule, loss=TripletLoss(margin=largest + 0.05))
    with pytest.raises(ValueError, match="12 classes"):
        make(TripletModule, loss=TripletLoss(margin=largest + 0.05), turned_classes=4)
