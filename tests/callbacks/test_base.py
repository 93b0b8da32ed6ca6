"""The hook that evaluation callbacks share, without a fit."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from dml_lightning import callbacks
from dml_lightning.callbacks.base import EvaluationCallback, Measurement, data_of
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.models import EmbeddingModule, TripletModule
from tests.models.small import make
from tests.models.small import trainer as small_trainer


class Notes(EvaluationCallback):
    """Keeps the stages at which it is asked."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        self.stages.append(stage)


class Two(Measurement):
    """Says that everything is two."""

    def compute(self, evidence: Evidence) -> dict[str, float]:
        return {"two": 2}


def trainer(sanity: bool = False) -> Any:
    return SimpleNamespace(sanity_checking=sanity)


def test_it_is_asked_at_the_end_of_a_validation_and_of_a_test() -> None:
    notes, module = Notes(), make(TripletModule)
    notes.on_validation_epoch_end(trainer(), module)
    notes.on_test_epoch_end(trainer(), module)
    notes.on_validation_epoch_end(trainer(sanity=True), module)  # a rehearsal with untrained embeddings
    assert notes.stages == ["val", "test"]


@pytest.mark.parametrize("callback", [getattr(callbacks, name)() for name in callbacks.__all__])
def test_another_module_is_refused_at_the_start(callback: L.Callback, tmp_path: Path) -> None:
    fit = small_trainer(tmp_path, callbacks=[callback])
    message = f"{type(callback).__name__} observes an EmbeddingModule, not BoringModel: derive the module"
    with pytest.raises(ValueError, match=message):
        fit.fit(BoringModel(), BoringDataModule())


def test_numbers_are_logged_behind_their_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    module, logged = make(TripletModule), {}
    monkeypatch.setattr(module, "log_dict", lambda values, sync_dist: logged.update(values))
    monkeypatch.setattr("dml_lightning.callbacks.base.evidence_of", lambda trainer, module: None)
    Two().on_test_epoch_end(trainer(), module)
    assert logged == {"test/two": 2.0}
    assert isinstance(logged["test/two"], float)


def test_a_trainer_without_our_data_is_told() -> None:
    for given in (SimpleNamespace(), SimpleNamespace(datamodule=L.LightningDataModule())):
        with pytest.raises(ValueError, match=r"come from a ThermalWaterfowlDataModule, not .*; pass datamodule="):
            data_of(given)  # type: ignore[arg-type]
