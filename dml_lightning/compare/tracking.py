"""The comparison itself in Weights & Biases: one run beside those of the arms, in their group."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dml_lightning.runs.recipes import read_recipe
from dml_lightning.runs.tracker import timeouts


def track_summary(name: str, folder: Path, table: pd.DataFrame, answer: Sequence[str]) -> None:
    """Logs the table of runs, the answer and the figures as a run `NAME-summary`, as the arms' runs were tracked.

    Args:
        name: Of the comparison, which is the group of its runs.
        folder: Of the comparison; the run's files go below it.
        table: A row per run.
        answer: The verdicts in plain words.
    """
    tracking = read_recipe(Path(table["run"].iloc[0])).get("tracking") or {}
    if tracking.get("wandb") == "disabled":
        return
    import wandb

    for mode in dict.fromkeys((tracking.get("wandb", "offline"), "offline")):
        try:
            _log(name, folder, table, answer, {**tracking, "wandb": mode})
            break
        except wandb.errors.Error as error:
            print(f"Weights & Biases has no summary of this comparison ({mode}): {error}")
            wandb.teardown()  # its service still holds the run's name


def _log(name: str, folder: Path, table: pd.DataFrame, answer: Sequence[str], tracking: Mapping[str, Any]) -> None:
    import wandb

    run = wandb.init(
        project=tracking.get("project"),
        group=name,
        name=f"{name}-summary",
        id=re.sub(r"[^\w.-]+", "-", f"{name}-summary"),
        resume="allow",
        job_type="summary",
        dir=folder,
        mode=tracking["wandb"],
        settings={"silent": True, **timeouts()},
    )
    try:
        pictures = {path.stem: wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}
        # a later summary of the same comparison is shown in place of this one
        run.log({"runs": wandb.Table(dataframe=table), **pictures}, step=int(time.time()))
        run.summary["answer"] = " ".join(line.strip() for line in answer)
    finally:
        run.finish()
        wandb.teardown()  # a later run of this process may be tracked in another mode
