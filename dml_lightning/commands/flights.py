"""`dml drift` and `dml count`: tests flights for drift, and counts their species, from a table of predictions."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.files import check_output, write_json, write_text
from dml_lightning.flights.confusion import OTHER, UNKNOWN, Confusion, held_out_confusion
from dml_lightning.flights.counts import Corrected, correct
from dml_lightning.flights.drift import FlightDrift, flight_drift, nothing_to_compare
from dml_lightning.flights.effort import frames_path
from dml_lightning.flights.predictions import Predictions, check_threshold, read_predictions
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
    pass for chance. A flight of which almost every box lies beyond the threshold is compared by the mean of all its
    boxes, which cannot tell drift from a flight without known birds. A status of 0 means that no drift was found, 2
    that the input was wrong. Boxes that are named as an enrolled species are left out; a flight without any other box
    is listed with its number of frames.

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
    _check_out(out, ".json", predictions)
    gallery = Gallery.of_run(Path(run))
    threshold, (calibration, owners) = gallery.threshold("C"), gallery.calibration_scores()
    if not len(owners):
        raise ValueError(f"the gallery of {run} does not say which flights rule C is of: recalibrate it.")
    read = read_predictions(Path(predictions), gallery)
    check_threshold(read, gallery, "C")
    table = read.table
    if checked:
        table = table[table["annotation"].isin(gallery.class_names)]
    else:
        table = table[table["label"].isin(gallery.class_names)]
    if table.empty and read.frames is None:
        raise ValueError(f"{predictions} has no box of {', '.join(gallery.class_names)}.")
    results = flight_drift(
        calibration,
        owners,
        table["distance_trained"].to_numpy(np.float64),
        table["group"].to_numpy(str),
        threshold.value,
        level,
        cut=not checked,
    )
    seen = {each.flight for each in results}
    results += [nothing_to_compare(flight, read.used(flight) or 0) for flight in read.flights if flight not in seen]
    results.sort(key=lambda each: each.flight)
    _print_drift(results, len(np.unique(owners)), threshold.alpha)
    _print_effort(read)
    if out:
        write_json(Path(out), [asdict(each) for each in results])
    if any(each.drifted for each in results):
        raise SystemExit(DRIFT_STATUS)
    return results


def count(run: str, predictions: str, out: str | None = None, level: float = 0.95) -> pd.DataFrame:
    """Counts the boxes of each species per flight, corrected by the run's confusion matrix.

    The matrix is that of the test embeddings, or of validation if the best checkpoint is untested, under the same rule.
    It is assumed to hold in the new flights. All that is no known species is one class in it, `other`; a flight whose
    mixture of other things differs from that of the held-out crops is corrected wrongly. These are boxes, not birds: a
    bird in several frames counts in each, one that the detector missed in none, and no density follows from them. In
    simulations with four held-out flights, intervals of 95 % held the true count in 91 to 93 % of all cases; with five,
    those of the sum over sixty flights of four boxes did in 93 % where flights answer alike, and in 78 % where they
    differ much (an intra-flight correlation of 0.1).

    Args:
        run: Folder of a finished run.
        predictions: Table of `dml predict`, .csv or .parquet; its column `group` names the flights. With the table of
            frames beside it, flights without a box are counted, too.
        out: File for the table, .csv.
        level: Probability that an interval holds the true count.

    Returns:
        Columns flight, label, named (boxes with that answer), corrected, low, high, frames (used), frames_unused,
        min_score; a row per flight and class, and for all flights together. Corrected counts of a flight add up to its
        boxes. An enrolled species without held-out crops is counted as named, without an interval. A flight of which no
        frame could be used is named and not counted.

    Raises:
        ValueError: If the run has no embeddings of its best checkpoint, or the predictions are of another gallery.
    """
    if not 0 < level < 1:
        raise ValueError(f"--level {level} must lie strictly between 0 and 1.")
    _check_out(out, ".csv", predictions)
    gallery = Gallery.of_run(Path(run))
    read = read_predictions(Path(predictions), gallery)
    path, evidence = _held_out(Path(run), gallery.encoder)
    matrix = held_out_confusion(gallery, evidence, read.rule)
    counts = count_flights(read, matrix, level)
    print(f"Confusion from {path}, {len(matrix.flights)} flights, rule {read.rule}.")
    for sentence in cautions(matrix, evidence, read.flights):
        print(f"Warning: {sentence}")
    shown = counts.drop(columns=["frames", "frames_unused", "min_score"])
    print(shown.to_string(index=False, float_format="%.1f"))
    _print_effort(read)
    print("These are boxes, not birds: a bird in several frames counts in each.")
    if out:
        write_text(Path(out), counts.to_csv(index=False))
    return counts


def _print_effort(read: Predictions) -> None:
    """Prints what was flown and not used, and the smallest score of a box."""
    if read.min_score is not None:
        print(f"Boxes with a detector's score of at least {read.min_score:g}.")
    if read.frames is None:
        print("Warning: there is no table of frames beside the predictions: flights without a box are missing here.")
        return
    used = int(read.frames["used"].sum())
    print(f"{used} frames of {len(read.flights)} flights; {len(read.frames) - used} more could not be used.")
    for flight in read.unseen:
        print(f"Warning: none of the {read.unused(flight)} frames of {flight} could be used: it is left out.")


def count_flights(predictions: Predictions, matrix: Confusion, level: float = 0.95) -> pd.DataFrame:
    """Computes raw and corrected counts of every flight.

    Args:
        predictions: Predictions of the gallery of the matrix.
        matrix: Confusion on held-out crops.
        level: Probability that an interval holds the true count.

    Returns:
        A table with the columns of `count`.
    """
    table, used = predictions.table, matrix.corrigible()
    answers = table["label"].where(table["decision"] == "known", UNKNOWN)
    named = pd.crosstab(table["group"], answers).reindex(columns=matrix.columns, fill_value=0)
    together = correct(named[used.columns].to_numpy(np.int64), used)  # of flights with a box
    corrected = dict(zip(named.index, together, strict=True))
    nothing = Corrected(np.zeros((1, len(matrix.rows))))
    named = named.reindex(predictions.flights, fill_value=0)
    parts = [
        _rows(str(flight), row, matrix, corrected.get(flight, nothing), level).assign(
            frames=predictions.used(str(flight)), frames_unused=predictions.unused(str(flight))
        )
        for flight, row in named.iterrows()
    ]
    if len(named) > 1:
        summed = Corrected(np.sum([each.draws for each in together], axis=0)) if together else nothing
        rows = _rows(ALL, named.sum(), matrix, summed, level)
        parts.append(rows.assign(frames=predictions.used(), frames_unused=predictions.unused()))
    return pd.concat(parts, ignore_index=True).assign(min_score=predictions.min_score)


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


def _check_out(out: str | None, suffix: str, predictions: str) -> None:
    """Refuses a file of another kind than is written, and one that would be lost."""
    if out is None:
        return
    if Path(out).suffix != suffix:
        raise ValueError(f"--out {out}: name the {suffix} file to write.")
    check_output("--out", Path(out), [predictions, frames_path(Path(predictions))])


def _print_drift(results: list[FlightDrift], flights: int, alpha: float) -> None:
    columns = ["flight", "boxes", "used", "refused", "shift", "low", "high", "ks", "p", "p_holm", "drifted"]
    table = pd.DataFrame([asdict(each) for each in results])[columns]
    print(table.to_string(index=False, float_format="%.3g"))
    for each in results:
        if each.note:
            print(f"{each.flight}: {each.note}.")
    print(
        f"shift: of the flight's mean score from that of {flights} calibration flights; low to high pass for chance of "
        "one flight, and\np_holm allows for all of them. refused: share above rule C's threshold, of known birds "
        f"{alpha:g} on average; it grows with boxes\nthat show no known species, and is not tested by itself."
    )
