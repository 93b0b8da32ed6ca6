"""`dml drift` and `dml count`: tests flights for drift, and counts their species, from a table of predictions."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.files import write_json, write_text
from dml_lightning.flights.confusion import OTHER, UNKNOWN, Confusion, held_out_confusion
from dml_lightning.flights.counts import Corrected, correct
from dml_lightning.flights.drift import FlightDrift, flight_drift
from dml_lightning.flights.predictions import check_threshold, read_predictions, rule_of
from dml_lightning.gallery.gallery import Gallery

DRIFT_STATUS = 3  # of the process, when a flight drifts
ILL_CONDITIONED = 20.0  # condition number above which small errors of the matrix give large errors of the counts
FEW_HELD_OUT = 20  # held-out crops of a class, below which its row of the matrix is a guess
ALL = "all flights"


def drift(
    run: str, predictions: str, out: str | None = None, checked: bool = False, level: float = 0.05
) -> list[FlightDrift]:
    """Tests whether the known birds of new flights score like those of the calibration; status 3 if one does not.

    Compares each flight's mean distance to the nearest prototype of the classes trained on with the means of the
    calibration flights, over the boxes within rule C's threshold. The unit is the flight, not the crop: it takes three
    calibration flights or more, and few of them detect only a large shift. The table gives the range of shifts that
    pass for chance. A flight of which almost every box lies beyond the threshold is called drifted without a test,
    because drift cannot be told from a flight without known birds then. A status of 0 means that no drift was found, 2
    that the input was wrong. Boxes that are named as an enrolled species are left out.

    Args:
        run: Folder of a finished run with a calibration split, or of one that was recalibrated.
        predictions: Table of `dml predict`, .csv or .parquet; its column `group` names the flights.
        out: File for the table, .json.
        checked: Whether to take exactly the boxes whose annotation is a class trained on. Then no box is left out for
            its score, and only known birds are compared.
        level: Probability of at least one false alarm over all flights of the table.

    Returns:
        An entry per flight.

    Raises:
        ValueError: If the gallery has no rule C with flights, or the predictions are of another gallery.
        SystemExit: With status 3, if a flight drifts.
    """
    if not 0 < level < 1:
        raise ValueError(f"--level {level} must lie strictly between 0 and 1.")
    gallery = Gallery.of_run(Path(run))
    threshold = gallery.threshold("C")
    if not len(threshold.owners):
        raise ValueError(f"the gallery of {run} does not say which flights rule C is of: recalibrate it.")
    table = read_predictions(Path(predictions), gallery)
    check_threshold(table, gallery, "C")
    if checked:
        table = table[table["annotation"].isin(gallery.class_names)]
    else:
        table = table[table["label"].isin(gallery.class_names)]
    if table.empty:
        raise ValueError(f"{predictions} has no box of {', '.join(gallery.class_names)}.")
    results = flight_drift(
        threshold.scores,
        threshold.owners,
        table["distance_trained"].to_numpy(np.float64),
        table["group"].to_numpy(str),
        threshold.value,
        level,
        cut=not checked,
    )
    _print_drift(results, threshold.groups, threshold.alpha)
    if out:
        write_json(Path(out), [asdict(each) for each in results])
    if any(each.drifted for each in results):
        raise SystemExit(DRIFT_STATUS)
    return results


def count(run: str, predictions: str, out: str | None = None, level: float = 0.95) -> pd.DataFrame:
    """Counts the boxes of each species per flight, corrected by the run's confusion matrix.

    The matrix is that of the test embeddings, or of validation if the best checkpoint is untested, under the same rule.
    It is assumed to hold in the new flights. All that is no known species is one class in it, `other`; a flight whose
    mixture of other things differs from that of the held-out crops is corrected wrongly. Only boxes are counted: birds
    that the detector missed are not. In simulations with four held-out flights, intervals of 95 % held the
    true count in 91 to 93 % of all cases; with five, those of the sum over sixty flights of four boxes did in 93 %
    where flights answer alike, and in 78 % where they differ much (an intra-flight correlation of 0.1).

    Args:
        run: Folder of a finished run.
        predictions: Table of `dml predict`, .csv or .parquet; its column `group` names the flights.
        out: File for the table, .csv.
        level: Probability that an interval holds the true count.

    Returns:
        Columns flight, label, named (boxes with that answer), corrected, low, high; a row per flight and class,
        and for all flights together. Corrected counts of a flight add up to its boxes. An enrolled species without
        held-out crops is counted as named, without an interval.

    Raises:
        ValueError: If the run has no embeddings of its best checkpoint, or the predictions are of another gallery.
    """
    if not 0 < level < 1:
        raise ValueError(f"--level {level} must lie strictly between 0 and 1.")
    if out and Path(out).suffix != ".csv":
        raise ValueError(f"--out {out}: name the .csv file to write.")
    gallery = Gallery.of_run(Path(run))
    table = read_predictions(Path(predictions), gallery)
    path, evidence = _held_out(Path(run), gallery.encoder)
    matrix = held_out_confusion(gallery, evidence, rule_of(table))
    counts = count_flights(table, matrix, level)
    print(f"Confusion from {path}, {len(matrix.flights)} flights, rule {rule_of(table)}.")
    for sentence in cautions(matrix, evidence, sorted(table["group"].unique())):
        print(f"Warning: {sentence}")
    print(counts.to_string(index=False, float_format="%.1f"))
    if out:
        write_text(Path(out), counts.to_csv(index=False))
    return counts


def count_flights(table: pd.DataFrame, matrix: Confusion, level: float = 0.95) -> pd.DataFrame:
    """Computes raw and corrected counts of every flight.

    Args:
        table: Table of predictions.
        matrix: Confusion on held-out crops.
        level: Probability that an interval holds the true count.

    Returns:
        A table with the columns of `count`.
    """
    answers = table["label"].where(table["decision"] == "known", UNKNOWN)
    used, parts = matrix.corrigible(), []
    named = pd.crosstab(table["group"], answers).reindex(columns=matrix.columns, fill_value=0)
    together = correct(named[used.columns].to_numpy(np.int64), used)
    for (flight, row), corrected in zip(named.iterrows(), together, strict=True):
        parts.append(_rows(str(flight), row, matrix, corrected, level))
    if len(named) > 1:
        summed = Corrected(np.sum([each.draws for each in together], axis=0))
        parts.append(_rows(ALL, named.sum(), matrix, summed, level))
    return pd.concat(parts, ignore_index=True)


def cautions(matrix: Confusion, evidence: Evidence, flights: list[str]) -> list[str]:
    """Reasons to doubt corrected counts, a sentence each.

    Args:
        matrix: Confusion on held-out crops.
        evidence: Held-out embeddings that the matrix is made of.
        flights: Names of the flights to count.
    """
    used = matrix.corrigible()
    sentences = []
    condition = float(np.linalg.cond(used.shares))
    if condition > ILL_CONDITIONED:
        sentences.append(
            f"the confusion matrix is ill-conditioned ({condition:.0f}): some classes are answered so alike that "
            "counts tell them apart badly; the intervals say which."
        )
    sizes = matrix.counts.sum(axis=(0, 2))
    few = [f"{name} ({size:.0f})" for name, size in zip(matrix.rows, sizes, strict=True) if size < FEW_HELD_OUT]
    if few:
        sentences.append(f"few held-out crops, so the correction is a guess: {', '.join(few)}.")
    for name in matrix.uncorrected:
        sentences.append(f"{name} was enrolled and has no held-out crops: counted as named.")
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
    return sentences


def _rows(flight: str, named: "pd.Series[int]", matrix: Confusion, corrected: Corrected, level: float) -> pd.DataFrame:
    """Rows of one flight: its classes, then enrolled species that cannot be corrected."""
    answers = [UNKNOWN if name == OTHER else name for name in matrix.rows]
    low, high = corrected.interval(level)
    known = pd.DataFrame(
        {
            "flight": flight,
            "label": matrix.rows,
            "named": named[answers].to_numpy(),
            "corrected": corrected.counts,
            "low": low,
            "high": high,
        }
    )
    new = [(flight, name, int(named[name]), float(named[name]), np.nan, np.nan) for name in matrix.uncorrected]
    return pd.concat([known, pd.DataFrame(new, columns=known.columns)]) if new else known


def _held_out(run: Path, encoder: str) -> tuple[Path, Evidence]:
    """File and content of the test embeddings, or else the validation embeddings, of the gallery's encoder.

    Raises:
        ValueError: If the run has neither.
    """
    others = []
    for stage in ("test", "val"):
        path = run / "embeddings" / f"{stage}.npz"
        if path.is_file():
            evidence = read_evidence(path)
            if evidence.encoder in ("", encoder):
                return path, evidence
            others.append(f"{path} is of the encoder {evidence.encoder}, the gallery of {encoder}")
    why = f" ({'; '.join(others)})" if others else ""
    raise ValueError(f"{run} has no embeddings to take a confusion matrix from{why}: dml test --run {run}.")


def _print_drift(results: list[FlightDrift], flights: int, alpha: float) -> None:
    columns = ["flight", "boxes", "used", "refused", "shift", "low", "high", "ks", "p", "p_holm", "drifted"]
    table = pd.DataFrame([asdict(each) for each in results])[columns]
    print(table.to_string(index=False, float_format="%.3g"))
    for each in results:
        if each.note:
            print(f"{each.flight}: {each.note}.")
    print(
        f"shift: of the flight's mean score from that of {flights} calibration flights; low to high pass for chance. "
        f"refused: share above\nrule C's threshold, of known birds {alpha:g} on average; it grows with boxes that show "
        "no known species, and is not tested."
    )
