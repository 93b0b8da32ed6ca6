"""Does training in bfloat16 name species as well as in float32? Paired seeds, two one-sided tests, margin 0.01.

    python benchmarks/bf16_equivalence.py                                               # short; nothing is written
    python benchmarks/bf16_equivalence.py --seeds 8 --epochs 8 --batches 190 --flights 24 --frames 20 --save

Each seed trains the arm of configs/base.yaml twice, which differ in `trainer.precision` alone; the number is the
balanced accuracy of the best checkpoint on the validation flights, evaluated in float32 in both. They are equivalent at
5 % if both one-sided t-tests reject a mean difference of the margin or more, that is, if the 90 % interval lies within.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dml_lightning.cli import main as dml
from dml_lightning.files import read_json
from dml_lightning.stats.equivalence import equivalence_p
from dml_lightning.stats.paired import t_interval
from measure import Result, options
from short_runs import arguments, flights

PACKAGES = ("lightning", "timm", "numpy")
PRECISIONS = ("32-true", "bf16-mixed")
NUMBER, MARGIN = "val/balanced_accuracy", 0.01


def accuracy(words: list[str], seed: int, precision: str) -> float:
    """Balanced accuracy of a run of its own."""
    run = dml(["fit", *words, f"--seed_everything={seed}", f"--trainer.precision={precision}"])
    return float(read_json(run / "metrics" / "val.json")[NUMBER])


def row(arm: str, values: np.ndarray) -> tuple[str, ...]:
    """Means of an arm's runs (seeds, 2), their difference and its test."""
    differences = values[:, 1:] - values[:, :1]
    low, high = t_interval(differences, level=0.9)
    return (
        arm,
        *(f"{mean:.4f}" for mean in values.mean(axis=0)),
        f"{differences.mean():+.4f} ({low[0]:+.4f} to {high[0]:+.4f})",
        f"{equivalence_p(differences, MARGIN)[0]:.3g}",
    )


def main() -> None:
    """Trains and reports."""
    parser = options(__doc__)
    parser.add_argument("--arms", default="softmax,triplet")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batches", type=int, default=10, help="of an epoch")
    parser.add_argument("--flights", type=int, default=8)
    parser.add_argument("--frames", type=int, default=6, help="of a flight")
    args = parser.parse_args()
    with (
        Result(__file__, "Training in bfloat16 beside float32", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as folder,
    ):
        flights(Path(folder), args.flights, args.frames)
        result.text(
            f"{args.seeds} paired seeds, {args.epochs} epochs of {args.batches} batches, {args.flights} simulated "
            f"flights of {args.frames} frames. Balanced accuracy on the validation flights; the difference with its "
            f"90 % interval; p of the two one-sided tests of a margin of {MARGIN}, at most 0.05 if equivalent."
        )

        def rows() -> Iterator[tuple[str, ...]]:
            for arm in args.arms.split(","):
                words = [*arguments(Path(folder), arm, args.epochs), f"--data.batches_per_epoch={args.batches}"]
                values = [[accuracy(words, seed, each) for each in PRECISIONS] for seed in range(args.seeds)]
                yield row(arm, np.array(values))

        result.table(("arm", *PRECISIONS, "difference", "p"), rows())


if __name__ == "__main__":
    main()
