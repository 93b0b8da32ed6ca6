"""How time and memory grow with crops, classes and runs: measured at two sizes, fitted, and extended to larger ones.

    python benchmarks/scale.py                                   # tables of 10,000 and 50,000 crops; nothing is written
    python benchmarks/scale.py --crops 100000 1000000 --save     # about five processor minutes

Every measurement runs in a process of its own, once, after a small one that warms the libraries up: processor seconds,
and the peak of memory above what stood before. What is plain in a table was measured; what is *slanted* follows from
the larger measurement by the power of n between the two. Traffic between ranks is in traffic.py.
"""

import argparse
import ctypes
import gc
import io
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow
import torch
from crop_cache import write_frames
from PIL import Image
from pytorch_metric_learning.losses import ProxyAnchorLoss
from torch import Tensor, nn

from dml_lightning.compare.experiment import Arm, Experiment
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.table import render_table, run_table
from dml_lightning.data.cache import build_cache, cache_key
from dml_lightning.data.crops import CropOptions, by_frame, crop_batches
from dml_lightning.data.samplers import PKBatchSampler, ShardBatchSampler, ShuffledBatchSampler
from dml_lightning.data.sources import CsvTable, Reading
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.data.splits import build_table
from dml_lightning.data.table import table_digest
from dml_lightning.flights.confusion import Confusion
from dml_lightning.losses import CrossEntropyLoss, PMLLoss
from dml_lightning.metrics.distances import anchor_distances
from dml_lightning.metrics.retrieval import retrieval_summary
from dml_lightning.metrics.verification import fnmr_at_fmr
from dml_lightning.models import Encoder
from dml_lightning.openset import PrototypeDetector
from dml_lightning.stats.arms import compare_arms
from dml_lightning.stats.planning import plan
from dml_lightning.stats.results import COLUMNS, Question
from measure import PeakMemory, Result, Stopwatch, options, own_process, resident

PACKAGES = ("numpy", "pandas", "pyarrow", "pytorch-metric-learning")
BOXES, FLIGHTS, SPECIES, DIM = 100, 40, 8, 64  # boxes in a frame
BATCH, STEPS = 128, 20
PRELOAD = (
    "dml_lightning.losses",
    "dml_lightning.models",
    "dml_lightning.compare.table",
    "dml_lightning.data.datamodule",
    "dml_lightning.flights.confusion",
    "timm",
    "tifffile",
)
Prepare = Callable[[int, Path], Callable[[], object]]


class Cost(NamedTuple):
    """What one call took."""

    seconds: float  # of the processor
    peak: float  # MB above what stood before


def cost(group: str, name: str, size: int, work: Path) -> Cost:
    """Cost of one call at a size."""
    prepare = GROUPS[group][name][0]
    prepare(GROUPS[group][name][1], work)()
    call = prepare(size, work)
    give_back()
    with PeakMemory() as memory, Stopwatch() as watch:
        call()
    return Cost(watch.cpu, memory.added)


def give_back() -> None:
    """Returns free memory to the system, or what is measured would begin by using it."""
    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)


# Crops -------------------------------------------------------------------------------------------


def crop_rows(size: int) -> pd.DataFrame:
    """Boxes of a reader: frames of 40 flights, and species of 20 letters as they are named."""
    draws = np.random.default_rng(0)
    number = np.arange(size) // BOXES
    names = [f"anas_platyrhynchos_{each}" for each in range(SPECIES)]
    flights = [f"2024-03-{each:02d}_reservoir" for each in range(FLIGHTS)]
    frames = [f"/data/survey/{flights[each % FLIGHTS]}/DJI_{each:08d}_T.tif" for each in range(number[-1] + 1)]
    columns: dict[str, Any] = {"frame": pd.Series(frames, dtype="str").take(number).to_numpy(object)}
    columns |= {name: draws.uniform(5, 400, size) for name in ("x", "y", "width", "height")}
    columns |= {"label": np.array(names, object)[draws.integers(SPECIES, size=size)]}
    columns |= {"group": np.array(flights, object)[number % FLIGHTS]}
    return pd.DataFrame(columns).astype(dict.fromkeys(("frame", "label", "group"), "str"))


def read_reading(size: int) -> Reading:
    rows = crop_rows(size)
    return Reading(rows, rows[["frame", "group"]].drop_duplicates(ignore_index=True), ReadReport())


