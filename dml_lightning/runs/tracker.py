"""A Weights & Biases logger that a run outlives: without a network it trains on, and loses nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

# All processes of a run in their order, each by itself: `wandb sync` of several stops at one that was killed.
SYNC = 'for each in "{run}"/wandb/*run-*; do wandb sync --include-online "$each"; done'


def timeouts() -> dict[str, float]:
    """Seconds to wait for Weights & Biases before a run and after it; its own variables set others.

    By itself Weights & Biases waits at the end of a run until everything is sent, for up to seven days. What is not
    sent by then is in the run's files.
    """
    return {
        "init_timeout": float(os.environ.get("WANDB_INIT_TIMEOUT", "30")),
        "finish_timeout": float(os.environ.get("WANDB_FINISH_TIMEOUT", "180")),
    }


class RunLogger(WandbLogger):
    """Lightning's logger, which goes offline where it cannot start online, and does not end a run later.

    Args:
        run: The run's folder, for the command that sends its files.
        **settings: As of `WandbLogger`.
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
            wandb.teardown()  # its service still holds the run's name
            self._wandb_init["mode"] = "offline"
            rank_zero_warn(
                f"Weights & Biases cannot track this run online ({_first_line(error)}): it is tracked "
                f"offline; `{self._sync}` sends it later."
            )
        return super().experiment

    @override
    def log_table(self, key: str, *args: Any, **table: Any) -> None:
        """Logs a table: an artifact, whose name is looked up first, which has no answer without a network."""
        with tolerated(f"the table {key}"):
            super().log_table(key, *args, **table)


@contextmanager
def tolerated(what: str) -> Iterator[None]:
    """Warns, where Weights & Biases cannot take something that the run's folder has as well."""
    try:
        yield
    except wandb.errors.Error as error:
        rank_zero_warn(f"Weights & Biases did not take {what}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
