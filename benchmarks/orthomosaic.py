"""Crops from a large orthomosaic: by the tiles that they touch, beside reading the whole file.

    python benchmarks/orthomosaic.py                          # 5000 x 5000 px; nothing is written
    python benchmarks/orthomosaic.py --side 20000 --save

The mosaic is made here, in a temporary folder that is removed: `side` x `side` float32 in degC, noise on a gradient,
tiles of 256 px, outside of a tilted rectangle -9999 as declared no-data; written tile by tile. Each way runs in a fresh
process. Reading whole means tifffile's `imread` and the same cutting. Ways alternate; times are medians.
"""

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from dml_lightning.data.crops import CropOptions, cut_frame
from dml_lightning.data.frames import Frame, read_frame
from measure import PeakMemory, Result, Stopwatch, in_turn, options, own_process, spread

PACKAGES = ("numpy", "tifffile", "imagecodecs")

TILE, BIRD = 256, 8.0  # px
LAYOUTS = {"plain": None, "deflate": "zlib"}
WAYS = {"windows": "crop", "windows, statistics of the frame": "frame", "whole file": "crop"}


def inside(side: int, y: np.ndarray, x: np.ndarray, edge: float = 0.0) -> np.ndarray:
    """Which pixels the flight covered, at least `edge` px from the end: a square turned by 20 degrees."""
    u, v = (x - side / 2) * 0.94 + (y - side / 2) * 0.342, (y - side / 2) * 0.94 - (x - side / 2) * 0.342
    return np.maximum(abs(u), abs(v)) < 0.36 * side - edge


def tiles(side: int) -> Iterator[np.ndarray]:
    """The tiles in the order of the file."""
    rng, count = np.random.default_rng(0), -(-side // TILE)
    noise = rng.normal(0, 0.05, (TILE, TILE)).astype(np.float32).round(3)
    for i in range(count):
        for j in range(count):
            y, x = np.mgrid[i * TILE : (i + 1) * TILE, j * TILE : (j + 1) * TILE].astype(np.float32)
            yield np.where(inside(side, y, x), (8 + 4 * x / side).round(2) + noise, -9999).astype(np.float32)


def write_mosaic(path: Path, side: int, compression: str | None) -> None:
    """Writes the mosaic without holding it."""
    tifffile.imwrite(
        path,
        tiles(side),
        shape=(side, side),
        dtype=np.float32,
        tile=(TILE, TILE),
        compression=compression,
        extratags=[(42113, "s", 0, "-9999", True)],
    )


def boxes_in(side: int, count: int) -> np.ndarray:
    """Boxes of birds anywhere that was flown."""
    corners = np.random.default_rng(1).uniform(0.1 * side, 0.9 * side, (8 * count, 2)).round()
    corners = corners[inside(side, corners[:, 1], corners[:, 0], edge=2 * BIRD)][:count]
    return np.column_stack([corners, np.full((len(corners), 2), BIRD)])


class Cut(NamedTuple):
    """What one way took in a process of its own, and the sum of its pixels."""

    seconds: float
    megabytes: float
    total: float


def cut(path: Path, side: int, count: int, way: str) -> Cut:
    """Cuts the crops one way."""
    chosen = CropOptions(normalisation=WAYS[way])
    with PeakMemory() as memory, Stopwatch() as watch:
        if way == "whole file":
            stored = tifffile.imread(path)
            frame = Frame(np.where(stored == -9999, np.float32(np.nan), stored), "degC")
        else:
            frame = read_frame(path)
        patches, _ = cut_frame(frame, boxes_in(side, count), chosen, str(path))
    return Cut(watch.seconds, memory.added, float(patches.sum(dtype=np.float64)))


def rows(layout: str, path: Path, args: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """A row per way for one file."""
    works = {way: partial(own_process, cut, path, args.side, args.crops, way) for way in WAYS}
    results = in_turn(works, args.repeats, warm=0)
    for way, cuts in results.items():
        same = {each.total for each in cuts} == {each.total for each in results["whole file"]}
        times, memory = ([each[part] for each in cuts] for part in (0, 1))
        size = f"{path.stat().st_size / 1e9:.2f}"
        yield layout, size, way, spread(times, 1), f"{max(memory):,.0f}", "yes" if same else "NO"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--side", type=int, default=5000, help="px of the mosaic")
    parser.add_argument("--crops", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    with Result(__file__, "Crops from an orthomosaic", PACKAGES, args) as result:
        result.text(
            f"{args.side} x {args.side} px of float32 ({4 * args.side**2 / 1e9:.2f} GB) in tiles of {TILE} px, with "
            f"declared no-data around; {args.crops} crops of 32 px. Memory is the largest peak above what the fresh "
            "process held before reading."
        )
        heads = ("layout", "file, GB", "way", "seconds", "added memory, MB", "same pixels")
        for layout, compression in LAYOUTS.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "mosaic.tif"
                write_mosaic(path, args.side, compression)
                result.table(heads, rows(layout, path, args), texts=3)


if __name__ == "__main__":
    main()
