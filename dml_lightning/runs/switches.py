"""Options and callbacks of the trainer that leave no usable run, each refused by one sentence before the data are read.

Lightning takes some of them in silence, and answers others with a traceback in the middle of a fit.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import BackboneFinetuning, BatchSizeFinder, LearningRateFinder

MOST_PER_CORE = 4  # processes of one fit
STAGES = ("fit", "validate", "test")
HALVES = ("16-true", "bf16-true")  # weights without float32 copies
MIXED = (16, "16", "16-mixed", "bf16", "bf16-mixed")


class Rule(NamedTuple):
    """What a stage needs of one option of the trainer; an option that is not given (None) is right."""

    option: str
    holds: Callable[[Any], bool]
    wanted: str
    stages: tuple[str, ...] = ("fit",)


def _positive(value: Any) -> bool:
    return not isinstance(value, int | float) or value > 0  # an interval may be a text or a timedelta


def _limit(value: int) -> bool:
    return value > 0 or value == -1


def _is_there(accelerator: Any) -> bool:
    return accelerator not in ("gpu", "cuda") or torch.cuda.is_available() or torch.backends.mps.is_available()


def _counts(devices: Any) -> bool:
    return isinstance(devices, int | str | list) and devices not in (0, "0", "", [])


RULES = (
    Rule("accelerator", _is_there, "cpu or auto: there is no GPU here", STAGES),
    Rule("devices", _counts, "a number of at least 1, a list, or auto", STAGES),
    Rule("max_epochs", _limit, "at least 1, or -1 for no limit"),
    Rule("max_steps", _limit, "at least 1, or -1 for no limit"),
    Rule("accumulate_grad_batches", _positive, "at least 1"),
    Rule("check_val_every_n_epoch", _positive, "at least 1"),
    Rule("val_check_interval", _positive, "above 0"),
    Rule("precision", lambda name: name not in HALVES, "a mixed one (bf16-mixed): galleries are in float32", STAGES),
    Rule("enable_checkpointing", bool, "true: a run goes on from its checkpoints, and is evaluated by them", STAGES),
    Rule("log_every_n_steps", lambda steps: steps >= 0, "at least 0"),
    Rule("gradient_clip_val", lambda bound: 0 <= bound < math.inf, "finite and not negative; 0 clips nothing"),
    Rule("limit_train_batches", _positive, "above 0"),
    Rule("limit_val_batches", _positive, "above 0: a run without validation has no gallery", ("fit", "validate")),
    Rule("limit_test_batches", _positive, "above 0: nothing would be tested", ("test",)),
    Rule("use_distributed_sampler", lambda given: not given, "false: the data are shared among ranks already", STAGES),
)

# Callbacks that cannot do here what they are for, each with what does it.
NO_USE = {
    LearningRateFinder: "would train at another rate than the recipe says; give --find lr, search it "
    "(configs/experiment/searched.yaml) or set model.init_args.optimizer.init_args.lr",
    BatchSizeFinder: "would change the batch, on which losses depend; give --find batch_size, and set "
    "data.classes_per_batch and data.samples_per_class",
    BackboneFinetuning: "would add parameters behind the back of the learning rate's schedule; load the backbone by "
    "model.init_args.encoder.checkpoint, and train it whole or keep its batch norm by freeze_batch_norm",
}


def check_options(settings: Any, stage: str) -> None:
    """Refuse options that leave no usable run.

    Args:
        settings: Parsed settings of the stage, with `trainer`, `model` and `rerun`.
        stage: "fit", "validate" or "test".

    Raises:
        ValueError: If an option is out of its range, or given where it follows from others.
    """
    for option, holds, wanted, stages in RULES:
        value = settings.trainer.get(option)
        if stage in stages and value is not None and not holds(value):
            raise ValueError(f"trainer.{option} is {value}; it has to be {wanted}.")
    _check_processes(settings.trainer)
    fused = settings.model.get("init_args.optimizer.init_args.fused")
    if fused and settings.trainer.gradient_clip_val and settings.trainer.precision in MIXED:
        raise ValueError(
            f"trainer.gradient_clip_val with precision {settings.trainer.precision} does not go with a fused "
            "optimizer: give --model.init_args.optimizer.init_args.fused=false."
        )
    if settings.rerun < 0:
        raise ValueError(f"rerun is {settings.rerun}; repetitions are numbered from 1, and 0 is the run itself.")
    if (given := settings.model.get("init_args.num_classes")) is not None:
        raise ValueError(f"num_classes is {given} by hand, and it is the number of known classes: leave it out.")
    if settings.model.get("init_args.clutter"):
        raise ValueError("clutter is true by hand, and data.ood_train makes it so by naming classes: leave it out.")


def _check_processes(trainer: Any) -> None:
    """Refuse numbers of processes under which the machine itself stands still."""
    on_cores = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not _is_there("gpu"))
    cores, devices = os.cpu_count() or 1, str(trainer.devices)
    if on_cores and devices.isdigit() and int(devices) > MOST_PER_CORE * cores:
        raise ValueError(
            f"trainer.devices is {devices}, and on a processor each is a process: {MOST_PER_CORE * cores} at most on "
            f"the {cores} cores here."
        )


def check_callbacks(callbacks: Iterable[L.Callback]) -> None:
    """Refuse callbacks that cannot do here what they are for.

    Raises:
        ValueError: At the first of them, with what to do instead.
    """
    for callback in callbacks:
        for kind, reason in NO_USE.items():
            if isinstance(callback, kind):
                raise ValueError(f"{type(callback).__name__} {reason}.")


def evaluate_whole_sets(trainer: L.Trainer) -> None:
    """Undo that `overfit_batches` limits validation as well: numbers of a part of a set are not the set's."""
    if trainer.overfit_batches:  # type: ignore[attr-defined]  # Lightning sets both in a connector
        trainer.limit_val_batches = 1.0


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn Lightning's complaints about settings into ValueErrors.

    Raises:
        ValueError: In place of a MisconfigurationException, of a missing optional package, and of a monitored number
            that is not logged.
    """
    try:
        yield
    except (MisconfigurationException, ModuleNotFoundError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RuntimeError as error:
        if not str(error).startswith("Early stopping conditioned on metric"):
            raise
        raise ValueError(str(error)) from error
