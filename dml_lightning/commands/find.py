"""`dml fit --find`: looks for a learning rate or a batch size with Lightning's tuner; nothing is trained or written."""

from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
from lightning.pytorch.tuner.tuning import Tuner

from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.models import EmbeddingModule
from dml_lightning.runs.checkpoints import AtomicCheckpointIO

Setting = Literal["lr", "batch_size"]
LR_STEPS = 100  # of a rate that rises from 1e-8 to 1
FIRST_SAMPLES = 2  # of a class in a batch; doubled as long as the memory holds it


def trainer_settings(folder: Path) -> dict[str, Any]:
    """Settings of a trainer that only finds: no callbacks, loggers and validation, and as many steps as are needed.

    Args:
        folder: Folder for the tuner's checkpoint of the weights that it puts back.
    """
    return {
        "default_root_dir": str(folder),
        "callbacks": [],
        "plugins": [AtomicCheckpointIO()],
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "fast_dev_run": False,
        "max_epochs": -1,
        "max_steps": LR_STEPS,
        "check_val_every_n_epoch": 10**9,
    }


def find(setting: Setting, trainer: L.Trainer, model: EmbeddingModule, data: ThermalWaterfowlDataModule) -> str:
    """Finds a setting, and says in a sentence which key takes it.

    Args:
        setting: `lr` for the learning rate at which the loss falls most steeply while the rate rises; `batch_size` for
            the most crops of a class in a batch that the memory of the GPU holds.
        trainer: Trainer with `trainer_settings`.
        model: Module whose weights are put back afterwards.
        data: Data to train on.

    Raises:
        ValueError: If the setting cannot be found with these options.
    """
    if trainer.world_size > 1:
        raise ValueError(f"--find {setting} looks in one process: give --trainer.devices=1.")
    return _rate(trainer, model, data) if setting == "lr" else _batch(trainer, model, data)


def _rate(trainer: L.Trainer, model: EmbeddingModule, data: ThermalWaterfowlDataModule) -> str:
    if model.layer_decay is not None:
        raise ValueError(
            "--find lr sets one rate for all layers, and layer_decay gives each its own: leave it out to find one."
        )
    result = Tuner(trainer).lr_find(model, datamodule=data, num_training=LR_STEPS, update_attr=False)
    rate = None if result is None else result.suggestion()
    if result is None or rate is None:
        raise ValueError("--find lr has no answer: too few steps had a finite loss; try a larger batch.")
    return (
        f"The loss falls most steeply at a learning rate of {rate:.2g}, in one pass over {len(result.results['lr'])} "
        f"steps: --model.init_args.optimizer.init_args.lr={rate:.2g}"
    )


def _batch(trainer: L.Trainer, model: EmbeddingModule, data: ThermalWaterfowlDataModule) -> str:
    if not _has_own_memory(trainer):
        raise ValueError(
            "--find batch_size doubles the batch until the GPU refuses it, and on a processor the system would end the "
            "command instead: set data.classes_per_batch and data.samples_per_class."
        )
    most = int(np.bincount(data.labels[data.training_rows()]).max())
    data.samples_per_class = FIRST_SAMPLES
    samples = Tuner(trainer).scale_batch_size(
        model, datamodule=data, init_val=FIRST_SAMPLES, batch_arg_name="samples_per_class", max_val=most
    )
    assert samples is not None  # as it is for a `fast_dev_run`
    enough = samples >= most  # a size at which the tuner stops, without having tried it
    data.samples_per_class = samples = samples // 2 if enough else samples
    why = f"the largest class has {most} crops" if enough else "twice as many do not fit"
    return (
        f"A batch holds {data.classes_per_batch} classes of {samples} crops ({why}), {data.crops_per_batch} in all: "
        f"--data.samples_per_class={samples}"
    )


def _has_own_memory(trainer: L.Trainer) -> bool:
    """Whether a batch that is too large is refused by the device, and not by the system."""
    return trainer.strategy.root_device.type != "cpu"
