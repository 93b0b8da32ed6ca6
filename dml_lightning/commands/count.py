"""`dml count`: counts the species of flights from a table of predictions, corrected by the run's confusion matrix."""

from pathlib import Path
from typing import TYPE_CHECKING

from dml_lightning.commands.flights import check_inputs, check_table, print_effort
from dml_lightning.files import check_output, write_text

if TYPE_CHECKING:
    import pandas as pd

DECIMALS = 4  # of a count in the sheets


def count(
    run: str, predictions: str, out: str | None = None, level: float = 0.95, false_boxes: str | None = None
) -> "pd.DataFrame":
    """Counts the boxes of each species per flight, corrected by the run's confusion matrix.

    The matrix is that of the test embeddings under the same rule, so of flights that chose neither checkpoint nor
    threshold. It is assumed to hold in the new flights, up to the differences that the test flights show among each
    other. All that is no known species is one class in it, `other`; a flight whose mixture of other things differs from
    that of the held-out crops is corrected wrongly. These are boxes, not birds: a bird in several frames counts in
    each, one that the detector missed in none, and no density follows from them.

    Args:
        run: Folder of a finished and tested run.
        predictions: Table of `dml predict`, .csv or .parquet; its column `group` names the flights. With the table of
            frames beside it, flights without a box are counted, too.
        out: File for the table, .csv; beside it the same numbers with a row per flight, as in `counts.wide.csv`.
        level: Probability that an interval holds the true count.
        false_boxes: Table of `dml predict` for flights without birds, with its table of frames: so many boxes per
            frame, with these answers, are false in the flights to count as well.

    Returns:
        Columns flight, label, named (boxes with that answer), corrected, low, high, limits, frames (used),
        frames_unused, min_score; a row per flight and class, and for all flights together, whose counts are corrected
        from the sum of all answers. Corrected counts of a flight add up to its boxes. `limits` is "interval", or
        "range" with fewer than five test flights that show a species, or too few crops to compare flights: of the
        counts as corrected by each one's matrix. An enrolled species without held-out crops is counted as named,
        without an interval. A flight of which no frame could be used is named and not counted.

    Raises:
        ValueError: If the run has no test embeddings of its best checkpoint, or the predictions are of another gallery.
    """
    if not 0 < level < 1:
        raise ValueError(f"--level {level} must lie strictly between 0 and 1.")
    check_table(out, ".csv", predictions)
    if out:
        check_output("--out", wide_path(Path(out)), [predictions])
    check_inputs(run, predictions)
    from dml_lightning.flights.predictions import read_predictions
    from dml_lightning.gallery.decisions import DecidingGallery

    gallery = DecidingGallery.of_run(Path(run))
    read = read_predictions(Path(predictions), gallery)
    from dml_lightning.flights.confusion import held_out_confusion
    from dml_lightning.flights.counting import cautions, count_flights, read_empty, tested, wide

    path, evidence = tested(Path(run), gallery.encoder)
    matrix = held_out_confusion(gallery, evidence, read.rule)
    empty = None if false_boxes is None else read_empty(Path(false_boxes), gallery, read)
    counts = count_flights(read, matrix, level, empty)
    print(f"Confusion from {path}, {len(matrix.flights)} flights, rule {read.rule}.")
    for sentence in cautions(matrix, evidence, read.flights, empty):
        print(f"Warning: {sentence}")
    shown = counts.drop(columns=["limits", "frames", "frames_unused", "min_score"])
    print(shown.to_string(index=False, float_format="%.1f"))
    print_effort(read)
    print("These are boxes, not birds: a bird in several frames counts in each.")
    if out:
        for path, sheet in ((Path(out), counts), (wide_path(Path(out)), wide(counts))):
            write_text(path, sheet.round(DECIMALS).convert_dtypes().to_csv(index=False))  # whole numbers as such
        print(f"Counts in {out}, and with a row per flight in {wide_path(Path(out))}.")
    return counts


def wide_path(counts: Path) -> Path:
    """Path of the sheet with a row per flight that belongs to a table of counts.

    Example:
        >>> wide_path(Path("night/counts.csv")).as_posix()
        'night/counts.wide.csv'
    """
    return counts.with_name(f"{counts.stem}.wide.csv")
