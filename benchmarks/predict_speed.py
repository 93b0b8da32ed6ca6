"""`dml predict` from frames on disk to the table, beside an older checkout and the bare forward of its encoder.

    python benchmarks/predict_speed.py                                               # 2,000 boxes; nothing is written
    python benchmarks/predict_speed.py --boxes 5000 --older OTHER_CHECKOUT --exported --repeats 5 --save
    python benchmarks/predict_speed.py --boxes 100000 --older OTHER_CHECKOUT --exported --repeats 1 --save

Each checkout predicts with a run of its own recipe, fitted for a few steps: which answers come does not matter here. It
runs in a process of its own that has predicted one frame before, so that its start is stated apart. The bare encoder
takes ready crops of noise, in batches of the command's size, as its run holds it and as the command uses it. With
--exported, the `score.py` of each checkout's export names the same boxes frame by frame, each frame read by tifffile.
All are called in turn; ratios are of processor seconds.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from crop_cache import BOXES, write_frames

from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.models.inference import folded
from dml_lightning.models.network import Network
from dml_lightning.simulate import simulate
from measure import ROOT, Result, Stopwatch, in_turn, options, processor_seconds, ratios, resident, run_checkout, spread

PACKAGES = ("numpy", "pandas", "timm", "tifffile", "imagecodecs", "onnxruntime")
CROP, BATCH = 48, 256  # px; the command's batch size
WORKER = """
import contextlib, io, json, sys, time

from dml_lightning.cli import main

for line in sys.stdin:
    run, table = json.loads(line)
    wall, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        main(["predict", "--run", run, "--data", table, "--out", table.replace(".csv", ".out.csv")])
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, time.process_time()]), flush=True)
"""
EXPORTED = """
import json, os, sys, time
from pathlib import Path

import pandas as pd
import tifffile

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # onnxruntime has a thread per core
for line in sys.stdin:
    folder, table = json.loads(line)
    wall, cpu = time.perf_counter(), time.process_time()
    sys.path.insert(0, folder)
    from score import Model

    model = Model(folder)
    for frame, boxes in pd.read_csv(table).groupby("frame"):
        pixels = tifffile.imread(Path(table).parent / frame)
        model.predict(model.cut(pixels, boxes[["x", "y", "width", "height"]].to_numpy()))
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, time.process_time()]), flush=True)
"""


class Took(NamedTuple):
    """One call."""

    wall: float
    cpu: float
    peak: float = float("nan")  # MB resident of its process, so far
    since_start: float = float("nan")  # processor seconds


class Command:
    """`dml predict` of one checkout, or the reader of its export, in a process of its own, which waits for tables.

    Args:
        checkout: Folder of its package.
        run: Folder of its run, or of its export.
        worker: Program of the process.
    """

    def __init__(self, checkout: Path, run: Path, worker: str = WORKER) -> None:
        self.run = run
        self.process = subprocess.Popen(
            [sys.executable, "-c", worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            cwd=run,  # the current folder comes first on the path of `python -c`
        )

    def predict(self, table: Path) -> Took:
        """Predicts the boxes of a table."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([str(self.run), str(table)]), file=self.process.stdin, flush=True)
        wall, cpu, since_start = json.loads(self.process.stdout.readline())
        return Took(wall, cpu, resident("VmHWM", self.process.pid), since_start)

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def fitted(checkout: Path, work: Path) -> Path:
    """A run of a few steps by the recipe of a checkout."""
    runs = Path(tempfile.mkdtemp(dir=work))
    configs = [f"--config={checkout}/configs/{name}.yaml" for name in ("base", "data/simulated", "model/triplet")]
    few = [f"--data.crop_size={CROP}", "--trainer.max_epochs=1", "--data.batches_per_epoch=10"]
    places = [f"--data.source.init_args.root={work}/flights", f"--data.cache_dir={runs}/cache", f"--runs_root={runs}"]
    args = (*configs, *few, *places, "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false")
    processor_seconds(checkout, "-m", "dml_lightning", "fit", *args)
    (recipe,) = runs.glob("*/*/recipe.fit.yaml")
    return recipe.parent


