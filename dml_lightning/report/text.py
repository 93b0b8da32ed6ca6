"""The report as text in one of its formats."""

from dml_lightning.report.inputs import ReportInput
from dml_lightning.report.sections import sections
from dml_lightning.report.summary import answer_text
from dml_lightning.types import Projection, ReportFormat


def report_text(given: ReportInput, format: ReportFormat, projection: Projection = "tsne") -> str:
    """The report as text in one of its formats.

    Args:
        given: Runs by arm.
        format: Format of the text.
        projection: Method that projects embeddings to the plane, on a page.
    """
    if format == "html":
        from dml_lightning.report.page import render_page  # its libraries are for a page alone

        return render_page(given, projection)
    if format == "csv":
        return given.table().to_csv(index=False)
    tables = [table for section in sections(given) for table in section.tables]
    if format == "latex":
        return "\n".join(table.latex() for table in tables)
    head = f"# {given.title}\n\n{answer_text(given)}\n\n"
    return head + "\n".join(table.markdown() for table in tables)
