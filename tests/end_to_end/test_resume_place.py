"""A fit that goes on trains on the batches that it has not had, whoever had its loader made too early."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from dml_lightning.models import Encoder, SoftmaxModule
from tests.end_to_end.plain import plain_data, plain_trainer

STEPS = 4  # of each of two epochs


class Watched(SoftmaxModule):
    """Notes the batches that it trains on."""

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        place = (self.trainer.current_epoch, batch_idx)
        self.batches = [*getattr(self, "batches", []), (place, batch.index.tolist())]
        return super().training_step(batch, batch_idx)


class AsksLate(Watched):
    """Asks for the number of steps when its optimizer is made, and again."""

    @override
    def configure_optimizers(self) -> Any:
        assert self.trainer.estimated_stepping_batches == 2 * STEPS
        return super().configure_optimizers()

    @override
    def on_fit_start(self) -> None:
        super().on_fit_start()
        assert self.trainer.estimated_stepping_batches == 2 * STEPS


class Asks(L.Callback):
    """Asks for the number of steps wherever a callback may, before the checkpoint is read and after."""

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        assert trainer.estimated_stepping_batches == 2 * STEPS

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert trainer.estimated_stepping_batches == 2 * STEPS

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert trainer.estimated_stepping_batches == 2 * STEPS


class StopWithin(L.Callback):
    """Leaves a checkpoint of the middle of the second epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        if trainer.global_step == STEPS + 2:
            trainer.save_checkpoint(self.path)


def fit(
    flights: Path,
    folder: Path,
    make: Callable[..., Watched],
    callbacks: list[L.Callback],
    workers: int,
    checkpoint: Path | None = None,
) -> list[Any]:
    """The batches of a fit by a trainer that knows nothing of this package."""
    data = plain_data(flights, folder, batches_per_epoch=STEPS, num_workers=workers)
    optimizer = partial(torch.optim.SGD, lr=0.01)
    module = make(Encoder("test_convnext", embedding_dim=8), optimizer, data.num_classes)
    trainer = plain_trainer(folder, 2, callbacks)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    return module.batches


WAYS: dict[str, tuple[Callable[..., Watched], list[L.Callback]]] = {
    "nobody": (partial(Watched, scheduler=partial(LambdaLR, lr_lambda=lambda _: 1.0)), []),
    "our schedule": (Watched, []),
    "a callback": (partial(Watched, scheduler=partial(LambdaLR, lr_lambda=lambda _: 1.0)), [Asks()]),
    "a subclass": (AsksLate, []),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("who_asks", WAYS)
def test_the_loader_goes_on_where_it_was(flights: Path, tmp_path: Path, who_asks: str, workers: int) -> None:
    make, callbacks = WAYS[who_asks]
    checkpoint = tmp_path / "within.ckpt"
    whole = fit(flights, tmp_path, make, [*callbacks, StopWithin(checkpoint)], workers)
    assert [place for place, _ in whole] == [(e, b) for e in range(2) for b in range(STEPS)]
    assert len({tuple(index) for _, index in whole}) == len(whole)
    rest = fit(flights, tmp_path, make, callbacks, workers, checkpoint)
    assert rest == whole[STEPS + 2 :]
