"""A table, and its text in Markdown, CSV and LaTeX."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = r"[−-]?\d+\.\d+"
_SPREAD = re.compile(rf"–|{_NUMBER}( \[{_NUMBER}, {_NUMBER}\]| \({_NUMBER} to {_NUMBER}\))?")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "→": r"$\to$",
} | {sign: rf"\{sign}" for sign in "&%$#_{}"}


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column names the row.

    Args:
        title: Title, shown above.
        columns: Headings.
        rows: Rows of as many cells.
        note: Note, shown below.
        decimals: Number of decimals of floats.

    Example:
        >>> print(Table("Retrieval", ["arm", "Recall@1"], [["triplet", 0.7125]], decimals=2).markdown())
        **Retrieval**
        <BLANKLINE>
        | arm | Recall@1 |
        | --- | ---: |
        | triplet | 0.71 |
        <BLANKLINE>
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""
    decimals: int = 3

    @property
    def texts(self) -> list[list[str]]:
        """The cells as they are shown."""
        return [[self.text(cell) for cell in row] for row in self.rows]

    def text(self, cell: object) -> str:
        """A number with the table's decimals, a dash for NaN, anything else as it is."""
        if not isinstance(cell, float):
            return str(cell)
        if math.isnan(cell):
            return "–"
        return f"{cell:.{self.decimals}f}".replace("-", "−")

    def is_number(self, column: int) -> bool:
        """Whether the column holds numbers, which are right-aligned."""
        return all(
            isinstance(cell, float | int) or _SPREAD.fullmatch(str(cell)) for cell in (r[column] for r in self.rows)
        )

    def markdown(self) -> str:
        """The table in GitHub's Markdown, with the title above and the note below."""
        heads = [markdown_text(column) for column in self.columns]
        marks = ["---:" if self.is_number(c) else "---" for c in range(len(heads))]
        body = [[markdown_text(text) for text in row] for row in self.texts]
        lines = ["| " + " | ".join(row) + " |" for row in (heads, marks, *body)]
        note = f"\n{markdown_text(self.note)}\n" if self.note else ""
        return f"**{markdown_text(self.title)}**\n\n" + "\n".join(lines) + "\n" + note

    def csv(self) -> str:
        """Comma-separated values with every digit of every number, and nothing for NaN."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow(["" if isinstance(c, float) and math.isnan(c) else c for c in row])
        return out.getvalue()

    def latex(self) -> str:
        """The table as a LaTeX `table` with booktabs lines."""
        marks = "".join("r" if self.is_number(c) else "l" for c in range(len(self.columns)))
        heads = _latex_row(self.columns)
        body = "\n".join(f"  {_latex_row(row)} \\\\" for row in self.texts)
        caption = _latex(f"{self.title}. {self.note}" if self.note else self.title)
        return (
            "\\begin{table}\n  \\centering\n"
            f"  \\caption{{{caption}}}\n  \\begin{{tabular}}{{{marks}}}\n  \\toprule\n"
            f"  {heads} \\\\\n  \\midrule\n{body}\n  \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n"
        )


def markdown_text(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, also within a table.

    Example:
        >>> markdown_text("<1 m")
        '&lt;1 m'
    """
    for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\\", "\\\\")):
        text = text.replace(sign, escaped)
    for sign in "|`*_[]":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


def _latex_row(texts: Sequence[str]) -> str:
    """Join the cells of a row; the row end or line above would read a first cell such as [a] or *b as its argument."""
    row = " & ".join(map(_latex, texts))
    return f"{{}}{row}" if row.startswith(("[", "*")) else row


def _latex(text: str) -> str:
    return " ".join("".join(_LATEX.get(sign, sign) for sign in text).split())
