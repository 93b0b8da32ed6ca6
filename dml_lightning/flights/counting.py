"""Table of counts of flights: raw and corrected, with what they rest on and the reasons to doubt them."""

from pathlib import Path

import numpy as np
import pandas as pd

from dml_lightning.evaluation.npz import test_file
from dml_lightning.evaluation.split import Split, read_split
from dml_lightning.flights.confusion import FALSE, HELD_OUT, OTHER, Confusion
from dml_lightning.flights.counts import Corrected, Correction
from dml_lightning.flights.false_boxes import FalseBoxes
from dml_lightning.flights.predictions import Predictions, read_predictions
from dml_lightning.gallery.summary import GallerySummary
from dml_lightning.metrics.bootstrap import FEWEST_UNITS
from dml_lightning.types import UNKNOWN

FEW_HELD_OUT = 20  # held-out crops of a class, below which its row of the matrix is a guess
ALL = "all flights"
COLUMNS = (
    *("flight", "label", "named", "corrected", "low", "high"),
    *("limits", "frames", "frames_unused", "min_score"),
)


def count_flights(
    predictions: Predictions, matrix: Confusion, level: float = 0.95, empty: Predictions | None = None
) -> pd.DataFrame:
    """Computes raw and corrected counts of every flight.

    Args:
        predictions: Predictions of the gallery of the matrix.
        matrix: Confusion on held-out crops.
        level: Probability that an interval holds the true count.
        empty: Predictions for flights without birds, whose boxes are false.

    Returns:
        A table with the columns `COLUMNS`, which `dml count` explains.

    Raises:
        ValueError: If a flight is named like the row of the sum.
    """
    if ALL in predictions.flights:
        raise ValueError(
            f"a flight is called {ALL!r}, which stands for the sum over all of them: give it another name."
        )
    used, named = matrix.corrigible(), _named(predictions, matrix)
    answers, frames = named[used.columns].to_numpy(np.int64), _frames(predictions, named.index)
    false = None if empty is None else _false_boxes(empty, matrix)
    correction, numbers = Correction(used, level), frames["frames"].to_numpy()
    each = correction.flights(answers, false, numbers)
    parts = [_rows(named, each, matrix, false).join(frames, on="flight")]
    if len(named) > 1:
        summed = named.sum().to_frame(ALL).T
        rows = _rows(summed, correction.together(answers, false, numbers, each), matrix, false)
        parts.append(rows.assign(frames=predictions.used(), frames_unused=predictions.unused()))
    table = pd.concat(parts, ignore_index=True).assign(min_score=predictions.min_score, limits=correction.limits)
    return table[list(COLUMNS)]


def wide(counts: pd.DataFrame) -> pd.DataFrame:
    """The numbers of `count_flights` with a row per flight: of each class the named and corrected counts and limits.

    Example:
        >>> numbers = {"named": [3, 0], "corrected": [2.5, 0.5], "low": [1, 0], "high": [4, 2], "limits": "interval"}
        >>> flown = {"flight": "dawn", "frames": 7, "frames_unused": 1, "min_score": 0.3}
        >>> sheet = wide(pd.DataFrame({"label": ["gadwall", "other"], **numbers, **flown}))
        >>> print(sheet.iloc[:, 5:9].to_csv(index=False))
        gadwall named,gadwall corrected,gadwall low,gadwall high
        3,2.5,1,4
        <BLANKLINE>
    """
    flights = counts.drop_duplicates("flight")[["flight", "limits", "frames", "frames_unused", "min_score"]]
    names = ("named", "corrected", "low", "high")
    by_name = {name: counts.pivot(index="flight", columns="label", values=name) for name in names}
    ordered = {f"{label} {name}": by_name[name][label] for label in counts["label"].unique() for name in names}
    return flights.join(pd.DataFrame(ordered), on="flight").reset_index(drop=True)


def cautions(matrix: Confusion, evidence: Split, flights: list[str], empty: Predictions | None = None) -> list[str]:
    """Reasons to doubt corrected counts, a sentence each.

    Args:
        matrix: Confusion on held-out crops.
        evidence: Held-out embeddings that the matrix is made of.
        flights: Names of the flights to count.
        empty: Predictions for flights without birds.
    """
    sentences, correction = [], Correction(matrix.corrigible())
    if correction.limits == "range":
        why = " with too few crops to compare" if matrix.units >= FEWEST_UNITS else ""
        sentences.append(
            f"{matrix.units} held-out flight(s) of species{why}: low and high are the range of the counts as corrected "
            f"by each one's matrix, not an interval, which takes {FEWEST_UNITS} that show how they differ."
        )
    for names in correction.alike:
        sentences.append(f"{' and '.join(names)} are answered too much alike to tell them apart: their counts share.")
    sizes = matrix.counts.sum(axis=(0, 2))
    few = [f"{name} ({size:.0f})" for name, size in zip(matrix.rows, sizes, strict=True) if size < FEW_HELD_OUT]
    if few:
        sentences.append(f"few held-out crops, so the correction is a guess: {', '.join(few)}.")
    for name in matrix.uncorrected:
        sentences.append(f"{name} was enrolled and has no held-out crops: counted as named.")
    held_out = {flight for name in HELD_OUT for flight in evidence.groups[name].tolist()}
    if chose := sorted(held_out - {*matrix.flights}):
        sentences.append(
            f"{', '.join(chose)}: not in the matrix: rule C was recalibrated or a species enrolled by their crops."
        )
    seen = {flight for groups in evidence.groups.values() for flight in groups.tolist()}
    both = [flight for flight in flights if flight in seen]
    if both:
        sentences.append(
            f"{', '.join(both)}: named like a flight that the run was trained or tested on; if it is the same, the "
            "interval is too short."
        )
    if sizes[-1]:
        sentences.append(
            f"{OTHER!r} stands for what the {sizes[-1]:.0f} held-out crops of no known class are; a flight with a "
            "different mixture of such things is corrected wrongly."
        )
    if empty is None:
        sentences.append("false boxes of the detector are not taken out: give flights without birds by --false_boxes.")
    elif len(empty.flights) < FEWEST_UNITS:
        sentences.append(f"the number of false boxes is that of {len(empty.flights)} flights without birds: a guess.")
    return sentences


