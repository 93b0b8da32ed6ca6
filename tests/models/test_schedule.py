"""The learning rate over a fit."""

from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.utils.data import DataLoader

from dml_lightning.models import SoftmaxModule, TripletModule
from dml_lightning.models.schedule import check_rates, fit_steps, lr_factor
from tests.models.small import Blobs, loaders, make, trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
CHANGES = {0: 1, 1: 3, 3: 2}  # 5 batches an epoch: 5, 2, 2, 3 steps


@pytest.mark.parametrize(
    ("options", "changes", "steps"),
    [
        ({"max_epochs": 4}, None, 20),
        ({"max_epochs": 4, "accumulate_grad_batches": 2}, None, 12),
        ({"max_epochs": 4}, CHANGES, 12),
        ({"max_epochs": 4, "max_steps": 6}, CHANGES, 6),
        ({"max_epochs": 4, "limit_train_batches": 3}, CHANGES, 3 + 1 + 1 + 2),
        ({"max_epochs": -1, "max_steps": 6}, CHANGES, 6),
    ],
)
def test_the_schedule_ends_with_the_fit(
    tmp_path: Any, options: dict[str, int], changes: dict[int, int] | None, steps: int
) -> None:
    rates: list[float] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    callbacks = [Watch(), *([GradientAccumulationScheduler(changes)] if changes else [])]
    fit = trainer(tmp_path, callbacks=callbacks, **options)
    fit.fit(make(SoftmaxModule, warmup=0.0), DataLoader(Blobs(40), batch_size=8), loaders())
    assert fit.global_step == fit_steps(fit) == steps
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[-2 if changes is None else -3] > 0


def test_a_rate_that_teaches_nothing_is_refused(tmp_path: Any) -> None:
    def groups(*rates: float) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in rates])

    check_rates(groups(0.1, 1e-9))
    for rates in ((0.0,), (0.1, 0.0), (0.1, float("inf"))):
        with pytest.raises(ValueError, match="nothing would be learnt"):
            check_rates(groups(*rates))
    module = make(TripletModule)
    module._optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    with pytest.raises(ValueError, match=r"the learning rate is 0\.0"):
        trainer(tmp_path).fit(module, DataLoader(Blobs(40), batch_size=8), loaders())


def test_a_warmup_rises_to_the_whole_rate() -> None:
    factor = lr_factor("constant", warmup=0.5, steps=6)
    assert [factor(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
