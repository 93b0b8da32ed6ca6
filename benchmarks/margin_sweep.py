"""What the margin does: distances, loss and active triplets from a margin too small to one beyond its bound.

    python benchmarks/margin_sweep.py                     # three margins, a small encoder; nothing is written
    python benchmarks/margin_sweep.py --full --save       # every margin; about 5 minutes

Fits the triplet arm on simulated flights once for each margin and reads what `TrainingState` has logged over the last
fifth of training, and what the held-out flights of the known species give at the end.
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dml_lightning.cli import main as dml
from dml_lightning.theory import max_feasible_margin
from measure import Result, options
from short_runs import SMALL, arguments, flights

PACKAGES = ("torch", "lightning")
FEW = (0.05, 0.4, 1.7)
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


def fit(work: Path, margin: float, args: argparse.Namespace) -> dict[str, float]:
    """One training; the mean of the last fifth of what it logged, and the evaluation at its end."""
    words = [
        *arguments(work, "triplet", args.epochs),
        *([] if args.full else SMALL),
        f"--data.known={KNOWN}",
        f"--data.batches_per_epoch={args.batches}",
        f"--model.init_args.encoder.embedding_dim={DIM}",
        f"--model.init_args.loss.init_args.margin={margin}",
        "--model.init_args.allow_infeasible_margin=true",
        f"--trainer.check_val_every_n_epoch={args.epochs}",
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


def picture(table: pd.DataFrame, bound: float) -> Figure:
    """Distances above, shares below, over the margin on a logarithmic axis."""
    figure = Figure(figsize=(8.4, 6.0), layout="constrained")
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
    return figure


HEADS = {
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


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--full", action="store_true", help="every margin, 24 flights, 8 epochs of the demo's encoder")
    parser.add_argument("--epochs", type=int, help="default 2, with --full 8")
    parser.add_argument("--batches", type=int, help="per epoch; default 30, with --full 50")
    args = parser.parse_args()
    args.epochs = args.epochs or (8 if args.full else 2)
    args.batches = args.batches or (50 if args.full else 30)
    if args.epochs * args.batches < 30:
        parser.error("TrainingState looks every 30 steps: epochs times batches must be 30 or more.")
    return args


def main() -> None:
    """Sweeps and reports."""
    args = parse()
    warnings.filterwarnings("ignore", message="Training is .*")  # to get there is what this is for
    bound = max_feasible_margin(len(KNOWN), DIM)
    with Result(__file__, "What the margin does", PACKAGES, args) as result, tempfile.TemporaryDirectory() as work:
        result.text(
            f"{args.epochs} epochs of {args.batches} batches each, one seed. {len(KNOWN)} species in {DIM} dimensions: "
            f"Rankin's bound is {bound:.4f}. Distances, hinge and active fraction are means over all valid training "
            "triplets of the last fifth of the steps; MAP@R and Roth's measures are those of flights held out."
        )
        flights(Path(work), *((24, 20) if args.full else (16, 6)))
        margins = MARGINS if args.full else FEW
        table = pd.DataFrame([fit(Path(work), margin, args) for margin in margins])
        cells = [[f"{row[key]:.3g}" if key != "state" else row[key] for key in HEADS] for _, row in table.iterrows()]
        result.table(list(HEADS.values()), cells, texts=0)
        result.figure(picture(table, bound))


if __name__ == "__main__":
    main()
