"""Weights & Biases logger that never ends a run: without a network the run goes on, tracked offline."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

# Each process of a run in order, one at a time: given several, `wandb sync` stops at one that was killed.
SYNC = 'for each in "{run}"/wandb/*run-*; do wandb sync --include-online "$each"; done'


def timeouts() -> dict[str, float]:
    """Seconds to wait for Weights & Biases at the start and at the end of a run.

    WANDB_INIT_TIMEOUT and WANDB_FINISH_TIMEOUT set other values than 30 and 180. By default Weights & Biases would
    wait up to seven days at the end until everything is sent. What is not sent is still in the run's files.
    """
    return {
        "init_timeout": float(os.environ.get("WANDB_INIT_TIMEOUT", "30")),
        "finish_timeout": float(os.environ.get("WANDB_FINISH_TIMEOUT", "180")),
    }


class RunLogger(WandbLogger):
    """Lightning's logger, made to go offline if it cannot start online, and to warn instead of ending a run later.

    Args:
        run: Folder of the run, which receives the files.
        **settings: Further arguments of `WandbLogger`.
    """

    def __init__(self, run: Path, **settings: Any) -> None:
        super().__init__(save_dir=run, settings=timeouts(), **settings)
        self._sync = SYNC.format(run=run)

    @property
    @override
    def experiment(self) -> Any:
        try:
            return super().experiment
        except wandb.errors.Error as error:
            if self._wandb_init["mode"] == "offline":
                raise
            wandb.teardown()  # otherwise its service still holds the run's name
            self._wandb_init["mode"] = "offline"
            rank_zero_warn(
                f"Weights & Biases cannot track this run online ({_first_line(error)}): it is tracked "
                f"offline; `{self._sync}` sends it later."
            )
        return super().experiment

    @override
    def log_table(self, key: str, *args: Any, **table: Any) -> None:
        """Log a table, or warn: it is an artifact, whose name cannot be looked up without a network."""
        with tolerated(f"the table {key}"):
            super().log_table(key, *args, **table)


@contextmanager
def tolerated(what: str) -> Iterator[None]:
    """Turn an error of Weights & Biases into a warning, for something that the run's folder has as well."""
    try:
        yield
    except wandb.errors.Error as error:
        rank_zero_warn(f"Weights & Biases did not take {what}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
