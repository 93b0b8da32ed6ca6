"""The learning rate over a fit: how many steps there are, and which share of the rate each has."""

import math
from collections.abc import Callable
from typing import Literal

import lightning as L
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import Optimizer


def fit_steps(trainer: L.Trainer) -> float:
    """Number of optimizer steps of the whole fit; infinite if it has no end.

    Lightning counts every epoch by the accumulation of the first, although a GradientAccumulationScheduler changes it.

    Args:
        trainer: Trainer of the fit, whose training loader this call makes if there is none yet.
    """
    steps: float = trainer.estimated_stepping_batches
    # Lightning sets the list in a connector
    changing = [each for each in trainer.callbacks if isinstance(each, GradientAccumulationScheduler)]  # type: ignore[attr-defined]
    epochs = trainer.max_epochs
    if not changing or epochs is None or epochs < 0:
        return steps
    accumulated = [changing[-1].get_accumulate_grad_batches(epoch) for epoch in range(epochs)]
    counted = sum(math.ceil(trainer.num_training_batches / number) for number in accumulated)
    return counted if trainer.max_steps < 0 else min(counted, trainer.max_steps)


def check_rates(optimizer: Optimizer) -> None:
    """Refuse a learning rate with which nothing is learnt.

    Raises:
        ValueError: If that of a group of parameters is not positive and finite.
    """
    for group in optimizer.param_groups:
        rate = float(group.get("lr", 1.0))  # some optimizers have none
        if not 0 < rate < math.inf:
            raise ValueError(f"the learning rate is {rate}: nothing would be learnt; it has to be above 0 and finite.")


def lr_factor(schedule: Literal["cosine", "constant"], warmup: float, steps: int) -> Callable[[int], float]:
    """Function from a step to the learning rate, as a share of its highest value.

    Args:
        schedule: Course after the warmup; `cosine` falls to 0 at the last step.
        warmup: Share of all steps in which the rate rises linearly from 0, in [0, 1).
        steps: Number of steps of the fit.

    Example:
        >>> factor = lr_factor("cosine", warmup=0.0, steps=4)
        >>> [round(factor(step), 2) for step in range(5)]
        [1.0, 0.85, 0.5, 0.15, 0.0]
    """
    rising = math.ceil(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

    return factor
