"""Boxes from a DataFrame are read by the rules of a .csv table, and find their way back to the given rows."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.data.sources.data_frame import ROW, BoxTable
from dml_lightning.data.sources.recognise import read_source
from tests.data.making import write_counts


def boxes(folder: Path) -> pd.DataFrame:
    """Five rows on two frames: out of order, one of them without area, one frame without a box."""
    for number, name in enumerate("ab"):
        write_counts(folder / f"{name}.tiff", number)
    names, rows = ["frame", "x", "y", "width", "height", "label", "flight", "score", "observer"], "bbaab"
    values = [
        (1 / 3, 2, 7, 8, "coot", "dawn", 0.5, 1),
        (5, 5, 0, 8, "coot", "dawn", 0.9, 2),
        (70, 60, 20, 20, "teal", "noon", math.nan, 3),
        (3.5, 4, 9, 9, "teal", "noon", 0.7, 4),
        (math.nan, math.nan, math.nan, math.nan, None, "dawn", None, 5),
    ]
    frames = [folder / f"{name}.tiff" for name in rows]
    return pd.DataFrame([(f, *v) for f, v in zip(frames, values, strict=True)], columns=names, index=[9, 9, 7, 6, 5])


def test_it_reads_what_the_same_table_as_a_file_gives(tmp_path: Path) -> None:
    table = boxes(tmp_path)
    table.to_csv(tmp_path / "boxes.csv", index=False)
    expected, found = read_source(tmp_path / "boxes.csv"), BoxTable(table).read()
    pd.testing.assert_frame_equal(found.table.drop(columns=ROW), expected.table)
    pd.testing.assert_frame_equal(found.frames, expected.frames)
    assert found.report.skipped == expected.report.skipped


def test_rows_get_back_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = boxes(tmp_path)
    monkeypatch.chdir(tmp_path)
    table["frame"] = [path.name for path in table["frame"]]
    source = BoxTable(table)
    found = source.restored(source.read().table)
    assert found["frame"].tolist() == ["a.tiff", "a.tiff", "b.tiff"]
    assert found.index.tolist() == [7, 6, 9]
    assert found["observer"].tolist() == [3, 4, 1]
    assert "flight" not in found  # it is the column group
    assert np.array_equal(found["width"], [10, 9, 7])  # clipped at the frame's edge


def test_a_missing_column_and_a_frame_of_two_flights_are_named(tmp_path: Path) -> None:
    table = boxes(tmp_path)
    with pytest.raises(ValueError, match=r"the table of boxes has no column \['height'\], but \['frame', 'x'"):
        BoxTable(table.drop(columns="height"))
    table["flight"] = ["dawn", "noon", "noon", "noon", "dawn"]
    with pytest.raises(ValueError, match=r"row 1 of the table: the frame .*b\.tiff has the group 'noon', an earlier"):
        BoxTable(table).read()
