"""Boxes that are already a pandas DataFrame, in place of a file."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dml_lightning.data.sources.csv_table import CsvTable
from dml_lightning.data.table import BOX_COLUMNS

ROW = "row of the given table"  # carried through the reading, to find the given row again
GROUPS = ("flight", "group")


class BoxTable(CsvTable):
    """Reads boxes from a DataFrame, by the rules of a .csv table.

    Args:
        table: Columns frame (path, from the current folder if it is relative), x, y, width, height (px), and where they
            are there label, flight or group, and score (from 0 to 1). A row without a box names a background frame.

    Raises:
        ValueError: If a column is missing.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        needed = ["frame", *BOX_COLUMNS]
        if missing := [name for name in needed if name not in table]:
            raise ValueError(
                f"the table of boxes has no column {missing}, but {list(table)}: name its columns {needed}."
            )
        filled = [name for name in table if table[name].notna().any()]
        super().__init__(
            Path.cwd(),
            "a table of boxes",
            label_column="label" if "label" in filled else None,
            group_column=next((name for name in GROUPS if name in filled), None),
            score_column="score" if "score" in filled else None,
        )
        self.table = table
        self.carried = [ROW]

    def _rows(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        texts = self.table[self._needed()].astype(object).where(self.table[self._needed()].notna(), "")
        for number, row in enumerate(texts.to_dict("records")):
            fields = {str(name): str(value) for name, value in row.items()}
            yield "", f"row {number} of the table", {**fields, ROW: str(number)}

    def restored(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows that carry `ROW`, with the index, the frames and the further columns of the given table."""
        own = self.table.iloc[rows[ROW].astype(int)]
        result = rows.drop(columns=ROW).set_axis(own.index)
        further = [name for name in own if name not in {*result, *self._needed()}]
        return result.assign(frame=own["frame"], **{str(name): own[name] for name in further})
