"""What the evaluation callbacks cost, as a share of an epoch of the demo.

    python benchmarks/callback_cost.py                                   # two short epochs; nothing is written
    python benchmarks/callback_cost.py --flights 24 --frames 20 --epochs 8 --batches 190 --threads 2 --save

Fits the triplet arm on simulated flights under Lightning's own profiler. An epoch is training, validation and
everything else between two starts; the gather that the first callback triggers is counted as its own.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dml_lightning import callbacks
from dml_lightning.commands.train import TrainingCLI
from measure import Result, options
from short_runs import arguments, flights

PACKAGES = ("torch", "lightning")
Durations = dict[str, list[float]]  # seconds of every call, by profiled action


def fit(work: Path, args: argparse.Namespace) -> Durations:
    """Profiles a short fit."""
    flights(work, args.flights, args.frames)
    words = [
        "fit",
        *arguments(work, "triplet", args.epochs),
        f"--data.batches_per_epoch={args.batches}",
        "--trainer.profiler=simple",
    ]
    profiler = TrainingCLI(words).trainer.profiler  # type: ignore[attr-defined]
    durations: Durations = dict(profiler.recorded_durations)
    return durations


def spent(name: str, durations: Durations, epochs: int) -> float:
    """Seconds of one callback in an epoch."""
    total = 0.0
    for action, seconds in durations.items():
        if action.startswith(f"[Callback]{name}.") and "on_validation_end" not in action:
            # a step's hook does nothing most of the time; an epoch's last call is that of the best checkpoint
            total += sum(seconds) / epochs if "train_batch" in action else statistics.median(seconds)
    return total


def rows(durations: Durations, epochs: int) -> Iterator[tuple[str, str, str]]:
    """Each callback's milliseconds in an epoch and their share of it."""
    epoch = statistics.median(durations["run_training_epoch"])
    costs = {name: spent(name, durations, epochs) for name in callbacks.__all__}
    for name, cost in (costs | {"all": sum(costs.values())}).items():
        yield name, f"{1000 * cost:.1f}", f"{cost / epoch:.2%}"


def main() -> None:
    """Fits and reports."""
    parser = options(__doc__)
    parser.add_argument("--flights", type=int, default=8)
    parser.add_argument("--frames", type=int, default=10, help="per flight")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batches", type=int, default=60, help="per epoch")
    args = parser.parse_args()
    with Result(__file__, "What the callbacks cost", PACKAGES, args) as result, tempfile.TemporaryDirectory() as work:
        durations = fit(Path(work), args)
        result.text(
            f"{args.epochs} epochs of {args.batches} batches of the demo, {args.flights} flights of {args.frames} "
            f"frames; an epoch takes {statistics.median(durations['run_training_epoch']):.2f} s."
        )
        result.table(("callback", "ms per epoch", "share of an epoch"), rows(durations, args.epochs))


if __name__ == "__main__":
    main()
