"""Table of predictions: a row per box, batch by batch, in a file that appears when it is complete."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dml_lightning.files import replacing
from dml_lightning.flights.taxonomy import joined_counts, node_counts
from dml_lightning.flights.whole_frames import WholeFrames
from dml_lightning.gallery.boxes import relative


def counted(tables: Iterator[pd.DataFrame], boxes: Counter[str], nodes: list[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The same tables, with the boxes of each frame and of each node counted as they pass."""
    for table in tables:
        boxes.update(table["frame"])
        nodes[:] = [joined_counts([*nodes, node_counts(table)])]
        yield table


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
