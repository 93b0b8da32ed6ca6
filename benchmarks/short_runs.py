"""Simulated flights and short runs for the benchmarks that need them. This file is no benchmark."""

from collections.abc import Sequence
from pathlib import Path

from dml_lightning.cli import main as dml
from dml_lightning.simulate import simulate
from measure import ROOT

SMALL = ["--data.samples_per_class=8", "--model.init_args.encoder.backbone_args={channels: [8, 16, 32, 64]}"]


def flights(work: Path, number: int, frames: int) -> None:
    """Simulates flights where `arguments` looks for them."""
    simulate(work / "flights", flights=number, frames=frames, workers=1, progress=False)


def arguments(work: Path, model: str, epochs: int) -> list[str]:
    """What `dml fit` needs for an arm on these flights, all results staying in `work`."""
    return [
        *(f"--config={ROOT}/configs/{name}.yaml" for name in ("base", "data/simulated", f"model/{model}")),
        f"--data.source.init_args.root={work}/flights",
        f"--data.cache_dir={work}/cache",
        f"--runs_root={work}/runs",
        f"--trainer.max_epochs={epochs}",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--tracking.wandb=disabled",
    ]


def fitted_runs(
    work: Path, arms: Sequence[str] = ("softmax", "triplet"), epochs: int = 2, batches: int = 20
) -> dict[str, list[Path]]:
    """One run of each arm, fitted for short epochs on 16 flights and tested: enough to run on, not to judge by."""
    flights(work, 16, 6)
    runs = {
        arm: dml(["fit", *arguments(work, arm, epochs), f"--data.batches_per_epoch={batches}", *SMALL, f"--name={arm}"])
        for arm in arms
    }
    for run in runs.values():
        dml(["test", "--run", str(run)])
    return {arm: [run] for arm, run in runs.items()}
