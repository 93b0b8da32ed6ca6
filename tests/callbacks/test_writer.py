"""What a run writes down of itself, for the comparison with others."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from dml_lightning.callbacks import RunWriter
from dml_lightning.files import write_text
from dml_lightning.models import Encoder, SoftmaxModule
from dml_lightning.models.encoder import RawPixels
from dml_lightning.runs import digests
from tests.end_to_end.plain import plain_data, plain_trainer


def test_the_samples_seen_are_counted(flights: Path, tmp_path: Path) -> None:
    data = plain_data(flights, tmp_path, batches_per_epoch=4)
    trainer = plain_trainer(tmp_path, 2, [RunWriter()])
    trainer.accumulate_grad_batches = 3  # the second step of an epoch takes one batch
    encoder = Encoder("test_convnext", embedding_dim=8)
    module = SoftmaxModule(encoder, partial(torch.optim.SGD, lr=0.01), data.num_classes)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 4
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["samples_seen"] == 2 * 4 * 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.0}, "alpha must lie strictly between 0 and 1, got 0.0"),
        ({"cost": 5.0}, "cost is a share of the known crops, from 0 to 1, got 5.0"),
        ({"score": "knn2"}, "there is no score 'knn2', only nearest, radius, knn1, knn5, .*, rank_sum"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunWriter(**arguments)


def test_the_score_of_a_reject_class_is_refused_before_training_without_one() -> None:
    plain, clutter = (SoftmaxModule(RawPixels(2), torch.optim.SGD, 3, clutter=own) for own in (False, True))
    trainer = L.Trainer(logger=False, fast_dev_run=True)
    RunWriter(score="reject").on_fit_start(trainer, clutter)
    with pytest.raises(ValueError, match=r"which only softmax trained against clutter \(data.ood_train\) has"):
        RunWriter(score="reject").on_fit_start(trainer, plain)


class Killed(L.Callback):
    """Ends a validation at its first batch."""

    def on_validation_batch_end(self, *_: object) -> None:
        raise RuntimeError("killed")


def test_a_validation_that_was_killed_has_no_digests_of_what_it_was_to_replace(flights: Path, tmp_path: Path) -> None:
    data = plain_data(flights, tmp_path, batches_per_epoch=4)
    module = SoftmaxModule(
        Encoder("test_convnext", embedding_dim=8), partial(torch.optim.SGD, lr=0.01), data.num_classes
    )
    write_text(tmp_path / "embeddings" / "val.npz", "old")
    for stage in ("val", "test"):
        digests.record(tmp_path, stage, ["embeddings/val.npz"])
    trainer = plain_trainer(tmp_path, 1, [RunWriter(), Killed()])
    with pytest.raises(RuntimeError, match="killed"):
        trainer.validate(module, datamodule=data, verbose=False)
    assert not digests.recorded(tmp_path, "val")
    assert digests.recorded(tmp_path, "test")
