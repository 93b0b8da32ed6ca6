"""Signals to a fit: it writes a checkpoint and ends, and has SLURM requeue the job if its time is up."""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from dml_lightning.runs.checkpoints import is_resumable, save_latest

AGREE_EVERY = 10  # steps; ranks agree so rarely because it waits for the device


class StopOnSignal(L.Callback):
    """Callback that ends a fit between two steps on SIGTERM, or inside SLURM on its signal before the time limit.

    The handler only notes the signal. A checkpoint written by the handler itself, as in Lightning's requeueing, would
    fall into the middle of a step and resume with other parameters. At the end of a step on which all ranks agree, and
    of its accumulated gradients, `last.ckpt` is written and the process ends; on SLURM's signal `scontrol requeue` is
    called before. Where no exact checkpoint can be written (in validation, just before it, at the last step of an
    epoch), the previous one stays the last.

    SLURM's signal is the `requeue_signal` of the trainer's SLURMEnvironment, by default SIGUSR1:
    `sbatch --signal=SIGUSR1@300`. Its `auto_requeue: false` leaves the signal alone.
    """

    def __init__(self) -> None:
        self._received = 0
        self._ending = 0  # signal that all ranks have agreed to end on, 0 for none

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._listen(trainer)  # after Lightning has set its own handlers; it restores the previous ones when it ends

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._listen(trainer)

    def _listen(self, trainer: L.Trainer) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in filter(None, (signal.SIGTERM, requeue_signal(trainer))):
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._ending = self._ending or self._agreed(trainer, batch_idx)
        if self._ending and not trainer.fit_loop.epoch_loop._should_accumulate():
            if is_resumable(trainer):
                save_latest(trainer)
            _stop(trainer, self._ending)

    @override
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if number := self._agreed(trainer, batch_idx):
            _stop(trainer, number)

    def _agreed(self, trainer: L.Trainer, batch_idx: int) -> int:
        """Signal that some rank has received, 0 if none has or the ranks do not ask at this step."""
        if trainer.world_size == 1:
            return self._received
        if batch_idx % AGREE_EVERY:
            return 0
        number = torch.tensor(self._received, device=trainer.strategy.root_device)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number)


def requeue_signal(trainer: L.Trainer) -> int | None:
    """Signal on which the job is requeued; None outside SLURM or where requeueing is turned off."""
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return environment.requeue_signal
    return None


def _stop(trainer: L.Trainer, number: int) -> None:
    if trainer.is_global_zero:
        print(f"{signal.Signals(number).name} came; ending at step {trainer.global_step}.", file=sys.stderr)
    if number == requeue_signal(trainer) and trainer.is_global_zero:
        requeue()
    trainer.strategy.barrier("requeue")
    raise SystemExit(128 + number)


def requeue() -> None:
    """Ask SLURM to start this job again; the new start sees SLURM_RESTART_COUNT and resumes."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        rank_zero_warn(f"SLURM job {job} was not requeued: {error}. Submit it again to go on.")
