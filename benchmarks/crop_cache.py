"""Crops per second out of the cache against opening the frame for every crop, and memory against the number of frames.

    python benchmarks/crop_cache.py -o benchmarks/results/crop_cache.md

Both ways read to the same normalised float32 tensor, without augmentation, on one thread. The repeats of the two ways
alternate in the same process; the numbers are medians. Memory is measured in a fresh process for each number of frames.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import torch
from PIL import Image

from dml_lightning.data.cache import CachedCrops, build_cache, cache_bytes
from dml_lightning.data.crops import CropOptions, cut_frame, to_images
from dml_lightning.data.frames import read_frame
from dml_lightning.data.loaders import Crops
from dml_lightning.data.normalisation import centre_crop

OPTIONS = CropOptions()
BOXES, WIDTH, HEIGHT = 20, 640, 512  # boxes in a frame, px
BATCH = 128


def write_frames(folder: Path, count: int, suffix: str) -> pd.DataFrame:
    """Frames at about 8.5 degC in centikelvin with noise of 5 counts and 20 birds each; their crop table."""
    rng = np.random.default_rng(0)
    x = np.arange(WIDTH)
    rows = []
    for number in range(count):
        counts = 28165 + 60 * np.sin(x / 200 + number) + rng.normal(0, 5, (HEIGHT, WIDTH))
        path = folder / f"{number:05}{suffix}"
        for _ in range(BOXES):
            width, height = rng.uniform(5, 25, 2)
            left, top = rng.uniform(0, WIDTH - width), rng.uniform(0, HEIGHT - height)
            body = np.s_[int(top) : int(top + height), int(left) : int(left + width)]
            counts[body] += 450
            rows.append((str(path), left, top, width, height))
        write(path, counts)
    return pd.DataFrame(rows, columns=["frame", "x", "y", "width", "height"])


def write(path: Path, counts: np.ndarray) -> None:
    if path.suffix == ".jpg":
        low, high = counts.min(), counts.max()
        Image.fromarray((255 * (counts - low) / (high - low)).astype(np.uint8)).save(path, quality=90)
    elif path.suffix == ".png":
        Image.fromarray(counts.round().astype(np.uint16)).save(path)
    else:
        tifffile.imwrite(path, counts.round().astype(np.uint16))


def open_each(table: pd.DataFrame, rows: np.ndarray) -> torch.Tensor:
    """What a data set without a cache does: open the frame, cut the one crop, normalise it."""
    images = []
    boxes = table[["x", "y", "width", "height"]].to_numpy()
    for row in rows:
        path = table["frame"].iat[row]
        patches, statistics = cut_frame(read_frame(path), boxes[row : row + 1], OPTIONS, path)
        images.append(centre_crop(to_images(patches, statistics, OPTIONS), OPTIONS.crop_size))
    return torch.cat(images)


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compare(folder: Path, suffix: str, frames: int, repeats: int) -> str:
    folder.mkdir()
    table = write_frames(folder, frames, suffix)
    build = seconds(lambda: build_cache(table, OPTIONS, folder / "cache"))
    store = CachedCrops(build_cache(table, OPTIONS, folder / "cache"))
    crops = Crops(store, np.arange(len(table)), np.zeros(len(table), np.int64), OPTIONS)
    rng = np.random.default_rng(0)
    same = torch.equal(crops.__getitems__(range(64)).images, open_each(table, np.arange(64)))
    slow, fast = [], []
    for _ in range(repeats):
        few = rng.permutation(len(table))[:64]
        slow.append(seconds(lambda few=few: open_each(table, few)) / len(few))
        order = rng.permutation(len(table))[: len(table) // BATCH * BATCH].reshape(-1, BATCH)
        fast.append(seconds(lambda order=order: [crops.__getitems__(b) for b in order]) / order.size)
    one, other = np.median(slow), np.median(fast)
    size = cache_bytes(store.folder) / 1e6
    return (
        f"| {suffix[1:]} | {1 / one:,.0f} | {1 / other:,.0f} | {one / other:,.0f}x |"
        f" {min(slow) / max(fast):,.0f}x to {max(slow) / min(fast):,.0f}x | {build / frames * 1e3:.1f} |"
        f" {size:.0f} | {'yes' if same else 'NO'} |"
    )


def resident() -> dict[str, float]:
    """This process's own (anonymous) memory and the pages of mapped files that it holds, in MB."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


