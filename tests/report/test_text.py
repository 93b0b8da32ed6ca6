"""A report as text in its formats."""

import pytest

from dml_lightning.report.inputs import read_inputs
from dml_lightning.report.text import report_text
from dml_lightning.types import ReportFormat
from tests.made_up import RunOf


@pytest.mark.parametrize(
    ("format", "start"),
    [("md", "# triplet\n\n"), ("csv", "arm,seed,fold,"), ("latex", r"\begin{table}"), ("html", "<!doctype html>")],
)
def test_every_format_starts_as_such(run_of: RunOf, format: ReportFormat, start: str) -> None:
    assert report_text(read_inputs([run_of("triplet")]), format, "pca").startswith(start)
