"""Reading a table of `dml predict`, with a check that it was made with a given gallery."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dml_lightning.flights.effort import FIRST_ROW, check_predictions, check_same, read_frames
from dml_lightning.gallery.summary import GallerySummary

NEEDED_COLUMNS = ("group", "annotation", "label", "distance_trained", "decision", "rule", "gallery")
DECISIONS = ("known", "unknown")
BLANK = {"score": [""], "min_score": [""], "set_alpha": [""]}  # numbers that may be missing
TEXT_COLUMNS = (  # a class may be called 1 or NA
    *("frame", "group", "annotation", "species", "label", "label_prototype", "label_radius", "label_knn"),
    *("neighbours", "neighbour_labels", "decision", "rule", "rule_origin", "gallery"),
    *("species_set", "set_level", "set_node"),
)


@dataclass(frozen=True)
class Predictions:
    """Answers to the boxes of a data set, and the frames that were flown.

    Attributes:
        table: Table with one row per box, which may have no rows.
        rule: Rule that decided.
        frames: Table with one row per frame, see `flights.effort`; None where the file has none beside it.
    """

    table: pd.DataFrame
    rule: str
    frames: pd.DataFrame | None = None

    @property
    def flights(self) -> list[str]:
        """Names of the flights with a usable frame; without a table of frames, of those with a box."""
        if self.frames is None:
            return sorted(self.table["group"].unique())
        return sorted(self.frames["group"][self.frames["used"]].unique())

    @property
    def unseen(self) -> list[str]:
        """Names of the flights of which no frame could be used."""
        return [] if self.frames is None else sorted({*self.frames["group"]} - {*self.flights})

    def used(self, flight: str | None = None) -> int | None:
        """Number of frames of a flight, or of all, that were used; None where the frames are not known."""
        return self._number(True, flight)

    def unused(self, flight: str | None = None) -> int | None:
        """Number of frames of a flight, or of all, that could not be used; None where the frames are not known."""
        return self._number(False, flight)

    def _number(self, used: bool, flight: str | None) -> int | None:
        if self.frames is None:
            return None
        by_flight = self._numbers[used]
        return int(by_flight.sum() if flight is None else by_flight.get(flight, 0))

    @cached_property
    def _numbers(self) -> "dict[bool, pd.Series[int]]":
        """Number of frames by flight, of those that were used and of the others; counted once for all flights."""
        assert self.frames is not None
        return {used: self.frames["group"][self.frames["used"] == used].value_counts() for used in (True, False)}

    @property
    def min_score(self) -> float | None:
        """Smallest score of the boxes that were kept; None where all were."""
        source = self.table if self.frames is None else self.frames
        lowest = source.get("min_score", pd.Series(dtype=float)).dropna()
        return float(lowest.iloc[0]) if len(lowest) else None


def read_predictions(path: Path, gallery: GallerySummary) -> Predictions:
    """Read a table of predictions, .csv or .parquet, and the table of frames beside it.

    Args:
        path: File that `dml predict` wrote.
        gallery: Gallery that it must have been made with.

    Raises:
        ValueError: If there is no such file, it is no table of predictions, a row has no flight or a value that
            `dml predict` does not write, it was made with another gallery or threshold, or by several rules.
    """
    check_predictions(path)
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False, na_values=BLANK)
        else:
            table = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}).") from None
    frames = read_frames(path)
    missing = [name for name in NEEDED_COLUMNS if name not in table]
    if missing or (table.empty and frames is None):
        lack = f"lacks {', '.join(missing)}" if missing else "has no rows"
        raise ValueError(f"{path} is not what dml predict writes: it {lack}.")
    table["rule"] = table["rule"].str.split(":").str[0]  # version 0.1 wrote "C: how it was chosen"
    _check_rows(path, table)
    source = table if frames is None or len(table) else frames
    made = [version for version in source["gallery"].unique() if version != gallery.version]
    if made:
        raise ValueError(
            f"{path} was made with the gallery {made[0]}, which is {gallery.version} since something was enrolled, "
            "removed, recalibrated or trained: predict again."
        )
    unknown = sorted(set(table["label"]) - set(gallery.names))
    if unknown:
        raise ValueError(f"{path} names {unknown[0]!r}, which the gallery lacks: predict again.")
    rules = sorted(source["rule"].unique())
    if len(rules) > 1:
        raise ValueError(f"{path} was decided by several rules, {' and '.join(rules)}: predict again.")
    if frames is not None:
        check_same(path, table, frames)
    found = Predictions(table, rules[0], frames)
    check_threshold(found, gallery, found.rule)
    return found


def _check_rows(path: Path, table: pd.DataFrame) -> None:
    """Refuses values that `dml predict` does not write, in the first row that has one."""
    distance = pd.to_numeric(table["distance_trained"], errors="coerce")
    for column, wrong, expected in (
        ("group", table["group"].isna() | (table["group"] == ""), "the name of a flight"),
        ("decision", ~table["decision"].isin(DECISIONS), " or ".join(DECISIONS)),
        ("distance_trained", ~((distance >= 0) & (distance < np.inf)), "a distance, a finite number of at least 0"),
    ):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"{path} row {row + FIRST_ROW} has the {column} {table[column].tolist()[row]!r}: it must be {expected}."
            )
    if "frame" in table and (twice := table.duplicated()).any():
        row = int(np.flatnonzero(twice)[0])
        raise ValueError(
            f"{path} row {row + FIRST_ROW} is the same as an earlier one ({int(twice.sum())} such rows): each box may "
            "be counted once."
        )


def check_threshold(predictions: Predictions, gallery: GallerySummary, rule: str) -> None:
    """Check that predictions were made with the gallery's threshold.

    Args:
        predictions: Predictions of the gallery's version.
        gallery: Gallery that they were made with.
        rule: Rule whose threshold is compared.

    Raises:
        ValueError: If the gallery has no such rule, or another threshold for it.
    """
    now = gallery.threshold(rule).value
    if predictions.table.empty:
        return
    used = predictions.table.get(f"threshold_{rule}", pd.Series(dtype=float)).astype(float)
    if used.empty or not np.isclose(used, now, rtol=1e-9, atol=0).all():
        raise ValueError(
            f"the predictions were made with another threshold of rule {rule} than the gallery's {now:g}: "
            "predict again."
        )
