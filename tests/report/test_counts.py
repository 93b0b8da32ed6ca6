"""Counts of new flights on the page: every flight with its frames, also those without a bird."""

from pathlib import Path

import pandas as pd
import pytest

from dml_lightning.cli import main
from dml_lightning.report.counts import counts_section, read_counts
from tests.made_up import RunOf

LINES = [
    "flight,label,named,corrected,low,high,frames,frames_unused,min_score",
    "dawn,NA,7,6.4,3.0,9.0,12,1,0.3",
    "dawn,other,1,1.6,0.0,4.0,12,1,0.3",
    "dawn,tundra swan,2,2.0,,,12,1,0.3",
    "noon,NA,0,0.0,0.0,0.0,9,0,0.3",
    "noon,other,0,0.0,0.0,0.0,9,0,0.3",
    "noon,tundra swan,0,0.0,,,9,0,0.3",
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "counts.csv").write_text("\n".join(LINES))
    return tmp_path / "counts.csv"


def test_every_flight_has_a_row(table: Path) -> None:
    section = counts_section(read_counts(table))
    (shown,) = section.tables
    assert list(shown.columns) == ["flight", "frames", "not used", "boxes", "NA", "other", "tundra swan"]
    assert shown.texts == [
        ["dawn", "12", "1", "10", "6.4 [3, 9]", "1.6 [0, 4]", "2.0"],
        ["noon", "9", "0", "0", "0.0 [0, 0]", "0.0 [0, 0]", "0.0"],
    ]
    assert "a detector's score of at least 0.3" in section.paragraphs[0]


def test_a_range_is_not_called_an_interval(table: Path) -> None:
    counts = read_counts(table)
    assert "In brackets the interval." in counts_section(counts).tables[0].note
    assert "In brackets the range" in counts_section(counts.assign(limits="range")).tables[0].note


def test_a_table_of_unknown_effort_shows_dashes(table: Path) -> None:
    counts = read_counts(table).assign(frames=float("nan"), frames_unused=float("nan"), min_score=float("nan"))
    section = counts_section(counts[:-1])
    assert section.tables[0].texts[1] == ["noon", "–", "–", "0", "0.0 [0, 0]", "0.0 [0, 0]", "–"]
    assert "score" not in section.paragraphs[0]


def test_they_stand_in_every_format(run_of: RunOf, table: Path, tmp_path: Path) -> None:
    run = str(run_of("triplet"))
    for name in ("r.html", "r.md", "r.tex"):
        words = ["report", run, "-o", str(tmp_path / name)]
        main(words)
        assert "tundra swan" not in (tmp_path / name).read_text()
        main([*words, f"--counts={table}"])
        assert "tundra swan" in (tmp_path / name).read_text()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["flight,label", "dawn,teal"], "lacks named, corrected"),
        (LINES[:1], "has no rows"),
        ([*LINES, LINES[1]], "counts NA of dawn twice"),
        ([LINES[0], "dawn,NA,many,1,1,1,1,1,"], "cannot be read"),
        ([*LINES[:2], "dawn,teal,-1,1,1,1,1,1,"], "row 3 has a count that is no number of at least 0"),
        ([*LINES[:2], "dawn,teal,1,,1,1,1,1,"], "row 3 has a count that is no number of at least 0"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "counts.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=f"counts.csv.*{message}"):
        read_counts(tmp_path / "counts.csv")
    with pytest.raises(ValueError, match="cannot be read"):
        read_counts(tmp_path / "none.csv")


def test_names_of_flights_stay_text(tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("\n".join([LINES[0], "007,1,1,1.0,1.0,1.0,2,0,"]))
    pd.testing.assert_series_equal(
        read_counts(tmp_path / "counts.csv")[["flight", "label"]].iloc[0],
        pd.Series({"flight": "007", "label": "1"}),
        check_names=False,
    )
