"""The table of predictions is written batch by batch."""

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from dml_lightning.data.sources.recognise import read_source
from dml_lightning.flights.boxes import write_boxes
from dml_lightning.flights.whole_frames import WholeFrames
from dml_lightning.gallery.boxes import predicted_tables
from dml_lightning.gallery.trained import TrainedRun


def test_memory_does_not_grow_with_the_frames(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the frames, and the peak of what Python and NumPy hold stays within a small bound."""
    monkeypatch.setattr("dml_lightning.gallery.boxes.ROWS", 64)  # of a part of the table
    pixels = np.random.default_rng(0).integers(28_000, 28_400, (256, 320)).astype(np.uint16)
    for number in range(160):
        tifffile.imwrite(tmp_path / f"{number}.tiff", pixels)
    trained = TrainedRun.load(str(runs["triplet"]))
    peaks = []
    for frames in (40, 160):
        lines = [f"{number}.tiff,{x},20,12,12" for number in range(frames) for x in (20, 90, 200)]
        (tmp_path / "boxes.csv").write_text("\n".join(["frame,x,y,width,height", *lines]))
        reading = read_source(tmp_path / "boxes.csv")
        embedded = trained.embed_table(reading.table, 32, "stop", {})
        tables = predicted_tables(reading, embedded, trained.gallery, "A", 5)
        tracemalloc.start()
        write_boxes(tmp_path / "out.csv", tables, WholeFrames(), lambda: None, tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(pd.read_csv(tmp_path / "out.csv")) == 3 * frames
    assert peaks[1] < peaks[0] + 1_000_000  # bytes; the added frames hold 20 MB, their crops 1.5
