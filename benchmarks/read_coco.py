"""Time and memory to read a COCO JSON into a checked crop table, beside `json.load` of the same file.

    python benchmarks/read_coco.py                                       # small; nothing is written
    python benchmarks/read_coco.py --boxes 1000000 --repeats 3 --save

Both are timed in turn in one process, by processor seconds. Each peak is what a fresh process adds to its resident
memory; what is kept is what Python, NumPy and Arrow (texts) have allocated when the reading is done, per box.
"""

import gc
import json
import shutil
import statistics
import tempfile
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
from PIL import Image

from dml_lightning.data.sources import CocoJson
from dml_lightning.data.sources.base import Reading
from measure import PeakMemory, Result, Stopwatch, in_turn, options, own_process, ratios, spread

PACKAGES = ("numpy", "pandas", "pyarrow")
IN_FRAME, WIDTH, HEIGHT = 100, 640, 512  # boxes in a frame, px
FILE = "annotations.json"


def write_set(folder: Path, boxes: int) -> None:
    """Black frames and a file with boxes of three classes inside of them, in the order of the frames."""
    rng, names = np.random.default_rng(0), [f"{number:06}.png" for number in range(-(-boxes // IN_FRAME))]
    Image.new("L", (WIDTH, HEIGHT)).save(folder / names[0])
    for name in names[1:]:
        shutil.copyfile(folder / names[0], folder / name)
    corners, sides = rng.uniform(0, (WIDTH - 25, HEIGHT - 25), (boxes, 2)), rng.uniform(5, 25, (boxes, 2))
    rows = np.concatenate([corners, sides], axis=1).round(2).tolist()
    content = {
        "images": [{"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for n, name in enumerate(names)],
        "annotations": [
            {
                "id": n,
                "image_id": n // IN_FRAME,
                "category_id": n % 3,
                "bbox": row,
                "area": row[2] * row[3],
                "iscrowd": 0,
            }
            for n, row in enumerate(rows)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(("gadwall", "mallard", "teal"))],
    }
    (folder / FILE).write_text(json.dumps(content))


def parse(folder: Path) -> object:
    with (folder / FILE).open() as file:
        return json.load(file)


def read(folder: Path) -> Reading:
    return CocoJson(folder).read()


def cpu(work: Callable[[Path], object], folder: Path) -> float:
    """Processor seconds of one call."""
    with Stopwatch() as watch:
        work(folder)
    return watch.cpu


def peak(work: Callable[[Path], object], folder: Path) -> float:
    """MB that one call adds at its peak."""
    with PeakMemory() as memory:
        work(folder)
    return memory.added


def kept(folder: Path) -> float:
    """Bytes per box that are allocated once a set is read."""
    tracemalloc.start()
    reading = read(folder)
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] + pyarrow.total_allocated_bytes()) / len(reading.table)


def main() -> None:
    """Prints the table; `--save` writes it."""
    parser = options(__doc__)
    parser.add_argument("--boxes", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    works: dict[str, Callable[[Path], object]] = {"json.load": parse, "read and check": read}
    with (
        Result(__file__, "A COCO JSON beside json.load", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as at,
    ):
        folder = Path(at)
        write_set(folder, args.boxes)
        size = (folder / FILE).stat().st_size / 1e6
        result.text(f"{args.boxes:,} boxes, {IN_FRAME} in a frame, {size:.0f} MB; medians over {args.repeats} repeats.")
        taken = in_turn({name: partial(cpu, work, folder) for name, work in works.items()}, args.repeats, warm=0)
        peaks = {name: own_process(peak, work, folder) for name, work in works.items()}
        base = peaks["json.load"]
        result.table(
            ("", "cpu s", "by json.load", "peak, MB", "by json.load", "kept, B a box"),
            (
                (
                    name,
                    f"{statistics.median(seconds):.2f}",
                    spread(ratios(seconds, taken["json.load"])),
                    f"{peaks[name]:.0f}",
                    f"{peaks[name] / base:.2f}",
                    f"{own_process(kept, folder):.0f}" if name != "json.load" else "",
                )
                for name, seconds in taken.items()
            ),
        )


if __name__ == "__main__":
    main()
