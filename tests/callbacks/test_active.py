"""Active triplets of training batches, in a short fit."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from dml_lightning.callbacks import ActiveTriplets
from dml_lightning.evaluation.active import active_values
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.losses import EmbeddingLoss, TripletLoss
from dml_lightning.losses.functional import triplet_counts
from dml_lightning.models import TripletModule
from dml_lightning.types import CLUTTER
from tests.evaluation.lines import laid_out
from tests.models.small import Blobs, make, trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
]


class Keeps(L.Callback):
    """The embeddings and logged numbers of every step."""

    def __init__(self) -> None:
        self.steps: list[tuple[torch.Tensor, torch.Tensor, dict[str, float]]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if "triplet_fraction" in name}
        self.steps.append((outputs["embeddings"].detach().clone(), outputs["labels"].clone(), logged))


def watched(folder: Path, loss: EmbeddingLoss, **settings: Any) -> Keeps:
    keeps = Keeps()
    run = trainer(
        folder,
        max_epochs=2,
        log_every_n_steps=1,
        logger=CSVLogger(folder),
        callbacks=[ActiveTriplets(**settings), keeps],
    )
    run.fit(make(TripletModule, loss=loss, allow_infeasible_margin=True), DataLoader(Blobs(24), batch_size=12))
    return keeps


@pytest.mark.parametrize("loss", [TripletLoss(0.3), TripletLoss(0.2, "hard"), TripletLoss(0.5)])
def test_every_loss_is_counted_with_the_same_margin(tmp_path: Path, loss: TripletLoss) -> None:
    keeps = watched(tmp_path, loss, margin=0.3)
    assert len(keeps.steps) == 4
    for vectors, labels, logged in keeps.steps:
        counts = triplet_counts(vectors, labels, 0.3)
        for kind in ("active", "hard", "semihard", "easy"):
            share = int(counts[kind]) / int(counts["valid"])
            assert logged[f"train/{kind}_triplet_fraction"] == pytest.approx(share)
        own = "train/loss_active_triplet_fraction"
        assert (own in logged) == (loss.margin != 0.3)
        if own in logged:
            counts = triplet_counts(vectors, labels, loss.margin)
            assert logged[own] == pytest.approx(int(counts["active"]) / int(counts["valid"]))


def test_a_loss_with_a_memory_has_counts_of_its_own(tmp_path: Path) -> None:
    """They hold triplets beyond the batch, which the callback does not count."""
    keeps = watched(tmp_path, TripletLoss(0.3, memory_size=30), margin=0.3)
    vectors, labels, logged = keeps.steps[-1]
    counts = triplet_counts(vectors, labels, 0.3)
    assert logged["train/active_triplet_fraction"] == pytest.approx(int(counts["active"]) / int(counts["valid"]))
    assert "train/loss_active_triplet_fraction" in logged


class Cluttered(Blobs):
    """Every third crop is clutter."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.labels = torch.where(torch.arange(count) % 3 == 1, CLUTTER, torch.arange(count) % 4)


def test_clutter_is_counted_apart(tmp_path: Path) -> None:
    keeps = Keeps()
    callbacks = [ActiveTriplets(margin=0.3), keeps]
    run = trainer(tmp_path, max_epochs=1, log_every_n_steps=1, logger=CSVLogger(tmp_path), callbacks=callbacks)
    module = make(TripletModule, num_classes=4, loss=TripletLoss(0.3), clutter=True)
    run.fit(module, DataLoader(Cluttered(24), batch_size=12))
    assert run.callback_metrics["train/clutter_share"] == pytest.approx(1 / 3)
    for vectors, labels, logged in keeps.steps:
        counts = triplet_counts(vectors[labels != CLUTTER], labels[labels != CLUTTER], 0.3)
        share = int(counts["active"]) / int(counts["valid"])
        assert logged["train/active_triplet_fraction"] == pytest.approx(share)
        every = triplet_counts(vectors, labels, 0.3)
        assert int(every["valid"]) > int(counts["valid"])
        own = int(every["active"]) / int(every["valid"])
        assert logged["train/loss_active_triplet_fraction"] == pytest.approx(own)


def test_steps_between_two_counts(tmp_path: Path) -> None:
    keeps = watched(tmp_path, TripletLoss(0.3), margin=0.3, every_n_steps=3)
    assert [bool(logged) for *_, logged in keeps.steps] == [False, False, True, True]  # kept until the next


def test_of_a_split_the_pure_function_speaks() -> None:
    known = [([0.0], 0), ([1.0], 0), ([1.5], 1), ([4.0], 1)]
    given: Evidence = laid_out({"reference": known, "known": known})
    callback = ActiveTriplets(0.4, squared=True, most_anchors=3)
    assert callback.compute(given) == active_values(given, 0.4, True, 3)


@pytest.mark.parametrize("name", ["every_n_steps", "most_anchors"])
def test_wrong_settings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        ActiveTriplets(**{name: 0})