def reading(size: int, work: Path) -> Callable[[], object]:
    """A CSV of boxes on frames of which only the header is read."""
    folder = work / f"read{size}"
    if not folder.exists():
        rows = crop_rows(size)
        rows["frame"] = rows["frame"].str.removeprefix("/data/survey/")
        stream = io.BytesIO()
        Image.new("L", (1024, 1024)).save(stream, "png")
        for number, frame in enumerate(rows["frame"].unique()):
            path = folder / frame
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stream.getvalue() + b"%d" % number)  # a PNG by its content
        rows.round(2).drop(columns="group").to_csv(folder / "boxes.csv", index=False)
    return CsvTable(folder, "boxes.csv").read


def table(size: int, work: Path) -> Callable[[], object]:
    return partial(build_table, read_reading(size))


def digests(size: int, work: Path) -> Callable[[], object]:
    rows = build_table(read_reading(size))
    return lambda: (table_digest(rows), cache_key(rows, CropOptions()), list(by_frame(rows)))


def framed(size: int, work: Path) -> pd.DataFrame:
    """Boxes on frames with pixels, 20 in each."""
    folder = work / f"frames{size}"
    if not folder.exists():
        folder.mkdir()
        write_frames(folder, size // 20, ".tiff").to_csv(folder / "table.csv", index=False)
    return pd.read_csv(folder / "table.csv")


def cache(size: int, work: Path) -> Callable[[], object]:
    return partial(build_cache, framed(size, work), CropOptions(), work / f"cache{size}")


def pk_plan(size: int, work: Path, classes: int = SPECIES) -> Callable[[], object]:
    names = np.array([f"anas_platyrhynchos_{each}" for each in range(classes)])
    labels = np.random.default_rng(0).integers(classes, size=size)
    return lambda: sum(1 for _ in PKBatchSampler(names[labels], 8, 16))


def shuffled_plan(size: int, work: Path) -> Callable[[], object]:
    return lambda: sum(1 for _ in ShuffledBatchSampler(size, BATCH))


def shards(size: int, work: Path) -> Callable[[], object]:
    return lambda: ShardBatchSampler(size, 512)


def vectors(size: int, classes: int = SPECIES) -> tuple[Tensor, Tensor]:
    """Unit vectors (N, D) around their classes, and labels (N,)."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(size) % classes
    centres = torch.randn(classes, DIM, generator=draws)
    return nn.functional.normalize(centres[labels] + torch.randn(size, DIM, generator=draws), dim=1), labels


def retrieval(size: int, work: Path) -> Callable[[], object]:
    return partial(retrieval_summary, *vectors(size))


def distances(size: int, work: Path) -> Callable[[], object]:
    return partial(anchor_distances, *vectors(size))


def verification(size: int, work: Path) -> Callable[[], object]:
    return partial(fnmr_at_fmr, *vectors(size))


def predict(size: int, work: Path) -> Callable[[], object]:
    rows = framed(size, work)
    encoder = Encoder("resnet10t_narrow", DIM).eval()

    def embed() -> Tensor:
        with torch.inference_mode():
            return torch.cat([encoder(batch.images) for batch in crop_batches(rows, CropOptions())])

    return embed


# Classes -----------------------------------------------------------------------------------------


def plan_of_classes(size: int, work: Path) -> Callable[[], object]:
    return pk_plan(100_000, work, size)


def softmax_head(size: int, work: Path) -> Callable[[], object]:
    rows, labels = vectors(BATCH, size)
    head, loss = nn.Linear(DIM, size), CrossEntropyLoss()
    return lambda: [loss(head(rows), labels).loss.backward() for _ in range(STEPS)]


def proxies(size: int, work: Path) -> Callable[[], object]:
    rows, labels = vectors(BATCH, size)
    loss = PMLLoss(ProxyAnchorLoss(size, DIM))
    return lambda: [loss(rows.requires_grad_(), labels).loss.backward() for _ in range(STEPS)]


def prototypes(size: int, work: Path) -> Callable[[], object]:
    return partial(PrototypeDetector().fit, *vectors(20 * size, size))


def confusion(size: int, work: Path) -> Callable[[], object]:
    names = [str(each) for each in range(size)]

    def shares() -> object:
        counts = np.ones((4, size + 1, size + 1))
        return Confusion([*names, "other"], [*names, "unknown"], counts, list("abcd")).shares

    return shares


# Runs --------------------------------------------------------------------------------------------


def planned_jobs(size: int, work: Path) -> Callable[[], object]:
    arms = {name: Arm(["configs/base.yaml"]) for name in ("softmax", "triplet")}
    rest: dict[str, Any] = {"shared": [], "train_per_class": [None], "search": None, "overrides": [], "out": "runs"}
    seeds = list(range(size // 2))
    experiment = Experiment("e", **rest, arms=arms, primary="map_at_r", baseline="softmax", unit="seed", seeds=seeds,
                            folds=[0], fold_by="groups")  # fmt: skip
    return lambda: list(experiment.jobs({}))


def outcomes(size: int, work: Path) -> list[Outcome]:
    """Tested runs of two arms, with the numbers that tables show."""
    draws, found = np.random.default_rng(0), []
    for number in range(size):
        run = work / f"runs{size}" / str(number)
        path = run / "metrics" / "test.json"
        if not path.exists():
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({f"test/{name}": draws.random() for name in COLUMNS}))
        found.append(Outcome(Job(("softmax", "triplet")[number % 2], number // 2, 0, ()), run))
    return found


def tabulated(size: int, work: Path) -> Callable[[], object]:
    finished, question = outcomes(size, work), Question("map_at_r", "softmax")
    return lambda: render_table(run_table(finished), question)


def tested(size: int, work: Path) -> Callable[[], object]:
    return partial(compare_arms, run_table(outcomes(size, work)), Question("map_at_r", "softmax"))


def units(size: int, work: Path) -> Callable[[], object]:
    return partial(plan, np.random.default_rng(0).normal(0.02, 0.03, size // 2), 0.02)


# Name, how it is made ready, size of the warm-up, and sizes to measure; none for those of the option --crops.
GROUPS: dict[str, dict[str, tuple[Prepare, int, tuple[int, ...]]]] = {
    "crops": {
        "reading a CSV": (reading, 5_000, ()),
        "roles and splits": (table, 5_000, ()),
        "digests, rows by frame": (digests, 5_000, ()),
        "plan of an epoch, P × K": (pk_plan, 1_000, ()),
        "plan of an epoch, shuffled": (shuffled_plan, 1_000, ()),
        "shards of an evaluation": (shards, 1_000, ()),
        "building the crop cache": (cache, 100, (2_000, 8_000)),
        "cutting and embedding, as `dml predict`": (predict, 100, (2_000, 8_000)),
        "retrieval": (retrieval, 1_000, (10_000, 20_000)),
        "distances": (distances, 1_000, (10_000, 20_000)),
        "verification": (verification, 1_000, (10_000, 20_000)),
    },
    "classes": {
        "plan of an epoch, 100,000 crops": (plan_of_classes, 10, (1_000, 10_000)),
        "softmax head, 20 steps": (softmax_head, 10, (1_000, 10_000)),
        "proxies, 20 steps": (proxies, 10, (1_000, 10_000)),
        "prototypes and radii, 20 crops each": (prototypes, 10, (1_000, 2_000)),
        "confusion matrices, 4 flights": (confusion, 10, (1_000, 2_000)),
    },
    "runs": {
        "planning the jobs": (planned_jobs, 10, (100, 1_000)),
        "table": (tabulated, 10, (100, 1_000)),
        "test, Holm's correction, intervals": (tested, 10, (100, 1_000)),
        "number of units to plan for": (units, 10, (100, 1_000)),
    },
}
MEMORY_BY = {"building the crop cache": 0.36}  # power that crop_cache.py measured over 100, 400 and 1,600 frames
SIZES = {"crops": (10**5, 10**6, 10**7), "classes": (10, 100, 1_000, 10_000), "runs": (10, 100, 1_000)}
NOTES = {
    "crops": f"Tables have {BOXES} boxes in a frame, {FLIGHTS} flights and {SPECIES} species; evaluations {SPECIES} "
    f"classes and D = {DIM}, and count the crops of one set; crops are of 32 px, the net that of configs/base.yaml. "
    "The power of the cache's memory is that of crop_cache.md: few frames say little of it.",
    "classes": f"D = {DIM}, batches of {BATCH}.",
    "runs": "Two arms, as many seeds as the runs allow, all numbers of a test.",
}

# Tables ------------------------------------------------------------------------------------------


def rows(group: str, sizes: Sequence[int], crops: Sequence[int], work: Path) -> Iterator[tuple[str, ...]]:
    """A row for each work: powers of n, and its cost at the sizes."""
    for name, (_, _, own) in GROUPS[group].items():
        small, large = own or crops
        low, high = (own_process(cost, group, name, size, work, preload=PRELOAD) for size in (small, large))
        powers = [exponent(low, high, large / small, what) for what in SMALLEST]
        powers[1] = MEMORY_BY.get(name, powers[1])
        known = {small: low, large: high}
        cells = (cell(known.get(size), extended(high, large, size, powers)) for size in sizes)
        measured = f"{small:,}: {text(low)}", f"{large:,}: {text(high)}"
        yield name, *measured, *(f"{power:.2f}" for power in powers), *cells


def exponent(low: Cost, high: Cost, factor: float, what: str) -> float:
    """Power of n between two measurements; 1 for what is too small to be measured.

    >>> exponent(Cost(1, 0), Cost(100, 0), 10, "seconds")
    2.0
    """
    one, other = getattr(low, what), getattr(high, what)
    return max(0.0, math.log(other / one) / math.log(factor)) if min(one, other) > SMALLEST[what] else 1.0


SMALLEST = {"seconds": 1e-4, "peak": 1.0}  # s, MB


def extended(high: Cost, large: int, size: int, powers: Sequence[float]) -> Cost:
    """Cost at a size by the larger measurement and the powers."""
    seconds, peak = (
        value * (size / large) ** power for value, power in zip((high.seconds, high.peak), powers, strict=True)
    )
    return Cost(seconds, peak)


UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))


def cell(measured: Cost | None, otherwise: Cost) -> str:
    return f"*{text(otherwise)}*" if measured is None else text(measured)


def text(each: Cost) -> str:
    """Time and memory in units that suit them.

    >>> text(Cost(0.0123, 2048.0))
    '12 ms, 2.0 GB'
    """
    unit, name = next((pair for pair in UNITS if each.seconds >= 2 * pair[0]), UNITS[-1])
    value = each.seconds / unit
    time = f"{value:,.1f} {name}" if value < 10 else f"{value:,.0f} {name}"
    if each.peak < 1:
        return f"{time}, < 1 MB"
    memory = f"{each.peak:,.0f} MB" if each.peak < 1_000 else f"{each.peak / 1024:,.1f} GB"
    return f"{time}, {memory}"


def bytes_by_column(size: int) -> tuple[dict[str, float], float, float]:
    """Bytes of a row of the crop table in each column, and MB that the reader's table and it keep, with their peak."""
    before = resident("VmRSS")
    with PeakMemory() as memory:
        rows = build_table(whole := read_reading(size))
    used = rows.memory_usage(deep=True, index=False) / size
    give_back()
    kept = resident("VmRSS") - before
    del whole
    return used.to_dict(), kept, memory.added


def report(result: Result, args: argparse.Namespace, work: Path) -> None:
    """The tables of the groups that are asked for."""
    result.text(
        "Processor seconds of one call, and the peak of memory above what stood before; each in a process of its own. "
        "What is *slanted* is not measured: it follows from the larger measurement by the powers of n between the two "
        "(time, memory; 1 is taken where less than 1 MB or 0.1 ms was measured)."
    )
    for group in args.groups:
        result.text(f"## {group.capitalize()}", NOTES[group])
        sizes = SIZES[group]
        heads = ("measured", "measured", "power, time", "power, memory", *(f"{size:,}" for size in sizes))
        result.table(("", *heads), rows(group, sizes, args.crops, work), texts=3)
        if group == "crops":
            columns, kept, peak = own_process(bytes_by_column, args.crops[1], preload=PRELOAD)
            result.text(
                f"Bytes of a row of the crop table, by column, at {args.crops[1]:,} rows: "
                + ", ".join(f"{name} {value:.0f}" for name, value in columns.items())
                + f"; {sum(columns.values()):.0f} in all. The reader's table and the crop table, both kept, took "
                f"{kept:,.0f} MB, and {peak:,.0f} MB at the peak while they were made."
            )


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--crops", type=int, nargs=2, default=[10_000, 50_000], help="rows of the tables")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    args = parser.parse_args()
    with Result(__file__, "Scale: crops, classes, runs", PACKAGES, args) as result, tempfile.TemporaryDirectory() as at:
        report(result, args, Path(at))


if __name__ == "__main__":
    main()
