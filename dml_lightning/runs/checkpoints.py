"""Checkpoints that survive a kill while they are written, and from which a fit resumes bit-identically.

`checkpoints/last.ckpt` holds what a resumed fit needs: parameters, buffers (such as a memory of past embeddings),
optimizer, learning rate, the sampler's position in its plan, and the states of callbacks. States of the random
generators are not stored: `ExactResume` seeds the generators at every step.
"""

import random
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from dml_lightning.data.loaders import is_trial
from dml_lightning.files import replacing
from dml_lightning.models.checkpoints import read_checkpoint
from dml_lightning.runs.folder import SELECTION
from dml_lightning.types import Stream


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint writer that writes beside the target, syncs to the disk and renames.

    Lightning 2.6 writes to the system's temporary folder and moves the file, which between two file systems is a copy:
    a kill during the copy replaces a whole checkpoint by half of one. A strategy that shards its checkpoints
    (`ModelParallelStrategy` with `save_distributed_checkpoint`) writes folders by itself, not through this class.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if storage_options is not None:
            raise ValueError(f"storage_options have no use for {path}: runs lie on a file system.")
        with replacing(Path(path)) as file:
            torch.save(checkpoint, file)

    @override
    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path), map_location)  # whatever `weights_only` says


class BestCheckpoint(ModelCheckpoint):
    """Callback that keeps `checkpoints/best.ckpt` of the run: the epoch that is best by one logged number.

    The best score so far survives a resume, also in a folder that was moved in between (where ModelCheckpoint forgets
    it, so that the next epoch would replace a better one). Without `best.ckpt` in the folder it is dropped: a new run
    that starts from another run's checkpoint keeps the best of its own epochs.

    Args:
        monitor: Log key of the number.
        mode: Whether the highest ("max") or the lowest ("min") is the best.
    """

    def __init__(self, monitor: str = SELECTION, mode: Literal["max", "min"] = "max") -> None:
        super().__init__(
            filename="best", monitor=monitor, mode=mode, enable_version_counter=False, auto_insert_metric_name=False
        )

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        here = Path(str(self.dirpath))
        if not (here / Path(state_dict["best_model_path"]).name).is_file():
            return
        moved = {
            name: str(here / Path(path).name) if (path := state_dict[name]) else path
            for name in ("best_model_path", "kth_best_model_path", "last_model_path")
        }
        scores = {str(here / Path(path).name): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": scores, "dirpath": self.dirpath})


class LatestCheckpoint(Checkpoint):
    """Callback that keeps `checkpoints/last.ckpt` of the run, written every n steps and at the end of every epoch.

    In a fit that is limited by `max_steps` the latter is written at the end of the fit only.
    No checkpoint is written where Lightning 2.6 cannot resume exactly: at the last step of an epoch, whose checkpoint
    would skip that epoch's validation; at any step before a validation; and amid accumulated gradients. A checkpoint
    that is due there is written at the first step after.
    The callback moves itself behind all others, so that it stores their states of the same moment.

    Args:
        every_n_steps: Number of optimizer steps between two checkpoints. A kill loses at most so many, and those at
            which no checkpoint could be written.

    Raises:
        ValueError: If `every_n_steps` is not positive.
    """

    def __init__(self, every_n_steps: int = 200) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}.")
        self.every_n_steps = every_n_steps
        self._written = 0  # multiples of `every_n_steps` up to the latest checkpoint

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # a new list, because Lightning is iterating over the old one
        trainer.callbacks = [*(c for c in trainer.callbacks if c is not self), self]  # type: ignore[attr-defined]

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._written = trainer.global_step // self.every_n_steps

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step // self.every_n_steps > self._written and is_resumable(trainer):
            self._save(trainer)

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # with max_steps Lightning would take a finished epoch for an interrupted one, and repeat a part of it
        if trainer.max_steps == -1:
            self._save(trainer)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.max_steps != -1:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        self._written = trainer.global_step // self.every_n_steps
        save_latest(trainer)


def is_resumable(trainer: L.Trainer) -> bool:
    """Whether a checkpoint written at the end of this training step resumes exactly; see `LatestCheckpoint`."""
    fit = trainer.fit_loop
    loop, fetcher = fit.epoch_loop, fit._data_fetcher
    assert fetcher is not None  # Lightning has one while a step runs
    return not (loop._is_training_done or loop._should_accumulate() or loop._should_check_val_fx(fetcher))


def latest_path(run: str | Path) -> Path:
    """Path of the latest checkpoint of a run.

    Example:
        >>> latest_path("runs/triplet").as_posix()
        'runs/triplet/checkpoints/last.ckpt'
    """
    return Path(run) / "checkpoints" / "last.ckpt"


def save_latest(trainer: L.Trainer) -> None:
    """Write `last.ckpt` into the trainer's folder, on all ranks together; nothing in a `fast_dev_run`."""
    if not is_trial(trainer):
        trainer.save_checkpoint(latest_path(trainer.default_root_dir))


class ExactResume(L.Callback):
    """Callback that makes a resumed fit do what it would have done without the interruption.

    Each training step seeds Python, NumPy and torch (every device) from (seed, epoch, step, rank). So the random
    numbers of a step, of dropout for instance, depend on nothing drawn before: neither on an evaluation in between nor
    on where the fit began. Ranks draw differently.

    Lightning logs the numbers of a step after its checkpoint is written. The checkpoint stores them, and the resumed
    fit logs them.

    A run that was stopped early, by `EarlyStopping` for instance, stays stopped when it is resumed in its own folder;
    a new run from its checkpoint trains on.

    Args:
        seed: Seed of the fit.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._unlogged: dict[str, Any] | None = None

    @override
    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["ended"] = trainer.should_stop
        loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
        batches = loop.batch_progress.current.state_dict()
        if batches["processed"] > batches["completed"] and connector.should_update_logs:
            numbers = convert_tensors_to_scalars(connector.metrics["log"])
            checkpoint["unlogged"] = {
                "metrics": {**numbers, "epoch": trainer.current_epoch},
                "step": loop._batches_that_stepped,
            }

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._unlogged = checkpoint.get("unlogged")
        own, given = latest_path(trainer.default_root_dir), Path(str(trainer.ckpt_path))
        if checkpoint.get("ended") and given.resolve() == own.resolve():
            trainer.should_stop = True

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        row, self._unlogged = self._unlogged, None
        if row:
            for logger in trainer.loggers:
                logger.log_metrics(**row)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        entropy = [Stream.TRAINING_STEP, self.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        seeds = np.random.SeedSequence(entropy).generate_state(3)
        random.seed(int(seeds[0]))
        np.random.seed(seeds[1])  # the global generator is the legacy one
        torch.manual_seed(int(seeds[2]))
