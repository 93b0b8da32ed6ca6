"""What the margin does: distances, loss and active triplets from a margin too small to one beyond its bound.

`python benchmarks/margin_sweep.py` fits the triplet arm on simulated flights once for each margin and reads
what `TrainingState` has logged over the last fifth of training, and what the held-out flights of the known
species give at the end.
"""

import argparse
import json
import platform
import tempfile
import time
import warnings
from pathlib import Path

import lightning
import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from dml_lightning.cli import main as dml
from dml_lightning.simulate import simulate
from dml_lightning.theory import max_feasible_margin

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MARGINS = (0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.3, 1.5, 1.7, 2.0)
KNOWN = [
    "american_coot",
    "american_wigeon",
    "canada_goose",
    "canvasback",
    "gadwall",
    "green_winged_teal",
    "mallard",
    "snow_goose",
]
DIM = 64
TRAIN = ["triplet_intra", "triplet_inter", "mean_hinge", "hinge_active_fraction", "worst_anchor_gap"]
HELD_OUT = ["map_at_r", "novel_map_at_r", "roth_embedding_density", "roth_spectral_decay"]


def fit(work: Path, margin: float, epochs: int, batches: int) -> dict[str, float]:
    """One training; the mean of the last fifth of what it logged, and the evaluation at its end."""
    words = [
        *(f"--config={ROOT}/configs/{name}.yaml" for name in ("base", "data/simulated", "model/triplet")),
        f"--data.source.init_args.root={work}/flights",
        f"--data.cache_dir={work}/cache",
        f"--data.known={KNOWN}",
        f"--data.batches_per_epoch={batches}",
        f"--model.init_args.encoder.embedding_dim={DIM}",
        f"--model.init_args.loss.init_args.margin={margin}",
        "--model.init_args.allow_infeasible_margin=true",
        f"--trainer.max_epochs={epochs}",
        f"--trainer.check_val_every_n_epoch={epochs}",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--tracking.wandb=disabled",
        f"--runs_root={work}/runs",
        f"--name=margin-{margin:g}",
    ]
    run = dml(["fit", *words])
    history = pd.read_csv(run / "csv" / "fit" / "metrics.csv").dropna(subset=["train/mean_hinge"])
    late = history.tail(max(1, len(history) // 5)).mean()
    end = history.iloc[-1]
    state = next(c for c in history.columns if c.startswith("train/state_") and end[c] == 1)
    held_out = json.loads((run / "metrics" / "val.json").read_text(encoding="utf-8"))
    return {
        "margin": margin,
        **{name: late[f"train/{name}"] for name in TRAIN},
        **{name: held_out[f"val/{name}"] for name in HELD_OUT},
        "state": state.removeprefix("train/state_"),
    }


def draw(table: pd.DataFrame, bound: float, path: Path) -> None:
    """Distances above, shares below, over the margin on a logarithmic axis."""
    figure = Figure(figsize=(8.4, 6.0), layout="constrained", dpi=110)
    upper, lower = figure.subplots(2, 1, sharex=True)
    gap = table.triplet_inter - table.triplet_intra
    upper.plot(table.margin, table.triplet_inter, "o-", color="C0", label="D_inter, between species")
    upper.plot(table.margin, table.triplet_intra, "o-", color="C1", label="D_intra, within a species")
    upper.plot(table.margin, gap, "s-", color="0.3", label="gap, D_inter - D_intra")
    upper.plot(table.margin, table.mean_hinge, "D-", color="C4", label="loss, mean over all triplets")
    fine = np.geomspace(0.0085, 2.4, 99)
    upper.plot(
        fine, fine, ":", color="0.3", label="the margin itself: the gap that zero\nloss needs, the loss of a collapse"
    )
    upper.set_ylabel("distance")
    upper.set_ylim(-0.05, 2.05)
    lower.plot(table.margin, table.hinge_active_fraction, "o-", color="C3", label="active triplets, share of all")
    lower.plot(table.margin, table.map_at_r, "^-", color="C2", label="MAP@R, known species on new flights")
    lower.plot(table.margin, table.novel_map_at_r, "v-", color="C8", label="MAP@R, species never trained on")
    lower.set_ylabel("share")
    lower.set_ylim(0, 1.03)
    lower.set_xlabel("margin (training triplets of 8 species in 64 dimensions)")
    lower.set_xscale("log")
    ticks = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0)
    lower.set_xticks(ticks, [f"{m:g}" for m in ticks])
    lower.minorticks_off()
    for axes in (upper, lower):
        axes.axvspan(bound, 2.4, color="C3", alpha=0.12, lw=0, label=f"beyond Rankin's bound, {bound:.2f}")
        axes.set_xlim(0.0085, 2.4)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path)


def report(table: pd.DataFrame, bound: float, setting: str) -> str:
    """The table and its recipe."""
    versions = f"torch {torch.__version__}, lightning {lightning.__version__}, Python {platform.python_version()}"
    heads = {
        "margin": "margin",
        "triplet_inter": "D_inter",
        "triplet_intra": "D_intra",
        "mean_hinge": "mean hinge",
        "hinge_active_fraction": "active fraction",
        "worst_anchor_gap": "worst anchor gap",
        "map_at_r": "MAP@R known",
        "novel_map_at_r": "MAP@R novel",
        "roth_embedding_density": "Roth density",
        "roth_spectral_decay": "Roth spectral decay",
        "state": "state at the end",
    }
    rows = [
        "| " + " | ".join(f"{row[key]:.3g}" if key != "state" else row[key] for key in heads) + " |"
        for _, row in table.iterrows()
    ]
    return "\n".join(
        [
            "# What the margin does",
            "",
            f"`python benchmarks/margin_sweep.py`, {time.strftime('%Y-%m-%d')}, {versions}, "
            f"{torch.get_num_threads()} thread of {platform.machine()}; {setting}. One seed.",
            "",
            f"{len(KNOWN)} species in {DIM} dimensions: Rankin's bound is {bound:.4f}. Distances, hinge and "
            "active fraction are means over all valid training triplets of the last fifth of the steps; MAP@R "
            "and Roth's measures are those of flights held out.",
            "",
            "| " + " | ".join(heads.values()) + " |",
            "|" + "---:|" * (len(heads) - 1) + "---|",
            *rows,
            "",
            "![margin sweep](margin_sweep.png)",
            "",
        ]
    )


def main() -> None:
    """Sweeps, prints the table, keeps it and draws it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batches", type=int, default=50, help="per epoch")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Training is .*")  # to get there is what this is for
    mpl.use("agg")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        simulate(Path(work, "flights"), flights=24, frames=20, workers=1, progress=False)
        table = pd.DataFrame([fit(Path(work), margin, options.epochs, options.batches) for margin in MARGINS])
    bound = max_feasible_margin(len(KNOWN), DIM)
    minutes = (time.perf_counter() - started) / 60
    setting = f"{options.epochs} epochs of {options.batches} batches each, {minutes:.0f} minutes"
    text = report(table, bound, setting)
    print(text)
    (options.out / "margin_sweep.md").write_text(text, encoding="utf-8")
    draw(table, bound, options.out / "margin_sweep.png")


if __name__ == "__main__":
    main()
