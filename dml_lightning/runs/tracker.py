"""How a run is logged: its history, and a Weights & Biases logger that never ends it, whatever fails."""

import logging
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from dml_lightning.runs.history import history
from dml_lightning.runs.launch import job_tags

Mode = Literal["offline", "online", "disabled"]

# Each process of a run in order, one at a time: given several, `wandb sync` stops at one that was killed.
SYNC = 'for each in {run}/wandb/*run-*; do wandb sync --include-online "$each"; done'


@dataclass(frozen=True)
class TrackingOptions:
    """How runs are tracked in addition to their CSV files.

    Args:
        wandb: `offline` writes Weights & Biases files into the run's folder, for a later `wandb sync`; `online` sends
            them as well, needs an account, and goes offline if it cannot start; `disabled` writes none. If it is not
            given, the variable WANDB_MODE decides, and without that variable it is `offline`.
        project: Name of the project in Weights & Biases; if it is not given, that of WANDB_PROJECT or `dml_lightning`.
        group: Name that the runs of one experiment share.
        tags: Tags of the run.
    """

    wandb: Mode | None = None
    project: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)

    @property
    def mode(self) -> Mode:
        """The way of tracking, by the option or by WANDB_MODE.

        Raises:
            ValueError: If the variable decides and holds none of the three.
        """
        mode = self.wandb or os.environ.get("WANDB_MODE") or "offline"
        mode = {"dryrun": "offline", "run": "online"}.get(mode, mode)  # older names, which it still takes
        if mode not in get_args(Mode):
            raise ValueError(f"the variable WANDB_MODE is {mode!r}; it may be {', '.join(get_args(Mode))}.")
        return cast(Mode, mode)

    @property
    def project_name(self) -> str:
        """Name of the project, by the option or by WANDB_PROJECT."""
        return self.project or os.environ.get("WANDB_PROJECT") or "dml_lightning"


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
    """Lightning's logger, made to go offline if it cannot start online, and to warn instead of ending a run.

    Where it cannot start offline either, it is disabled.

    Args:
        run: Folder of the run, which receives the files.
        **settings: Further arguments of `WandbLogger`.
    """

    def __init__(self, run: Path, **settings: Any) -> None:
        silent = settings.get("mode") != "online"  # an offline run lies in its folder; warnings are shown all the same
        super().__init__(save_dir=run, settings={"quiet": True, "silent": silent, **timeouts()}, **settings)
        self._wandb_init.pop("anonymous")  # of no effect, and warned of
        self._sync = SYNC.format(run=shlex.quote(str(run)))
        logging.raiseExceptions = False  # on a full disk its log of itself would print a page for every line

    @property
    @override
    def experiment(self) -> Any:
        while True:
            try:
                return super().experiment
            except Exception as error:
                if self._wandb_init["mode"] == "disabled":
                    raise
                self._fall_back(error)

    def _fall_back(self, error: Exception) -> None:
        """Go from online to offline, and from there to nothing."""
        import wandb  # takes a second

        wandb.teardown()  # otherwise its service still holds the run's name
        online = self._wandb_init["mode"] != "offline"
        self._wandb_init["mode"] = "offline" if online else "disabled"
        outcome = f"it is tracked offline; `{self._sync}` sends it later." if online else "its folder has all numbers."
        rank_zero_warn(f"Weights & Biases cannot track this run{' online' * online} ({_first_line(error)}): {outcome}")

    @override
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log numbers, or warn; the run's CSV files have them too."""
        with tolerated("numbers"):
            super().log_metrics(metrics, step)

    @override
    def log_hyperparams(self, params: Any) -> None:
        """Log the recipe, or warn; the run's folder has it too."""
        with tolerated("the recipe"):
            super().log_hyperparams(params)

    @override
    def log_image(self, key: str, *args: Any, **images: Any) -> None:
        """Log pictures, or warn; the run's folder has them too."""
        with tolerated(f"the picture {key}"):
            super().log_image(key, *args, **images)

    @override
    def log_table(self, key: str, *args: Any, **table: Any) -> None:
        """Log a table, or warn: it is an artifact, which needs a place to be written and a network to be looked up."""
        with tolerated(f"the table {key}"):
            super().log_table(key, *args, **table)

    @override
    def finalize(self, status: str) -> None:
        """Send checkpoints if that was asked for, or warn."""
        with tolerated("the end of a stage"):
            super().finalize(status)


@contextmanager
def tolerated(what: str) -> Iterator[None]:
    """Turn an error of Weights & Biases into a warning, for something that the run's folder has as well."""
    try:
        yield
    except Exception as error:
        rank_zero_warn(f"Weights & Biases did not take {what}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


# The loggers of a run ------------------------------------------------------------------------------


def run_loggers(run: Path, stage: str, name: str, options: TrackingOptions) -> list[Logger]:
    """The CSV logger of a stage, and the Weights & Biases logger unless it is disabled.

    Args:
        run: Folder of the run.
        stage: "fit", "validate" or "test".
        name: Name of the run, by which Weights & Biases shows it.
        options: How the run is tracked.
    """
    csv = history(run, stage)
    if options.mode == "disabled":
        return [csv]
    identity = re.sub(r"[^\w.-]+", "-", f"{name}-{run.name}")
    tracker = RunLogger(
        run,
        name=identity,
        id=identity,
        mode=options.mode,  # not `offline`: it sets WANDB_MODE for every later run of this process
        project=options.project_name,
        group=options.group,  # without one, WANDB_RUN_GROUP decides, and without tags WANDB_TAGS
        tags=[*options.tags, *job_tags()] or None,
    )
    return [csv, tracker]
