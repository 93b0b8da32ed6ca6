"""Checkpoints that a kill cannot break, and a fit that goes on from them bit by bit.

What a resumed fit needs lies in `checkpoints/last.ckpt`: parameters, buffers (a memory of past embeddings is one),
optimizer, learning rate, the sampler's place in its plan, the callbacks' states (best score, window of looks). The
generators need no place in it: `ExactResume` sets them anew at every step.
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

from dml_lightning.files import replacing
from dml_lightning.types import Stream


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name in its folder, syncs it to the disk, and renames it.

    Lightning 2.6 writes to the system's temporary folder and moves the file, which between two file systems is a copy:
    a kill in it leaves half a checkpoint where a whole one was. A strategy that shards its checkpoints
    (`ModelParallelStrategy` with `save_distributed_checkpoint`) writes folders by itself, not through this class.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if storage_options is not None:
            raise ValueError(f"storage_options have no use for {path}: runs lie on a file system.")
        with replacing(Path(path)) as file:
            torch.save(checkpoint, file)


class BestCheckpoint(ModelCheckpoint):
    """Keeps `checkpoints/best.ckpt` of the run: the epoch that is best by one logged number.

    The best score so far survives a resume, also in a folder that was moved since (ModelCheckpoint forgets it there,
    and the next epoch would replace a better one). It is forgotten where its file is not, as in a new run that goes on
    from another's checkpoint: that run keeps the best of its own epochs.

    Args:
        monitor: Name of the number.
        mode: Whether the best is the highest or the lowest.
    """

    def __init__(self, monitor: str = "val/map_at_r", mode: Literal["max", "min"] = "max") -> None:
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
    """Keeps `checkpoints/last.ckpt` of the run: every so many steps, and at the end of every epoch.

    A fit whose end is a number of steps (`max_steps`) writes the second kind only at its end.
    It passes over the moments that Lightning 2.6 cannot resume exactly: the last step of an epoch, whose checkpoint
    would skip that epoch's validation; any step before a validation; and steps amid accumulated gradients. What is due
    there is written at the first step after them.
    It puts itself behind all other callbacks, whose states of the same moment it writes.

    Args:
        every_n_steps: Optimizer steps between two checkpoints, the most that a kill costs beside those passed over.

    Raises:
        ValueError: If `every_n_steps` is not positive.
    """

    def __init__(self, every_n_steps: int = 200) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}.")
        self.every_n_steps = every_n_steps
        self._written = 0  # multiples of `every_n_steps` that lie behind the latest checkpoint

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # a new list: Lightning is walking through the old one
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
        # counting steps, Lightning takes a finished epoch for an interrupted one and repeats part of it
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
    """Whether a checkpoint of this end of a training step resumes exactly; see `LatestCheckpoint`."""
    fit = trainer.fit_loop
    loop, fetcher = fit.epoch_loop, fit._data_fetcher
    assert fetcher is not None  # there is one while a step runs
    return not (loop._is_training_done or loop._should_accumulate() or loop._should_check_val_fx(fetcher))


def latest_path(run: str | Path) -> Path:
    """Where a run keeps its latest checkpoint."""
    return Path(run) / "checkpoints" / "last.ckpt"


def save_latest(trainer: L.Trainer) -> None:
    """Writes `last.ckpt` into the trainer's folder; every rank must call it. A trial run writes none."""
    if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # Lightning sets it in a connector
        trainer.save_checkpoint(latest_path(trainer.default_root_dir))


class ExactResume(L.Callback):
    """Makes a fit that goes on from a checkpoint do what it would have done without the interruption.

    Each training step seeds Python, NumPy and torch (every device) from (seed, epoch, step, rank). What a step draws,
    dropout say, then depends on nothing that was drawn before it: not on an evaluation in between, and not on where
    the fit began. Ranks draw differently.

    The numbers of the step that ends with a checkpoint are logged after it: they are in it, and logged again.

    A run that had been ended early, by `EarlyStopping` for instance, stays so when it goes on in its own folder, to be
    evaluated; from another run's checkpoint training goes on.

    Args:
        seed: Of the fit.
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
        place = [Stream.TRAINING_STEP, self.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        words = np.random.SeedSequence(place).generate_state(3)
        random.seed(int(words[0]))
        np.random.seed(words[1])  # the legacy generator is the global one
        torch.manual_seed(int(words[2]))
