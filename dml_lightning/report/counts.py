"""Section of new flights: what was flown, and the boxes of each species, from a table of `dml count`."""

from pathlib import Path

import pandas as pd

from dml_lightning.report.parts import Section
from dml_lightning.stats.tables import Table

COLUMNS = ("flight", "label", "named", "corrected", "low", "high", "frames", "frames_unused", "min_score")


def read_counts(path: Path) -> pd.DataFrame:
    """Reads a table of `dml count`.

    Raises:
        ValueError: If it is no such table, or a flight and class stand in two of its rows.
    """
    try:
        table = pd.read_csv(path, dtype={"flight": str, "label": str}, keep_default_na=False, na_values=_numbers())
        missing = [name for name in COLUMNS if name not in table]
        numbers = table[[name for name in COLUMNS[2:] if name in table]].astype(float)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"--counts {path} cannot be read ({error}): give the .csv file that dml count wrote."
        ) from None
    if missing or table.empty:
        lack = f"lacks {', '.join(missing)}" if missing else "has no rows"
        raise ValueError(f"--counts {path} is not what dml count writes: it {lack}.")
    counted = numbers[["named", "corrected"]]
    if (wrong := ~(counted >= 0).all(axis=1)).any():  # NaN, too
        raise ValueError(
            f"--counts {path} row {table.index[wrong][0] + 2} has a count that is no number of at least 0."
        )
    twice = table[["flight", "label"]].duplicated()
    if twice.any():
        flight, label = table.loc[twice, ["flight", "label"]].iloc[0]
        raise ValueError(f"--counts {path} counts {label} of {flight} twice.")
    return table.assign(**numbers, limits=table.get("limits", "interval"))  # tables of before have intervals alone


def _numbers() -> dict[str, list[str]]:
    return {name: [""] for name in COLUMNS[2:]}


def counts_section(counts: pd.DataFrame) -> Section:
    """Shows counts of flights: frames that were flown, and boxes of each class with their interval.

    Args:
        counts: Table of `dml count`.
    """
    labels = list(dict.fromkeys(counts["label"]))
    heads = ["flight", "frames", "not used", "boxes", *labels]
    rows = [[flight, *_flight(own), *_classes(own, labels)] for flight, own in counts.groupby("flight", sort=False)]
    kind = "interval" if (counts["limits"] == "interval").all() else "range of the counts by each test flight's matrix"
    note = (
        f"In brackets the {kind}. A class without one was enrolled and is counted as named, or stands for false boxes."
    )
    corrected = Table("Boxes per flight, corrected by the confusion matrix", heads, rows, note)
    lowest = counts["min_score"].dropna()
    text = (
        "Boxes, not birds: a bird in several frames counts in each, one that the detector missed in none. "
        "Flights without a bird are listed with their frames."
    )
    if len(lowest):
        text += f" Boxes with a detector's score of at least {lowest.iloc[0]:g}."
    return Section("counts", "New flights", [text], [corrected])


def _flight(rows: pd.DataFrame) -> list[str]:
    """Numbers of frames used, frames not used, and boxes of a flight."""
    first = rows[["frames", "frames_unused"]].iloc[0].tolist()
    return ["–" if pd.isna(number) else f"{number:.0f}" for number in (*first, rows["named"].sum())]


def _classes(rows: pd.DataFrame, labels: list[str]) -> list[str]:
    """Corrected number of each class in a flight with its interval; a dash for a class that is not counted there."""
    cells = dict.fromkeys(labels, "–")
    for label, corrected, low, high in rows[["label", "corrected", "low", "high"]].itertuples(index=False, name=None):
        cells[label] = f"{corrected:.1f}" + ("" if pd.isna(low) else f" [{low:.0f}, {high:.0f}]")
    return list(cells.values())