def exported(checkout: Path, run: Path) -> Path:
    """The folder of a run's export."""
    run_checkout(checkout, "-m", "dml_lightning", "export", f"--run={run}", f"--out={run}.export")
    return Path(f"{run}.export")


def write_tables(work: Path, boxes: int, suffix: str) -> dict[str, Path]:
    """Frames with boxes in a flight, and tables of the boxes of one frame, of a fifth of the frames and of all."""
    folder = work / "flight"
    folder.mkdir()
    frames = -(-boxes // BOXES)
    rows = write_frames(folder, frames, suffix)
    rows["frame"] = [Path(frame).name for frame in rows["frame"]]
    tables = {}
    for name, share in (("one", 1), ("fifth", -(-frames // 5)), ("all", frames)):
        tables[name] = folder / f"{name}.csv"
        rows[: share * BOXES].to_csv(tables[name], index=False)
    return tables


@torch.inference_mode()
def forward(module: Network, crops: torch.Tensor, count: int) -> Took:
    """Embeds the same batch of crops until there are `count`."""
    with Stopwatch() as watch:
        for start in range(0, count, BATCH):
            module.encoder(crops[: count - start])
    return Took(watch.seconds, watch.cpu)


def works(commands: dict[str, Command], tables: dict[str, Path], count: int) -> dict[str, Callable[[], Took]]:
    """What is called in turn, by its name in the table."""
    module = TrainedRun.load(commands["this checkout"].run).module
    crops = torch.randn(BATCH, 1, CROP, CROP, generator=torch.Generator().manual_seed(0))
    bare = {"bare encoder": module, "bare encoder, as the command uses it": folded(module, CROP)}
    return {
        **{name: partial(command.predict, tables["all"]) for name, command in commands.items()},
        **{name: partial(forward, each, crops, count) for name, each in bare.items()},
    }


def rows(
    commands: dict[str, Command], tables: dict[str, Path], args: argparse.Namespace
) -> Iterator[tuple[object, ...]]:
    """A line of the table for each work; peaks are of a fifth of the boxes and then of all."""
    start = {name: command.predict(tables["one"]).since_start for name, command in commands.items()}
    before = {name: command.predict(tables["fifth"]).peak for name, command in commands.items()}
    taken = in_turn(works(commands, tables, args.boxes), args.repeats, warm=0)
    ours = [each.cpu for each in taken["this checkout"]]
    for name, each in taken.items():
        cpu, wall = ([getattr(one, key) for one in each] for key in ("cpu", "wall"))
        own = (f"{start[name]:.1f}", f"{before[name]:.0f}", f"{each[-1].peak:.0f}") if name in commands else ("",) * 3
        rate = f"{args.boxes / statistics.median(cpu):,.0f}"
        yield name, spread(cpu), spread(wall), rate, spread(ratios(cpu, ours)), *own


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--boxes", type=int, default=2_000)
    parser.add_argument("--suffix", choices=(".tiff", ".png", ".jpg"), default=".tiff", help="of the frames")
    parser.add_argument("--older", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--exported", action="store_true", help="time exports, too; frames are then .tiff")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    heads = ("processor s", "wall s", "crops by processor s", "its time by ours", "start, processor s")
    peaks = ("peak MB, a fifth of the boxes", "peak MB, all")
    with (
        Result(__file__, "dml predict beside its encoder", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as running,
    ):
        work = Path(folder)
        result.text(
            f"{args.boxes:,} boxes, {BOXES} in a frame of 640x512 px ({args.suffix[1:]}, 16 bit); crops of {CROP} px, "
            f"batches of {BATCH}. Medians of {args.repeats} taken in turn, in brackets the range."
        )
        simulate(work / "flights", flights=12, frames=6, workers=1, progress=False)
        tables = write_tables(work, args.boxes, args.suffix)
        checkouts = {"this checkout": ROOT} | ({"older checkout": args.older.resolve()} if args.older else {})
        commands = {}
        for name, each in checkouts.items():
            run = fitted(each, work)
            commands[name] = running.enter_context(Command(each, run))
            if args.exported:
                export = Command(each, exported(each, run), EXPORTED)
                commands[f"score.py of {name}"] = running.enter_context(export)
        result.table(("", *heads, *peaks), rows(commands, tables, args))


if __name__ == "__main__":
    main()
