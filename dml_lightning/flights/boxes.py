"""Table of predictions: a row per box, batch by batch, in a file that appears when it is complete."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dml_lightning.data.sources import Reading
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.files import replacing
from dml_lightning.flights.taxonomy import Taxonomy, joined_counts, node_counts
from dml_lightning.flights.whole_frames import WholeFrames
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.openset.sets import SetThresholds
from dml_lightning.types import Embeddings

BOX = ["frame", *BOX_COLUMNS, "group"]
# Names of all columns but those of the rules, which begin with `RULES`.
OWN = (
    *(*BOX, "annotation", "score", "min_score", "species", "label", "label_prototype", "label_radius", "label_knn"),
    *("distance", "distance_trained", "neighbours", "neighbour_labels", "p_value", "decision", "rule", "rule_origin"),
    *("rule_score", "rule_score_reason"),
    *("species_set", "set_alpha", "set_level", "set_node", "gallery"),
)
RULES = ("ood_score_", "threshold_")


def predicted_tables(
    reading: Reading,
    embedded: Iterator[Embeddings],
    gallery: Gallery,
    rule: str,
    k: int,
    sets: SetThresholds | None = None,
    taxonomy: Taxonomy | None = None,
) -> Iterator[pd.DataFrame]:
    """Yields the rows of the table, batch by batch, in frame order; a table without rows where there is no box."""
    deciding = gallery.threshold(rule)
    table = reading.table if "score" in reading.table else reading.table.assign(score=float("nan"))
    for queries in chain([next(embedded, gallery.reference.at(slice(0)))], embedded):
        answers = answer(gallery, queries, k, sets)
        nodes = [taxonomy.lowest(names) if taxonomy and sets else ("", "") for names in answers.species_set]
        boxes = table.iloc[queries.index.numpy()]
        scores = {
            f"{column}_{each}": values
            for each, threshold in gallery.thresholds.items()
            for column, values in (("ood_score", answers.score[each]), ("threshold", threshold.value))
        }
        yield boxes[BOX].assign(
            annotation=boxes["label"],
            score=boxes["score"],
            min_score=float("nan") if reading.min_score is None else reading.min_score,
            species=[name if known else "" for name, known in zip(answers.label, answers.known[rule], strict=True)],
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
            rule_origin=deciding.origin,
            rule_score=deciding.score,
            rule_score_reason=gallery.choice.reason if rule in ("B", "C") else "",
            species_set=[json.dumps(names, ensure_ascii=False) if sets else "" for names in answers.species_set],
            set_alpha=float("nan") if sets is None else sets.alpha,
            set_level=[level for level, _ in nodes],
            set_node=[node for _, node in nodes],
            gallery=gallery.version,
            **{name: boxes[name] for name in reading.carried},
        )


def counted(tables: Iterator[pd.DataFrame], boxes: Counter[str], nodes: list[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The same tables, with the boxes of each frame and of each node counted as they pass."""
    for table in tables:
        boxes.update(table["frame"])
        nodes[:] = [joined_counts([*nodes, node_counts(table)])]
        yield table


def relative(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The table with its frames as paths below the folder of the data."""
    paths = {frame: Path(os.path.relpath(frame, root)).as_posix() for frame in table["frame"].unique()}
    return table.assign(frame=table["frame"].map(paths).astype("str"))


def write_boxes(
    path: Path, tables: Iterator[pd.DataFrame], whole_frames: WholeFrames, finish: Callable[[], None], root: Path
) -> None:
    """Writes a table that appears when it is complete, with one batch in memory at a time.

    Args:
        path: File to write, .csv or .parquet.
        tables: Parts of the table, the first of which may have no rows.
        whole_frames: Receives the parts.
        finish: Called after the last part and before the table appears; it does not appear if this raises.
        root: Folder that the frames are written relative to.
    """
    writer: pq.ParquetWriter | None = None
    with replacing(path) as file, ExitStack() as closing:
        for number, table in enumerate(tables):
            rows = relative(table, root)
            if path.suffix == ".csv":
                rows.to_csv(file, header=number == 0, index=False)
            else:
                batch = pa.Table.from_pandas(rows, preserve_index=False)
                writer = writer or closing.enter_context(pq.ParquetWriter(file, batch.schema))
                writer.write_table(batch)
            whole_frames.add(table)
        whole_frames.finish()
        finish()