def measure_memory(table_file: str, folder: str) -> None:
    """Builds and reads a cache; prints by how much the memory of this process grew at most, in MB."""
    table = pd.read_csv(table_file)
    open_each(table, np.arange(2))  # load what reading a frame needs
    start, most = resident(), {"RssAnon": 0.0, "RssFile": 0.0, "build": 0.0}

    def look(key: str | None = None) -> None:
        now = resident()
        for name in ("RssAnon", "RssFile"):
            most[name] = max(most[name], now[name] - start[name])
        if key:
            most[key] = max(most[key], sum(now.values()) - sum(start.values()))

    from dml_lightning.data import stores

    original = stores.read_frame
    stores.read_frame = lambda *a: (look("build"), original(*a))[1]
    store = CachedCrops(build_cache(table, OPTIONS, Path(folder)))
    crops = Crops(store, np.arange(len(table)), np.zeros(len(table), np.int64), OPTIONS)
    order = np.random.default_rng(0).permutation(len(table))
    for begin in range(0, len(order), BATCH):
        crops.__getitems__(order[begin : begin + BATCH])
        look()
    print(json.dumps(most | {"cache": cache_bytes(store.folder) / 1e6}))


def memory_row(folder: Path, frames: int) -> str:
    folder.mkdir()
    write_frames(folder, frames, ".png").to_csv(folder / "table.csv", index=False)
    command = [sys.executable, __file__, "--memory", str(folder / "table.csv"), str(folder / "cache")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    most = json.loads(output.splitlines()[-1])
    return f"| {frames} | {most['cache']:.0f} | {most['build']:.1f} | {most['RssAnon']:.1f} | {most['RssFile']:.1f} |"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def report(frames: int, repeats: int) -> str:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        speed = [compare(root / s[1:], s, frames, repeats) for s in (".png", ".tiff", ".jpg")]
        memory = [memory_row(root / f"memory{n}", n) for n in (frames, 4 * frames, 16 * frames)]
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "numpy", "pillow", "tifffile", "imagecodecs"))
    return "\n".join(
        [
            "# Crop cache",
            "",
            f"Command: `python benchmarks/crop_cache.py --frames {frames} --repeats {repeats}`",
            f"Date {date.today()}; Python {platform.python_version()}, {packages}; {processor()}, one thread;"
            " the machine was shared with other work.",
            "",
            f"Frames of {WIDTH}x{HEIGHT} px with {BOXES} boxes, PNG and TIFF of 16 bit, JPEG of 8 bit; {frames}"
            f" frames per format; crops of {OPTIONS.crop_size} px read to a normalised tensor in batches of {BATCH},"
            f" augmentation excluded. Medians of {repeats} alternating repeats;"
            " the range is that of the worst and best pair.",
            "",
            "| format | crops/s, frame opened for every crop | crops/s, cache | ratio | range |"
            " building, ms/frame | cache, MB | same tensors |",
            "|---|---|---|---|---|---|---|---|",
            *speed,
            "",
            "Growth of memory while a cache is built from 16-bit PNG and read once in random order, in a fresh"
            " process, in MB. Pages of the mapped file belong to the system's file cache and are given back when"
            " memory is short.",
            "",
            "| frames | cache | most while building | most of its own | mapped pages of the file |",
            "|---|---|---|---|---|",
            *memory,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--memory", nargs=2, metavar=("TABLE", "FOLDER"), help="used by itself")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        measure_memory(*arguments.memory)
        return
    text = report(arguments.frames, arguments.repeats)
    print(text)
    if arguments.output:
        temporary = arguments.output.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(arguments.output)


if __name__ == "__main__":
    main()
