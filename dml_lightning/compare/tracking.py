"""The comparison itself in Weights & Biases: one run beside those of the arms, in their group."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dml_lightning.compare.fairness import read_recipe


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

    run = wandb.init(
        project=tracking.get("project"),
        group=name,
        name=f"{name}-summary",
        id=f"{name}-summary".replace("/", "-"),
        resume="allow",
        job_type="summary",
        dir=folder,
        mode=tracking.get("wandb", "offline"),
        settings=wandb.Settings(silent=True),
    )
    try:
        pictures = {path.stem: wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}
        run.log({"runs": wandb.Table(dataframe=table), **pictures})
        run.summary["answer"] = " ".join(line.strip() for line in answer)
    finally:
        run.finish()
