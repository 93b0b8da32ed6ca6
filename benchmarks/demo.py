"""Wall seconds of the demo, `make demo` without its installation, beside an older checkout.

    python benchmarks/demo.py                                                          # in two short epochs
    python benchmarks/demo.py --older OTHER_CHECKOUT --older-threads 1 2 --whole --save

Each checkout simulates its flights and compares the arms of its own configs/experiment/demo.yaml, in turn. PyTorch
takes as many threads as are stated: one is this project's default, and version 0.1 left it to PyTorch, which takes one
for each core.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from measure import ROOT, THREADS, Result, in_turn, options, ratios, run_checkout, spread

PACKAGES = ("lightning", "timm")
SIZES = {False: ["--flights=6", "--frames=6"], True: ["--flights=24", "--frames=20"]}  # as in the Makefile
SHORT = ["--trainer.max_epochs=2", "--data.batches_per_epoch=10"]


def demo(checkout: Path, threads: int, whole: bool) -> float:
    """Wall seconds of one demo."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    plan = yaml.safe_load((checkout / "configs" / "experiment" / "demo.yaml").read_text())
    plan["shared"] = [str(checkout / each) for each in plan["shared"]]
    for arm in plan["arms"].values():
        arm["configs"] = [str(checkout / each) for each in arm["configs"]]
    with tempfile.TemporaryDirectory() as work:
        flights, file = f"{work}/flights", Path(work, "demo.yaml")
        plan["overrides"] = [f"--data.source.init_args.root={flights}", *([] if whole else SHORT)]
        file.write_text(json.dumps(plan))
        began = time.perf_counter()
        run_checkout(checkout, "-m", "dml_lightning", "simulate", f"--out={flights}", *SIZES[whole])
        run_checkout(checkout, "-m", "dml_lightning", "compare", f"--config={file}", f"--out={work}/runs")
        return time.perf_counter() - began


def main() -> None:
    """Prints the table; `--save` writes it."""
    parser = options(__doc__)
    parser.add_argument("--older", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--older-threads", type=int, nargs="+", default=[1], help="of it, in turn (default 1)")
    parser.add_argument("--whole", action="store_true", help="the shipped number of steps and flights; else few")
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    works: dict[str, Callable[[], float]] = {"this checkout": partial(demo, ROOT, 1, args.whole)}
    for threads in args.older_threads if args.older else ():
        row = f"older checkout, threads of PyTorch: {threads}"
        works[row] = partial(demo, args.older.resolve(), threads, args.whole)
    with Result(__file__, "The demo", PACKAGES, args) as result:
        taken = in_turn(works, args.repeats, warm=0)
        result.text(f"Medians of {args.repeats} taken in turn, in brackets the range.")
        own = taken["this checkout"]
        rows = ([name, spread(wall, 0), spread(ratios(own, wall))] for name, wall in taken.items())
        result.table(("", "wall s", "time of this checkout by its"), rows)


if __name__ == "__main__":
    main()
