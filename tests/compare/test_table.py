"""The table of a comparison."""

import io

import numpy as np
from rich.console import Console

from dml_lightning.compare.findings import _question
from dml_lightning.compare.table import render_table
from dml_lightning.stats.estimates import cell_text
from dml_lightning.stats.results import COLUMNS
from tests.compare.experiments import experiment, table_of


def test_the_table_says_over_how_many_units() -> None:
    asked = experiment(train_per_class=[None])
    table = table_of(asked)
    rendered = render_table(table, _question(asked))
    assert rendered.rich.title == "Test split, 3 seeds per arm, mean"
    assert rendered.markdown.endswith(
        "\nRound brackets: range over seeds, where they are fewer than five or share data; no interval.\n"
    )
    title = render_table(table.query("arm == 'softmax' or seed > 0"), _question(asked)).rich.title
    assert title == "Test split, 2 or 3 seeds per arm, mean"
    single = render_table(table.query("seed == 0"), _question(asked))
    assert single.rich.title == "Test split, 1 seed per arm"
    assert single.markdown.endswith("|\n")


def test_from_five_seeds_on_there_is_an_interval() -> None:
    asked = experiment(train_per_class=[None], seeds=[*range(5)])
    table = table_of(asked)
    markdown = render_table(table, _question(asked)).markdown
    own = table.query("arm == 'triplet'")["map_at_r"].to_numpy()
    assert cell_text(own) in markdown
    assert "[" in cell_text(own)
    assert markdown.endswith("\nSquare brackets: 95 % interval over seeds.\n")


def test_folds_of_classes_have_intervals_for_their_new_classes_alone() -> None:
    asked = experiment(train_per_class=[None], unit="fold", fold_by="classes", folds=[*range(6)], primary="map_at_r")
    table = table_of(experiment(train_per_class=[None], seeds=[*range(6)])).assign(fold=lambda rows: rows["seed"])
    table = table.assign(seed=0, novel_map_at_r=np.linspace(0.4, 0.6, len(table)))
    lines = render_table(table, _question(asked)).markdown.splitlines()
    known, novel = (next(line for line in lines if line.startswith(f"| {title}")) for title in ("MAP@R", "novel MAP@R"))
    assert ("[" in known, "[" in novel) == (False, True)


def test_the_table_of_a_terminal_fits_80_columns_and_cuts_no_number() -> None:
    asked = experiment(train_per_class=[None], seeds=[*range(6)], primary="balanced_accuracy_prototype")
    numbers = {key: np.linspace(0.5, 0.7, 12) for key in COLUMNS}
    table = table_of(asked).assign(**numbers).replace({"arm": {"triplet": "[a]_triplet_of_a_very_long_name"}})
    console = Console(file=io.StringIO(), width=80)
    console.print(render_table(table, _question(asked)).rich)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= 80
    for arm, rows in table.groupby("arm"):
        assert cell_text(rows["balanced_accuracy_prototype"].to_numpy()) in shown
        line = next(line for line in shown.splitlines() if str(arm)[:8] in line)
        means = [f"{rows[key].mean():.3f}" for key in ("balanced_accuracy", "recall_at_1", "novel_recall_at_1")]
        assert line.split()[-3:] == means
    assert "…" not in shown
