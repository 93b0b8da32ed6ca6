"""The table of a comparison."""

from dml_lightning.compare.findings import _question
from dml_lightning.compare.table import render_table
from tests.compare.experiments import experiment, table_of


def test_the_table_says_over_how_many_units() -> None:
    asked = experiment(train_per_class=[None])
    table = table_of(asked)
    title = render_table(table, _question(asked)).rich.title
    assert title == "Test split, 3 seeds per arm, mean and 95 % interval"
    title = render_table(table.query("arm == 'softmax' or seed > 0"), _question(asked)).rich.title
    assert title == "Test split, 2 or 3 seeds per arm, mean and 95 % interval"
    title = render_table(table.query("seed == 0"), _question(asked)).rich.title
    assert title == "Test split, 1 seed per arm"