def read_empty(path: Path, gallery: GallerySummary, predictions: Predictions) -> Predictions:
    """Reads predictions for flights without birds, of which every box is false.

    Args:
        path: File that `dml predict` wrote.
        gallery: Gallery of the run.
        predictions: Predictions that are to be counted.

    Raises:
        ValueError: If they were made otherwise than those to count, or frames are not known.
    """
    empty = read_predictions(path, gallery)
    for read, name in ((predictions, "the predictions to count"), (empty, f"--false_boxes {path}")):
        if read.frames is None:
            raise ValueError(
                f"{name} have no table of frames beside them, and false boxes count per frame: predict again."
            )
    if (empty.rule, empty.min_score) != (predictions.rule, predictions.min_score):
        raise ValueError(
            f"--false_boxes {path} was made by rule {empty.rule} and min_score {empty.min_score}, and the predictions "
            f"to count by {predictions.rule} and {predictions.min_score}: predict both alike."
        )
    if both := sorted({*empty.flights} & {*predictions.flights}):
        raise ValueError(f"--false_boxes {path} holds {both[0]}, which is to be counted: give flights without birds.")
    if len(empty.flights) < 2:
        raise ValueError(f"--false_boxes {path} is of {len(empty.flights)} flight: how false boxes scatter takes two.")
    return empty


def _named(predictions: Predictions, matrix: Confusion) -> pd.DataFrame:
    """Number of boxes by flight (rows) and answer (columns of the matrix)."""
    table = predictions.table
    answers = table["label"].where(table["decision"] == "known", UNKNOWN)
    named = pd.crosstab(table["group"], answers).reindex(columns=matrix.columns, fill_value=0)
    return named.reindex(predictions.flights, fill_value=0)


def _frames(predictions: Predictions, flights: "pd.Index[str]") -> pd.DataFrame:
    """Number of frames that were used, and that were not, by flight."""
    numbers = [(predictions.used(flight), predictions.unused(flight)) for flight in flights]
    return pd.DataFrame(numbers, index=flights, columns=["frames", "frames_unused"], dtype=float)


def _false_boxes(empty: Predictions, matrix: Confusion) -> FalseBoxes:
    named = _named(empty, matrix)[matrix.corrigible().columns]
    return FalseBoxes(named.to_numpy(float), _frames(empty, named.index)["frames"].to_numpy())


def _rows(named: pd.DataFrame, corrected: Corrected, matrix: Confusion, false: FalseBoxes | None) -> pd.DataFrame:
    """Rows of each flight: its classes, then enrolled species that cannot be corrected, then false boxes."""
    answers = [UNKNOWN if name == OTHER else name for name in matrix.rows]
    new = named[matrix.uncorrected].to_numpy(float)
    parts = [(named[answers].to_numpy(float), *(getattr(corrected, name) for name in ("counts", "low", "high")))]
    parts.append((new, new, *2 * [np.full_like(new, np.nan)]))
    labels = [*matrix.rows, *matrix.uncorrected]
    if false is not None:
        labels.append(FALSE)
        rest = named.to_numpy(float).sum(axis=1) - corrected.counts.sum(axis=1) - new.sum(axis=1)
        parts.append((np.zeros((len(rest), 1)), rest[:, None], *2 * [np.full((len(rest), 1), np.nan)]))
    columns = zip(("named", "corrected", "low", "high"), zip(*parts, strict=True), strict=True)
    values = {name: np.concatenate(column, axis=1).ravel() for name, column in columns}
    flights = {"flight": np.repeat(named.index.to_numpy(), len(labels)), "label": np.tile(labels, len(named))}
    return pd.DataFrame(flights | values).astype({"named": int})


def tested(run: Path, encoder: str) -> tuple[Path, Split]:
    """File and content of the test embeddings of the gallery's encoder.

    Those of validation chose the checkpoint and a threshold.

    Raises:
        ValueError: If the run has none.
    """
    path, why = test_file(run), ""
    if path.is_file():
        evidence = read_split(path)
        if evidence.encoder in ("", encoder):
            return path, evidence
        why = f" ({path} is of the encoder {evidence.encoder}, the gallery of {encoder})"
    raise ValueError(f"{run} has no test embeddings to take a confusion matrix from{why}: dml test --run {run}.")
