"""Tables of the test metrics of a comparison's runs."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from dml_lightning.compare.jobs import Outcome
from dml_lightning.runs.folder import read_metrics
from dml_lightning.stats.estimates import cell_text, cells_note
from dml_lightning.stats.results import COLUMNS, Question, limits, plain_name
from dml_lightning.stats.tables import markdown_text
from dml_lightning.stats.units import unit_means, units_are_independent

SHORT = ("balanced_accuracy", "recall_at_1", "novel_recall_at_1", "ood_auroc")  # numbers for the terminal, by choice
MOST_SHORT = 3


class Rendered(NamedTuple):
    """A short table for the terminal and the whole one in Markdown."""

    rich: Table
    markdown: str


def run_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Tabulates the finished runs.

    Args:
        outcomes: Outcomes of jobs; those without a run are left out.

    Returns:
        A row per run: arm, seed, fold, train_per_class (NaN for all), run, and every metric of metrics/test.json.
    """
    rows = []
    for outcome in outcomes:
        if outcome.run is not None:
            job = outcome.job
            own = {"arm": job.arm, "seed": job.seed, "fold": job.fold}
            size = float("nan") if job.train_per_class is None else float(job.train_per_class)
            rows.append({**own, "train_per_class": size, "run": str(outcome.run), **read_metrics(outcome.run, "test")})
    return pd.DataFrame(rows)


def render_table(table: pd.DataFrame, question: Question) -> Rendered:
    """Renders a row per metric and a column per arm: the mean over units, with its interval or range if there are more.

    For the terminal there is a row per arm, within 80 columns: the question's metric in that way, and a few means.

    Args:
        table: Table of `run_table`.
        question: Question of the comparison; its metric is the first row, its unit (seed or fold) is averaged over.
    """
    first = {question.metric: plain_name(question.metric)}
    shown = {key: title for key, title in (first | COLUMNS).items() if key in table and table[key].notna().any()}
    arms = table["arm"].unique().tolist()
    rows = []
    for key, title in shown.items():
        means = unit_means(table, key, question.unit)
        independent = units_are_independent(question.unit, question.fold_by, key)
        rows.append(
            [title, *(cell_text(means[arm].dropna().to_numpy(float), independent, limits(key)) for arm in arms)]
        )
    counts = table.groupby("arm")[question.unit].nunique()
    units = " or ".join(str(count) for count in sorted(set(counts)))
    note = cells_note((cell for _, *cells in rows for cell in cells), question.unit)
    several = f"{question.unit}s per arm, mean"
    title = f"Test split, {units} {several if counts.max() > 1 else f'{question.unit} per arm'}"
    short = [key for key in SHORT if key in shown and key != question.metric][:MOST_SHORT]
    rich = Table(title=title, caption=note, box=SIMPLE)
    rich.add_column("", overflow="fold", max_width=18)
    rich.add_column(escape(shown.get(question.metric, question.metric)), justify="right", max_width=22)
    for key in short:
        rich.add_column(escape(COLUMNS[key]), justify="right", max_width=9)
    own = dict(zip(shown, rows, strict=True)).get(question.metric, ["", *("" for _ in arms)])
    for arm, cell in zip(arms, own[1:], strict=True):
        values = [float(unit_means(table, key, question.unit)[arm].mean()) for key in short]
        rich.add_row(escape(arm), escape(cell), *("–" if value != value else f"{value:.3f}" for value in values))
    heads = ["test split", *map(markdown_text, arms)]
    lines = [heads, ["---", *("---:" for _ in arms)], *rows]
    markdown = "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n" + (f"\n{note}\n" if note else "")
    return Rendered(rich, markdown)
