"""Crops from a large orthomosaic: by the tiles that they touch, beside reading the whole file.

    python benchmarks/orthomosaic.py --side 20000 -o benchmarks/results/orthomosaic.md

The mosaic is made here, in a temporary folder that is removed: `side` x `side` float32 in degC, noise on a gradient,
tiles of 256 px, outside of a tilted rectangle -9999 as declared no-data; written tile by tile. Each way runs in a fresh
process. Reading whole means tifffile's `imread` and the same cutting.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tifffile

from dml_lightning.data.crops import CropOptions, cut_frame
from dml_lightning.data.frames import Frame, read_frame

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


def measure(path: Path, side: int, count: int, way: str) -> dict[str, float]:
    """Seconds and peak memory of cutting the crops in this process, and the sum of their pixels."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    if way == "whole file":
        stored = tifffile.imread(path)
        frame = Frame(np.where(stored == -9999, np.float32(np.nan), stored), "degC")
    else:
        frame = read_frame(path)
    patches, statistics = cut_frame(frame, boxes_in(side, count), CropOptions(normalisation=WAYS[way]), str(path))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    own = {"seconds": seconds, "peak": peak / 1024, "grown": (peak - before) / 1024}
    return own | {"sum": float(patches.sum(dtype=np.float64)), "scale": float(statistics[0, 1])}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=5000)
    parser.add_argument("--crops", type=int, default=1000)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(Path(args.child[0]), args.side, args.crops, args.child[1])))
        return
    lines = [
        "# Crops from an orthomosaic",
        "",
        f"Command: `python benchmarks/orthomosaic.py --side {args.side} --crops {args.crops}`  ",
        f"Date {date.today()}; Python {platform.python_version()}, numpy {np.__version__},"
        f" tifffile {version('tifffile')}, imagecodecs {version('imagecodecs')}; {os.cpu_count()} cores, shared with"
        " other work.",
        "",
        f"{args.side} x {args.side} px of float32 ({4 * args.side**2 / 1e9:.2f} GB) in tiles of {TILE} px, with"
        f" declared no-data around; {args.crops} crops of 32 px. Peak memory is that of a fresh process with everything"
        " in it; in brackets what reading and cutting added.",
        "",
        "| layout | file, GB | way | seconds | peak memory, MB | same pixels |",
        "|---|---|---|---|---|---|",
    ]
    for layout, compression in LAYOUTS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mosaic.tif"
            write_mosaic(path, args.side, compression)
            results = {way: _in_child(path, args, way) for way in WAYS}
            for way, result in results.items():
                same = result["sum"] == results["whole file"]["sum"]
                lines.append(
                    f"| {layout} | {path.stat().st_size / 1e9:.2f} | {way} | {result['seconds']:.1f} |"
                    f" {result['peak']:.0f} (+{result['grown']:.0f}) | {'yes' if same else 'NO'} |"
                )
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)


def _in_child(path: Path, args: argparse.Namespace, way: str) -> dict[str, float]:
    sizes = ["--side", str(args.side), "--crops", str(args.crops)]
    command = [sys.executable, __file__, *sizes, "--child", str(path), way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
