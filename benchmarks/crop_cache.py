"""Crops per second out of the cache against opening the frame for every crop, and memory against the number of frames.

    python benchmarks/crop_cache.py                                       # small; nothing is written
    python benchmarks/crop_cache.py --frames 100 --repeats 9 --save

Both ways read to the same normalised float32 tensor, without augmentation, on one thread. The repeats of the two ways
alternate in the same process; the numbers are medians. Memory is measured in a fresh process for each number of frames.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
import torch
from PIL import Image

from dml_lightning.data import stores
from dml_lightning.data.cache import CachedCrops, build_cache
from dml_lightning.data.cache_folders import cache_bytes
from dml_lightning.data.crops import CropOptions, cut_frame, to_images
from dml_lightning.data.frames import read_frame
from dml_lightning.data.loaders import CropDataset
from dml_lightning.data.normalisation import centre_crop
from measure import Result, Stopwatch, in_turn, options, own_process, ratios, resident, seconds, spread

OPTIONS = CropOptions()
BOXES, WIDTH, HEIGHT = 20, 640, 512  # boxes in a frame, px
BATCH = 128
SUFFIXES = (".png", ".tiff", ".jpg")
PACKAGES = ("torch", "numpy", "pillow", "tifffile", "imagecodecs")


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


def compare(folder: Path, suffix: str, frames: int, repeats: int) -> tuple[str, ...]:
    """A row: crops per second both ways, and what the cache takes."""
    folder.mkdir()
    table = write_frames(folder, frames, suffix)
    with Stopwatch() as build:
        cache = build_cache(table, OPTIONS, folder / "cache")
    store = CachedCrops(cache)
    crops = CropDataset(store, np.arange(len(table)), np.zeros(len(table), np.int64), OPTIONS)
    rng = np.random.default_rng(0)
    same = torch.equal(crops.__getitems__(range(64)).images, open_each(table, np.arange(64)))

    def slow() -> float:
        few = rng.permutation(len(table))[:64]
        return seconds(lambda: open_each(table, few)) / len(few)

    def fast() -> float:
        order = rng.permutation(len(table))[: len(table) // BATCH * BATCH].reshape(-1, BATCH)
        return seconds(lambda: [crops.__getitems__(batch) for batch in order]) / order.size

    times = in_turn({"opened": slow, "cache": fast}, repeats)
    rates = [f"{1 / np.median(times[way]):,.0f}" for way in ("opened", "cache")]
    size = cache_bytes(store.folder) / 1e6
    faster = spread(ratios(times["opened"], times["cache"]), 0)
    return suffix[1:], *rates, faster, f"{build.seconds / frames * 1e3:.1f}", f"{size:.0f}", "yes" if same else "NO"


def measure_memory(table_file: Path, folder: Path) -> dict[str, float]:
    """Builds and reads a cache; by how much the memory of this process grew at most, in MB."""
    table = pd.read_csv(table_file)
    open_each(table, np.arange(2))  # load what reading a frame needs
    fields = ("RssAnon", "RssFile")  # its own, and the pages of mapped files that it holds
    start = {name: resident(name) for name in fields}
    most = dict.fromkeys((*fields, "build"), 0.0)

    def look(*keys: str) -> None:
        grown = {name: resident(name) - start[name] for name in fields}
        for key, value in (grown | dict.fromkeys(keys, sum(grown.values()))).items():
            most[key] = max(most[key], value)

    def read_and_look(*where: Any) -> Any:
        look("build")
        return read_frame(*where)

    stores.read_frame = read_and_look  # type: ignore[attr-defined]
    store = CachedCrops(build_cache(table, OPTIONS, folder))
    crops = CropDataset(store, np.arange(len(table)), np.zeros(len(table), np.int64), OPTIONS)
    order = np.random.default_rng(0).permutation(len(table))
    for begin in range(0, len(order), BATCH):
        crops.__getitems__(order[begin : begin + BATCH])
        look()
    return most | {"cache": cache_bytes(store.folder) / 1e6}


def memory_row(folder: Path, frames: int) -> tuple[str, ...]:
    """Growth of memory for one number of frames."""
    folder.mkdir()
    write_frames(folder, frames, ".png").to_csv(folder / "table.csv", index=False)
    most = own_process(measure_memory, folder / "table.csv", folder / "cache")
    shown = (most[name] for name in ("build", "RssAnon", "RssFile"))
    return str(frames), f"{most['cache']:.0f}", *(f"{value:.1f}" for value in shown)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with Result(__file__, "Crop cache", PACKAGES, args) as result, tempfile.TemporaryDirectory() as work:
        result.text(
            f"Frames of {WIDTH}x{HEIGHT} px with {BOXES} boxes, PNG and TIFF of 16 bit, JPEG of 8 bit; {args.frames} "
            f"frames per format; crops of {OPTIONS.crop_size} px read to a normalised tensor in batches of {BATCH}, "
            f"augmentation excluded. Medians of {args.repeats} repeats taken in turn; in brackets the smallest and "
            "largest ratio."
        )
        heads = ("crops/s, frame opened for every crop", "crops/s, cache", "times as fast", "building, ms/frame")
        result.table(
            ("format", *heads, "cache, MB", "same tensors"),
            (compare(Path(work, suffix[1:]), suffix, args.frames, args.repeats) for suffix in SUFFIXES),
        )
        result.text(
            "Growth of memory while a cache is built from 16-bit PNG and read once in random order, in a fresh "
            "process, in MB. Pages of the mapped file belong to the system's file cache and are given back when "
            "memory is short."
        )
        result.table(
            ("frames", "cache", "most while building", "most of its own", "mapped pages of the file"),
            (memory_row(Path(work, f"memory{n}"), n) for n in (args.frames, 4 * args.frames, 16 * args.frames)),
            texts=0,
        )


if __name__ == "__main__":
    main()
