"""Stores of patches: crops cut frame by frame, for a cache or on the fly, with a list of the bad frames."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from dml_lightning.data.crops import CropOptions, Patches, Statistics, by_frame, cut_frame
from dml_lightning.data.frames import FrameError, read_frame
from dml_lightning.data.geometry import Boxes
from dml_lightning.data.ground import ground_distances
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.types import OnBadFrame

Rows = NDArray[np.int64]


class CropStore(Protocol):
    """Interface of the stores of patches: the cache, or the frames themselves."""

    statistics: Statistics  # (N, 2) location and scale; NaN for a crop of a bad frame
    bad_frames: dict[str, str]  # frame -> message that says what is wrong with it
    units: list[str]  # units of the frames

    def patches(self, rows: Rows) -> Patches:
        """Returns the raw patches (B, P, P) of the given rows of the table."""


class Cutter:
    """Cuts the crops of a table frame by frame; keeps their statistics and the list of bad frames.

    Args:
        table: Crop table.
        options: Options of the crops.
    """

    def __init__(self, table: pd.DataFrame, options: CropOptions) -> None:
        self.options = options
        self.boxes: Boxes = table[BOX_COLUMNS].to_numpy(np.float64)
        self.gsd = None if options.crop_metres is None else ground_distances(table)
        self.frames = list(by_frame(table))
        self.statistics: Statistics = np.full((len(table), 2), np.nan, np.float32)
        self.bad_frames: dict[str, str] = {}
        self.units: list[str] = []
        self.notes: Counter[str] = Counter()  # note on how frames were read -> number of such frames

    def cut(self, path: str, rows: Rows) -> tuple[Patches, Statistics, str]:
        """Opens one frame and returns its patches, their statistics and the unit."""
        frame = read_frame(path, self.options.radiometry)
        self.notes.update(frame.notes)
        gsd = None if self.gsd is None else self.gsd[rows]
        return *cut_frame(frame, self.boxes[rows], self.options, path, gsd), frame.unit

    def cut_all(self, on_bad_frame: OnBadFrame) -> Iterator[tuple[Rows, Patches]]:
        """Cuts all frames in order with a progress bar, and yields the rows and patches of each.

        Raises:
            FrameError: A frame cannot be used and on_bad_frame is "stop".
        """
        for path, rows in _tracked(self.frames):
            try:
                patches, statistics, unit = self.cut(path, rows)
            except FrameError as error:
                if on_bad_frame == "stop":
                    raise
                self.bad_frames[path] = str(error)
                continue
            self.statistics[rows] = statistics
            self.units = sorted({*self.units, unit})
            yield rows, patches
        for note, frames in self.notes.items():
            print(f"{note} ({frames} frames).", file=sys.stderr)


class UncachedCrops:
    """Opens the frame again for every batch of crops: writes no file, but is slower than a cache.

    All frames are read once at the start, to find the bad ones before training and for the statistics.
    """

    def __init__(self, table: pd.DataFrame, options: CropOptions, on_bad_frame: OnBadFrame = "stop") -> None:
        self.cutter = Cutter(table, options)
        for _ in self.cutter.cut_all(on_bad_frame):
            pass
        self.statistics = self.cutter.statistics
        self.bad_frames, self.units = self.cutter.bad_frames, self.cutter.units
        self.frame_of = table["frame"].to_numpy(object)

    def patches(self, rows: Rows) -> Patches:
        """Returns the raw patches (B, P, P); crops of the same frame share one reading."""
        result: Patches = np.empty((len(rows), *[self.cutter.options.stored_size] * 2), np.float32)
        paths = self.frame_of[rows]
        for path in dict.fromkeys(paths):
            here = np.flatnonzero(paths == path)
            result[here] = self.cutter.cut(path, rows[here])[0]
        return result


def _tracked(frames: list[tuple[str, Rows]]) -> Iterable[tuple[str, Rows]]:
    return track(frames, description="Cutting crops", console=Console(stderr=True), transient=True)
