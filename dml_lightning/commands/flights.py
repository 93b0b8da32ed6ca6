"""`dml drift`: tests flights for drift, from a table of predictions."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dml_lightning.files import check_output, write_json
from dml_lightning.gallery.records import check_gallery

if TYPE_CHECKING:
    from dml_lightning.flights.drift import FlightDrift
    from dml_lightning.flights.predictions import Predictions

DRIFT_STATUS = 3  # of the process, when a flight drifts


def drift(
    run: str, predictions: str, out: str | None = None, checked: bool = False, level: float = 0.05
) -> "list[FlightDrift]":
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
    check_table(out, ".json", predictions)
    check_inputs(run, predictions)
    from dml_lightning.flights.drift import drift_text, flight_drift, nothing_to_compare
    from dml_lightning.flights.predictions import check_threshold, read_predictions
    from dml_lightning.gallery.summary import GallerySummary

    gallery = GallerySummary.of_run(Path(run))
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
        gallery.distance_threshold(),
        level,
        cut=not checked,
    )
    seen = {each.flight for each in results}
    results += [nothing_to_compare(flight, read.used(flight) or 0) for flight in read.flights if flight not in seen]
    results.sort(key=lambda each: each.flight)
    print(drift_text(results, len(np.unique(owners)), threshold.alpha))
    print_effort(read)
    if out:
        write_json(Path(out), [asdict(each) for each in results])
    if any(each.drifted for each in results):
        raise SystemExit(DRIFT_STATUS)
    return results


def print_effort(read: "Predictions") -> None:
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


def check_inputs(run: str, predictions: str) -> None:
    """Refuses a run without a gallery, and what is no file of predictions."""
    from dml_lightning.flights.effort import check_predictions

    check_gallery(Path(run) / "gallery")
    check_predictions(Path(predictions))


def check_table(out: str | None, suffix: str, predictions: str) -> None:
    """Refuses a file of another kind than is written, and one that would be lost."""
    if out is None:
        return
    if Path(out).suffix != suffix:
        raise ValueError(f"--out {out}: name the {suffix} file to write.")
    from dml_lightning.flights.effort import frames_path

    check_output("--out", Path(out), [predictions, frames_path(Path(predictions))])
