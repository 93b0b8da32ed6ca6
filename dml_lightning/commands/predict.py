"""`dml predict`: names every box of new frames with a finished run, and refuses what it does not know."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dml_lightning.data.sources import OnBadFrame, Reading
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.figures.frames import FramePictures
from dml_lightning.files import replacing
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.trained import TrainedRun, read_source
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
) -> Path:
    """Writes one row per box: label, neighbours, distance, OOD scores and decision.

    Columns: frame, x, y, width, height (px), group (flight), annotation (what the data set says), label (by the
    arm's own rule, or the enrolled species in whose ball the box lies), label_prototype (of the nearest prototype),
    label_radius (of the smallest distance less the radius of the class), label_knn, distance (to the nearest
    prototype), distance_trained (to the nearest of the classes trained on, whatever was enrolled), neighbours (JSON
    list of stored crops, nearest first: the row in the crop table that the run was trained on, or "species/number" of
    an enrolled one), neighbour_labels (JSON list of their classes), for each rule R that the run has ood_score_R
    (larger is more OOD) and threshold_R, p_value (conformal, of rule C, for the classes trained on), decision (known
    or unknown), rule (which decided), rule_origin (how its threshold was chosen) and gallery (the encoder's digest and
    the number of the gallery's last record, so that predictions from before an enrolment or a recalibration are told
    apart). Rules: A, outside the balls of the reference crops; B, threshold validated on known and OOD crops; C, split
    conformal at a chosen rate of false refusals; C_class, the same per class. The decision, not the label, says whether
    a box shows a known species at all.

    Args:
        run: Folder of a finished run.
        data: A YAML config with the source of a data config, a COCO .json, a .csv table with the columns of
            configs/data/csv.yaml (label and flight may be missing), a YOLO data.yaml or a folder of crops with one
            folder per class.
        out: The table to write, .csv or .parquet; it appears when it is whole.
        rule: The rule that decides; by default C where the run has a calibration split, else B, else A.
        neighbours: Stored crops to name for each box, and to vote for label_knn.
        pictures: Folder for one annotated picture per frame; none are drawn if not given.
        batch_size: Crops embedded at once.
        on_bad_frame: Whether a frame that cannot be read stops the command or is skipped and named.
        device: Where the encoder runs, such as cpu or cuda.

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
    trained = TrainedRun.load(run, device)
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
    """The finished rows, batch by batch, in frame order."""
    origin = gallery.threshold(rule).origin
    for queries in embedded:
        said = answer(gallery, queries, k)
        boxes = reading.table.iloc[queries.index.numpy()]
        scores = {
            f"{column}_{each}": values
            for each, threshold in gallery.thresholds.items()
            for column, values in (("ood_score", said.score[each]), ("threshold", threshold.value))
        }
        yield boxes[BOX].assign(
            annotation=boxes["label"],
            label=said.label,
            label_prototype=said.label_prototype,
            label_radius=said.label_radius,
            label_knn=said.label_knn,
            distance=said.distance,
            distance_trained=said.distance_trained,
            neighbours=[json.dumps(crops) for crops in said.neighbours],
            neighbour_labels=[json.dumps(labels, ensure_ascii=False) for labels in said.neighbour_labels],
            **scores,
            p_value=said.p_value,
            decision=["known" if known else "unknown" for known in said.known[rule]],
            rule=rule,
            rule_origin=origin,
            gallery=gallery.version,
        )


def _write(
    path: Path, tables: Iterator[pd.DataFrame], pictures: FramePictures | None, nothing: Callable[[], str]
) -> int:
    """Writes a table that is whole or absent, one batch in memory at a time; returns its rows.

    Raises:
        ValueError: If there is no row, with what `nothing` says of it.
    """
    writer: pq.ParquetWriter | None = None
    rows = 0
    with replacing(path) as file:
        for table in tables:
            if path.suffix == ".csv":
                table.to_csv(file, header=rows == 0, index=False)
            else:
                batch = pa.Table.from_pandas(table, preserve_index=False)
                writer = writer or pq.ParquetWriter(file, batch.schema)
                writer.write_table(batch)
            if pictures:
                pictures.add(table)
            rows += len(table)
        if not rows:
            raise ValueError(nothing())
        if writer:
            writer.close()
        if pictures:
            pictures.finish()
    return rows
