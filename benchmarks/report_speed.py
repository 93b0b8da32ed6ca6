"""Processor seconds of `dml report` of 24 runs, beside an older checkout, as a page and as tables.

    python benchmarks/report_speed.py                                                # 4 runs, few frames
    python benchmarks/report_speed.py --runs 24 --flights 24 --frames 20 --older OTHER_CHECKOUT --repeats 5 --save

Each checkout reports on runs of its own: it fits both arms of its recipes for a few steps and tests them; each of the
two runs is then copied under as many seeds, since what a report takes depends on its crops and not on its numbers. Each
report is written by a process of its own, in turn, so that its start counts.
"""

import hashlib
import json
import shutil
import tempfile
from functools import partial
from pathlib import Path

import yaml

from measure import ROOT, Result, in_turn, options, processor_seconds, ratios, run_checkout, spread

PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "plotly")
ARMS = ("softmax", "triplet")
ENDINGS = ("html", "md", "csv")


def tested(checkout: Path, work: Path, arm: str) -> Path:
    """A run of a few steps by the recipe of an arm of a checkout, tested."""
    runs = Path(tempfile.mkdtemp(dir=work))
    configs = [f"--config={checkout}/configs/{name}.yaml" for name in ("base", "data/simulated", f"model/{arm}")]
    few = ["--trainer.max_epochs=1", "--data.batches_per_epoch=10", "--trainer.accelerator=cpu"]
    places = [f"--data.source.init_args.root={work}/flights", f"--data.cache_dir={runs}/cache", f"--runs_root={runs}"]
    run_checkout(checkout, "-m", "dml_lightning", "fit", *configs, *few, *places)
    (recipe,) = runs.glob("*/*/recipe.fit.yaml")
    run_checkout(checkout, "-m", "dml_lightning", "test", f"--run={recipe.parent}")
    return recipe.parent


def copies(run: Path, arm: str, number: int, folder: Path) -> list[Path]:
    """Copies of a run under other seeds, with the digests that are theirs."""
    recipe = yaml.safe_load((run / "recipe.fit.yaml").read_text())
    made = []
    for seed in range(number):
        copy = folder / arm / f"s{seed}"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("wandb"))
        (copy / "recipe.fit.yaml").write_text(yaml.safe_dump(recipe | {"seed_everything": seed, "name": arm}))
        for digests in copy.glob("digests/*.json"):
            names = json.loads(digests.read_text())
            digests.write_text(json.dumps({n: hashlib.sha256((copy / n).read_bytes()).hexdigest() for n in names}))
        made.append(copy)
    return made


def report(checkout: Path, runs: list[Path], out: Path) -> float:
    """Processor seconds of a report.

    Raises:
        RuntimeError: None was written.
    """
    out.unlink(missing_ok=True)
    listed = ",".join(map(str, runs))
    taken = processor_seconds(checkout, "-m", "dml_lightning", "report", f"--runs=[{listed}]", f"--out={out}")
    if not out.is_file():
        raise RuntimeError(f"the report of {checkout} failed.")
    return taken


def main() -> None:
    """Prints the table; `--save` writes it."""
    parser = options(__doc__)
    parser.add_argument("--older", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--runs", type=int, default=4, help="half of each arm (default 4)")
    parser.add_argument("--flights", type=int, default=12, help="simulated (default 12)")
    parser.add_argument("--frames", type=int, default=6, help="of each flight (default 6)")
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    checkouts = {"this checkout": ROOT} | ({"older checkout": args.older.resolve()} if args.older else {})
    with (
        Result(__file__, f"dml report of {args.runs} runs", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as folder,
    ):
        work = Path(folder)
        flights = [f"--flights={args.flights}", f"--frames={args.frames}"]
        run_checkout(ROOT, "-m", "dml_lightning", "simulate", f"--out={work}/flights", *flights)
        works = {}
        for name, checkout in checkouts.items():
            own = work / name.replace(" ", "_")
            runs = [each for arm in ARMS for each in copies(tested(checkout, work, arm), arm, args.runs // 2, own)]
            works |= {(name, end): partial(report, checkout, runs, own / f"report.{end}") for end in ENDINGS}
        result.text(
            f"Two arms of {args.runs // 2} runs on {args.flights} simulated flights of {args.frames} frames. Medians "
            f"of {args.repeats} taken in turn, in brackets the range."
        )
        taken = in_turn(works, args.repeats, warm=0)
        result.table(
            ("", "format", "processor s", "its time by ours"),
            (
                (name, end, spread(values), spread(ratios(values, taken["this checkout", end])))
                for (name, end), values in taken.items()
            ),
            texts=2,
        )


if __name__ == "__main__":
    main()
