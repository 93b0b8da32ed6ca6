"""One table of what the runs of a comparison reached on their test split."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from rich.table import Table

# Key in metrics/test.json -> heading. Larger is better but for the active fraction.
COLUMNS = {
    "test/balanced_accuracy": "balanced accuracy",
    "test/balanced_accuracy_knn": "balanced accuracy, 5-NN",
    "test/recall_at_1": "Recall@1",
    "test/map_at_r": "MAP@R",
    "test/novel_recall_at_1": "novel Recall@1",
    "test/novel_map_at_r": "novel MAP@R",
    "test/inter_intra_ratio": "inter/intra",
    "test/active_triplet_fraction": "active triplets",
    "test/ood_auroc": "OOD AUROC",
    "test/ood_auroc_near": "near",
    "test/ood_auroc_far": "far",
}


class Record(Protocol):
    """What the table needs to know of a run."""

    @property
    def arm(self) -> str:
        """The arm's name."""

    @property
    def run(self) -> Path:
        """The run's folder."""


class Rendered(NamedTuple):
    """The same table for a terminal and for a document."""

    rich: Table
    markdown: str


def comparison_table(records: Sequence[Record]) -> pd.DataFrame:
    """One row per run: arm, run, and every number of its metrics/test.json."""
    rows = [
        {"arm": record.arm, "run": str(record.run), **_read_metrics(record.run)}
        for record in records
    ]
    return pd.DataFrame(rows)


def _read_metrics(run: Path) -> dict[str, float]:
    content = json.loads((run / "metrics" / "test.json").read_text(encoding="utf-8"))
    return {key: float("nan") if value is None else float(value) for key, value in content.items()}


def render(table: pd.DataFrame, records: Sequence[Record]) -> Rendered:
    """A row per number, a column per arm: means over runs, ± standard deviation if there are several."""
    shown = {
        key: title for key, title in COLUMNS.items() if key in table and table[key].notna().any()
    }
    arms = list(dict.fromkeys(record.arm for record in records))
    rows = [
        [title, *(_cell(table.loc[table["arm"] == arm, key]) for arm in arms)]
        for key, title in shown.items()
    ]
    per_arm = len(records) // len(arms)
    several = f"{per_arm} runs per arm, mean ± standard deviation"
    rich = Table(title=f"Test split, {several if per_arm > 1 else '1 run per arm'}")
    for title in ("", *arms):
        rich.add_column(title, justify="right" if title else "left")
    for row in rows:
        rich.add_row(*row)
    lines = [["test split", *arms], ["---", *("---:" for _ in arms)], *rows]
    markdown = "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
    return Rendered(rich, markdown)


def _cell(values: "pd.Series[float]") -> str:
    present = values.dropna().to_numpy(dtype=float)
    if len(present) == 0:
        return "-"
    spread = f" ± {np.std(present, ddof=1):.3f}" if len(present) > 1 else ""
    return f"{present.mean():.3f}{spread}"
