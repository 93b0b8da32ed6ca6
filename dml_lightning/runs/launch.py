"""Processes started by a launcher (torchrun, srun): check their number, and end all of them on an error."""

import os
from collections.abc import Callable
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import ModelParallelStrategy, ParallelStrategy

# A shell has SLURM's variables though nothing was started by srun; by this name Lightning knows it, too.
BY_HAND = (
    "in a shell or notebook of a SLURM job, where no srun starts this command, set SLURM_JOB_NAME=interactive, and "
    "Lightning starts the processes itself"
)
RESTARTS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")


def is_restarted() -> bool:
    """Whether the launcher has started this job before: a requeued SLURM job, or torchrun after a failure."""
    return any(int(os.environ.get(name) or 0) for name in RESTARTS)


def job_tags() -> list[str]:
    """Tags by which the runs of a SLURM job are found: `slurm-<job>`; none outside SLURM."""
    job = os.environ.get("SLURM_JOB_ID")
    return [f"slurm-{job}"] if job else []


def launched_processes() -> tuple[int, str] | None:
    """Number of launched processes and name of the launcher; None if this process was started by hand."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"]), "torchrun"
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if "SLURM_NTASKS" in os.environ and not interactive:
        return int(os.environ["SLURM_NTASKS"]), "srun"
    return None


def check_launch(devices: Any, num_nodes: int) -> None:
    """Check that the trainer's number of processes is the number that was launched.

    Args:
        devices: `devices` of the trainer; "auto" and -1 are left to Lightning, which knows their number.
        num_nodes: `num_nodes` of the trainer.

    Raises:
        ValueError: If the numbers differ, or srun was started without --ntasks-per-node.
    """
    launched = launched_processes()
    if launched is None:
        return
    count, launcher = launched
    if launcher == "srun" and count > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise ValueError(
            f"srun started {count} tasks by --ntasks; Lightning needs --ntasks-per-node, the number of trainer.devices."
        )
    number = _number_of(devices)
    if number is not None and number * num_nodes != count:
        by_hand = f"; {BY_HAND}" if launcher == "srun" and count == 1 else ""
        raise ValueError(
            f"trainer.devices={number} times trainer.num_nodes={num_nodes} is {number * num_nodes}, but "
            f"{launcher} started {count} {'process' if count == 1 else 'processes'}; let the products agree{by_hand}."
        )


def _number_of(devices: Any) -> int | None:
    if isinstance(devices, list):
        return len(devices)
    text = str(devices)
    if "," in text:
        return len([part for part in text.split(",") if part])
    return int(text) if text.isdigit() and int(text) > 0 else None


def on_first_rank(trainer: L.Trainer, action: Callable[[], None]) -> None:
    """Run `action` on rank 0, and end all ranks if it raises a ValueError.

    Ranks of an outside launcher wait here for the outcome; those that Lightning starts itself do not exist yet.

    Raises:
        ValueError: On rank 0, if `action` raised it.
        SystemExit: On the other ranks in that case, with status 2 and without a message.
    """
    together = _joins_others(trainer)
    refusal: ValueError | None = None
    if trainer.is_global_zero:
        try:
            action()
        except ValueError as error:
            refusal = error
    if together and trainer.strategy.broadcast(refusal is not None):
        dist.destroy_process_group()
        if refusal is None:
            raise SystemExit(2)
    if refusal is not None:
        raise refusal


def _joins_others(trainer: L.Trainer) -> bool:
    """Join the processes of an outside launcher in a group, which Lightning uses later; whether there are any."""
    strategy = trainer.strategy
    if trainer.world_size == 1 or not isinstance(strategy, ParallelStrategy):
        return False
    environment = strategy.cluster_environment
    if environment is None or isinstance(environment, LightningEnvironment):
        return False
    if isinstance(strategy, ModelParallelStrategy):
        strategy._setup_distributed()  # the rest of its setup_environment needs the module
    else:
        strategy.setup_environment()
    return True
