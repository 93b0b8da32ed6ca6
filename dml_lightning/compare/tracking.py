"""Logs the summary of a comparison to Weights & Biases, as a run in the group of the arms' runs."""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dml_lightning.runs.recipes import read_recipe
from dml_lightning.runs.tracker import TrackingOptions, timeouts


def track_summary(name: str, folder: Path, table: pd.DataFrame, answer: Sequence[str]) -> None:
    """Logs the table of runs, the answer and the figures as a run named `NAME-summary`.

    The mode is that of the arms' runs, or offline if an online run cannot start. If it is disabled, nothing happens.

    Args:
        name: Name of the comparison, which is the group of its runs.
        folder: Folder of the comparison; files of the summary's run go below it.
        table: Table with a row per run, of `run_table`.
        answer: Verdicts as sentences.
    """
    options = TrackingOptions(**(read_recipe(Path(table["run"].iloc[0])).get("tracking") or {}))
    if options.mode == "disabled":
        return
    import wandb

    for mode in dict.fromkeys((options.mode, "offline")):
        try:
            _log(name, folder, table, answer, replace(options, wandb=mode))
            break
        except Exception as error:
            print(f"Weights & Biases has no summary of this comparison ({mode}): {error}")
            wandb.teardown()  # its service still holds the run's name


def _log(name: str, folder: Path, table: pd.DataFrame, answer: Sequence[str], options: TrackingOptions) -> None:
    import wandb

    run = wandb.init(
        project=options.project_name,
        group=name,
        name=f"{name}-summary",
        id=re.sub(r"[^\w.-]+", "-", f"{name}-summary"),
        resume="allow",
        job_type="summary",
        dir=folder,
        mode=options.mode,
        settings={"silent": True, **timeouts()},
    )
    try:
        pictures = {path.stem: wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}
        # steps by time: Weights & Biases shows the latest summary of a comparison
        run.log({"runs": wandb.Table(dataframe=table), **pictures}, step=int(time.time()))
        run.summary["answer"] = " ".join(line.strip() for line in answer)
    finally:
        run.finish()
        wandb.teardown()  # a later run of this process may be tracked in another mode
