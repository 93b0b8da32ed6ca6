"""What the evaluation callbacks cost, as a share of an epoch of the demo.

`python benchmarks/callback_cost.py` fits the triplet arm for a few epochs on simulated flights under Lightning's
own profiler. An epoch is training, validation and everything else between two starts; the gather that the first
callback triggers is counted as its own.
"""

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

import lightning
import torch

from dml_lightning import callbacks
from dml_lightning.commands.train import TrainingCLI
from dml_lightning.simulate import simulate

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "callback_cost.md"


def fit(work: Path, epochs: int) -> dict[str, list[float]]:
    """Seconds of every profiled action of a short fit."""
    simulate(work / "flights", flights=24, frames=20)
    words = [
        "fit",
        *(f"--config={ROOT}/configs/{name}.yaml" for name in ("base", "data/simulated", "model/triplet")),
        f"--data.source.init_args.root={work}/flights",
        f"--data.cache_dir={work}/cache",
        f"--runs_root={work}/runs",
        f"--trainer.max_epochs={epochs}",
        "--trainer.profiler=simple",
        "--tracking.wandb=disabled",
        "--trainer.enable_progress_bar=false",
    ]
    profiler = TrainingCLI(words).trainer.profiler
    durations: dict[str, list[float]] = dict(profiler.recorded_durations)  # type: ignore[attr-defined]
    return durations


def report(durations: dict[str, list[float]], epochs: int) -> str:
    """A table of medians per epoch."""
    epoch = statistics.median(durations["run_training_epoch"])
    rows, whole = [], 0.0
    for name in callbacks.__all__:
        spent = 0.0
        for action, seconds in durations.items():
            if action.startswith(f"[Callback]{name}.") and "on_validation_end" not in action:
                # a step's hook does nothing most of the time; an epoch's last call is that of the best checkpoint
                often = "train_batch" in action
                spent += sum(seconds) / epochs if often else statistics.median(seconds)
        whole += spent
        rows.append(f"| {name} | {1000 * spent:.1f} | {spent / epoch:.2%} |")
    versions = f"torch {torch.__version__}, lightning {lightning.__version__}, Python {platform.python_version()}"
    return "\n".join(
        [
            "# What the callbacks cost",
            "",
            f"`python benchmarks/callback_cost.py`, {time.strftime('%Y-%m-%d')}, {versions}, "
            f"{torch.get_num_threads()} threads of {platform.machine()}; {epochs} epochs of the demo.",
            "",
            f"| callback | ms per epoch | share of an epoch of {epoch:.2f} s |",
            "|---|---:|---:|",
            *rows,
            f"| all | {1000 * whole:.1f} | {whole / epoch:.2%} |",
            "",
        ]
    )


def main() -> None:
    """Fits, prints the table and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    epochs = parser.parse_args().epochs
    with tempfile.TemporaryDirectory() as work:
        text = report(fit(Path(work), epochs), epochs)
    print(text)
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
