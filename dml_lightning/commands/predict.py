"""`dml predict`: names every box of new frames with a finished run, and refuses unknown ones."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dml_lightning.data.sources import OnBadFrame, Reading
from dml_lightning.data.sources.recognise import read_source
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.figures.frames import FramePictures
from dml_lightning.files import replacing
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.trust import modules_of
from dml_lightning.types import Embeddings

BOX = ["frame", *BOX_COLUMNS, "group"]


def predict(
    run: str,
    data: str,
    out: str = "predictions.csv",
    rule: str | None = None,
    neighbours: int = 5,
    pictures: str | None = None,
    batch_size: int = 256,
    on_bad_frame: OnBadFrame = "skip",
    device: str = "cpu",
    trust: str | None = None,
) -> Path:
    """Writes one row per box: label, neighbours, distance, OOD scores and decision.

    Columns: frame, x, y, width, height (px), group (flight), annotation (label in the data set), label (by the arm's
    own rule, or the enrolled species in whose ball the box lies), label_prototype (of the nearest prototype),
    label_radius (of the smallest distance less the radius of the class), label_knn, distance (to the nearest
    prototype), distance_trained (to the nearest prototype of the classes trained on), neighbours (JSON list of stored
    crops, nearest first: the row in the crop table that the run was trained on, or "species/number" for an enrolled
    species), neighbour_labels (JSON list of their classes), ood_score_R (larger is more OOD) and threshold_R for each
    rule R of the run, p_value (conformal, of rule C, for the classes trained on), decision (known or unknown), rule
    (the one that decided), rule_origin (how its threshold was chosen), gallery (digest of the encoder and number of the
    gallery's last record, which tells predictions from before an enrolment or a recalibration apart).

    Rules: A, outside the balls of the reference crops; B, threshold chosen on known and OOD crops of validation; C,
    split conformal at a chosen rate of false refusals; C_class, the same per class. The decision, not the label, says
    whether a box shows a known species at all.

    Args:
        run: Folder of a finished run.
        data: Data config, annotation file or folder of a data set; its layout is recognised by its content. In a .csv
            table with the columns of configs/data/csv.yaml label and flight may be missing.
        out: Table to write, .csv or .parquet; it appears when it is complete.
        rule: Rule that decides; by default C if the run has a calibration split, else B, else A.
        neighbours: Number of stored crops that are named for each box, and that vote for label_knn.
        pictures: Folder for one annotated picture per frame; none are drawn if not given.
        batch_size: Number of crops embedded at once.
        on_bad_frame: Whether a frame that cannot be read stops the command, or is skipped and named.
        trust: Modules whose classes the run's recipe may name beside the listed ones, joined by commas.
        device: Device of the encoder, such as cpu or cuda.

    Returns:
        The path of the table.

    Raises:
        ValueError: If the run is not finished or the data cannot be read.
    """
    path = Path(out)
    if path.is_dir() or path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out {out}: name the .csv or .parquet file to write.")
    if neighbours < 1:
        raise ValueError(f"--neighbours {neighbours} must be at least 1.")
    trained = TrainedRun.load(run, device, modules_of(trust))
    chosen = rule or trained.gallery.default_rule
    trained.gallery.threshold(chosen)  # an unknown rule ends here
    reading = read_source(Path(data), on_bad_frame)
    print(reading.report)
    bad: dict[str, str] = {}
    embedded = trained.embed_table(reading.table, batch_size, on_bad_frame, bad)
    tables = _tables(reading, embedded, trained.gallery, chosen, neighbours)
    rows = _write(
        path,
        tables,
        FramePictures(Path(pictures)) if pictures else None,
        lambda: f"no frame of the data set can be read, the first being: {next(iter(bad.values()), 'there is no box')}",
    )
    for sentence in bad.values():
        print(f"Skipped: {sentence}")
    print(f"{rows} boxes in {path}; {len(reading.table) - rows} more lie in {len(bad)} unreadable frames.")
    return path


def _tables(
    reading: Reading, embedded: Iterator[Embeddings], gallery: Gallery, rule: str, k: int
) -> Iterator[pd.DataFrame]:
    """Yields the rows of the table, batch by batch, in frame order."""
    origin = gallery.threshold(rule).origin
    for queries in embedded:
        answers = answer(gallery, queries, k)
        boxes = reading.table.iloc[queries.index.numpy()]
        scores = {
            f"{column}_{each}": values
            for each, threshold in gallery.thresholds.items()
            for column, values in (("ood_score", answers.score[each]), ("threshold", threshold.value))
        }
        yield boxes[BOX].assign(
            annotation=boxes["label"],
            label=answers.label,
            label_prototype=answers.label_prototype,
            label_radius=answers.label_radius,
            label_knn=answers.label_knn,
            distance=answers.distance,
            distance_trained=answers.distance_trained,
            neighbours=[json.dumps(crops) for crops in answers.neighbours],
            neighbour_labels=[json.dumps(labels, ensure_ascii=False) for labels in answers.neighbour_labels],
            **scores,
            p_value=answers.p_value,
            decision=["known" if known else "unknown" for known in answers.known[rule]],
            rule=rule,
            rule_origin=origin,
            gallery=gallery.version,
        )


def _write(
    path: Path, tables: Iterator[pd.DataFrame], pictures: FramePictures | None, nothing: Callable[[], str]
) -> int:
    """Writes a table that appears when it is complete, with one batch in memory at a time; returns its number of rows.

    Raises:
        ValueError: If there is no row, with the message that `nothing` returns.
    """
    writer: pq.ParquetWriter | None = None
    rows = 0
    with replacing(path) as file, ExitStack() as closing:
        for table in tables:
            if path.suffix == ".csv":
                table.to_csv(file, header=rows == 0, index=False)
            else:
                batch = pa.Table.from_pandas(table, preserve_index=False)
                writer = writer or closing.enter_context(pq.ParquetWriter(file, batch.schema))
                writer.write_table(batch)
            if pictures:
                pictures.add(table)
            rows += len(table)
        if not rows:
            raise ValueError(nothing())
        if pictures:
            pictures.finish()
    return rows
