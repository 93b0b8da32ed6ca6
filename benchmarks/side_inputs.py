"""Side inputs on flights of an altitude that was not trained on: naming and refusal, with jittered and permuted inputs.

    python benchmarks/side_inputs.py                       # tiny: shows that it runs; nothing is written
    python benchmarks/side_inputs.py --frames 6 --steps 400 --seeds 2 --save               # ten minutes
    python benchmarks/side_inputs.py --flights 16 --frames 12 --steps 1200 --seeds 8       # hours

Simulated flights at `--trained` altitudes train one softmax arm per choice of side inputs, with the data, encoder and
budget the same. New flights at these altitudes and at `--new` ones are then named by the classifier (balanced accuracy
over the known species) and scored by the distance to the nearest prototype of the training crops (AUROC of lookalikes).
Jittered boxes have each side times 1/1.3 to 1.3 and a shift of up to a tenth, as those of a detector. A permuted input
is that of another crop of the same flights: what is lost then is what the arm draws from it.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch

from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.crops import crop_batches
from dml_lightning.data.sources import CocoJson
from dml_lightning.gallery.trained import embed
from dml_lightning.metrics.functional import auroc
from dml_lightning.models import Encoder, SoftmaxModule
from dml_lightning.openset import PrototypeDetector
from dml_lightning.simulate import simulate
from dml_lightning.simulate.species import CATEGORIES
from dml_lightning.types import Batch, Embeddings
from measure import Result, options

PACKAGES = ("timm", "lightning")
ARMS: dict[str, list[Any]] = {
    "pixels alone": [],
    "px and contrast": ["width", "height", "contrast"],
    "metres and contrast": ["width_m", "height_m", "contrast"],
}
KNOWN = sorted(name for name, kind in CATEGORIES if kind == "known species")
LOOKALIKES = {name for name, kind in CATEGORIES if kind == "lookalike"}
SMALL = {"channels": [16, 32, 64, 128], "stem_width": 8}
Scores = tuple[float, float]  # balanced accuracy, AUROC


def fly(root: Path, altitudes: Sequence[float], flights: int, frames: int, seed: int) -> list[str]:
    """Simulates flights at each altitude below root; returns their annotation files, relative to it."""
    for altitude in altitudes:
        out = root / f"{altitude:g}m"
        simulate(out, flights=flights, frames=frames, altitude=altitude, seed=seed, workers=1, progress=False)
    return [f"{altitude:g}m/annotations.json" for altitude in altitudes]


def trained(root: Path, files: list[str], names: list[Any], steps: int, seed: int) -> tuple[SoftmaxModule, Any]:
    """A fitted arm and its data."""
    data = ThermalWaterfowlDataModule(
        CocoJson(root, annotations=files),
        known=KNOWN,
        split_fractions=[0.7, 0.15, 0.15],
        seed=seed,
        min_side=32,
        side_inputs=names,
        batches_per_epoch=steps,
        cache_dir=str(root / "cache"),
    )
    L.seed_everything(seed, verbose=False)
    encoder = Encoder(embedding_dim=64, backbone_args=SMALL, side_inputs=len(names))
    module = SoftmaxModule(encoder, partial(torch.optim.AdamW, lr=0.003), len(KNOWN))
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        limit_val_batches=0,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=root,
        **quiet,
    )
    with redirect_stdout(StringIO()):  # what the data hold, once for each fit
        trainer.fit(module, datamodule=data)
    return module.eval(), data


def jittered(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The same boxes as a detector would draw them."""
    draw = np.random.default_rng(seed).uniform(-1, 1, (len(table), 4))
    sizes = table[["width", "height"]].to_numpy() * 1.3 ** draw[:, :2]
    centres = table[["x", "y"]].to_numpy() + table[["width", "height"]].to_numpy() * (0.5 + 0.1 * draw[:, 2:])
    boxes = np.hstack([centres - sizes / 2, sizes])
    return table.assign(**dict(zip(("x", "y", "width", "height"), boxes.T, strict=True)))


def permuted(batch: Batch, column: int, seed: int) -> Batch:
    """A batch whose crops have one side input of another crop each."""
    side = batch.side.clone()
    side[:, column] = side[np.random.default_rng(seed).permutation(len(side)), column]
    return batch._replace(side=side)


def scores(module: SoftmaxModule, references: Embeddings, batch: Batch, labels: pd.Series) -> Scores:
    """Balanced accuracy of the known species, and AUROC of the lookalikes."""
    found = next(embed(module, iter([batch]), "cpu"))
    assert found.logits is not None
    own = labels.iloc[found.index.numpy()].to_numpy(str)
    named = np.array(KNOWN)[found.logits.argmax(1).numpy()]
    hits = [float((named == own)[own == name].mean()) for name in KNOWN if (own == name).any()]
    far = PrototypeDetector().fit(references.vectors, references.labels).score(found.vectors)
    known, lookalike = (torch.from_numpy(np.isin(own, list(names))) for names in (KNOWN, LOOKALIKES))
    return statistics.fmean(hits), float(auroc(far[known], far[lookalike]))


def conditions(
    module: SoftmaxModule, data: Any, tables: dict[str, pd.DataFrame], new: str, seed: int
) -> Iterator[tuple[str, Scores]]:
    """Scores on each table, on that of a new altitude with jittered boxes, and with each side input permuted."""
    crops = data.evaluation_crops("reference", "val")
    references = next(embed(module, iter([crops.__getitems__(range(len(crops)))]), "cpu"))
    for name, table in {**tables, f"{new}, boxes jittered": jittered(tables[new], seed)}.items():
        batch = next(crop_batches(table, data.options, batch_size=len(table)))
        yield name, scores(module, references, batch, table["label"])
        if name == new:
            for column, each in enumerate(data.options.side_inputs):
                mixed = permuted(batch, column, seed)
                yield f"{new}, {each} permuted", scores(module, references, mixed, table["label"])


def rows(args: Any, root: Path) -> Iterator[tuple[str, ...]]:
    files = fly(root / "training", args.trained, args.flights, args.frames, seed=0)
    tested = {"altitudes trained on": args.trained, **{f"{altitude:g} m": [altitude] for altitude in args.new}}
    tables: dict[str, pd.DataFrame] = {}
    for name, altitudes in tested.items():
        place = root / name.replace(" ", "_")
        source = CocoJson(place, annotations=fly(place, altitudes, args.flights, args.frames, seed=1))
        table = source.read().table
        tables[name] = table[table["label"].isin([*KNOWN, *LOOKALIKES])].reset_index(drop=True)
    for arm, names in ARMS.items():
        results: dict[str, list[Scores]] = {}
        for seed in range(args.seeds):
            module, data = trained(root / "training", files, names, args.steps, seed)
            for condition, pair in conditions(module, data, tables, f"{args.new[-1]:g} m", seed):
                results.setdefault(condition, []).append(pair)
        for condition, pairs in results.items():
            yield arm, condition, *(" to ".join(spread_of(values)) for values in zip(*pairs, strict=True))


def spread_of(values: Sequence[float]) -> list[str]:
    """The one value, or the smallest and the largest."""
    return [f"{value:.3f}" for value in sorted({min(values), max(values)})]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--trained", type=float, nargs="+", default=[45.0, 75.0], help="altitudes to train on, m")
    parser.add_argument("--new", type=float, nargs="+", default=[60.0, 100.0], help="altitudes not trained on, m")
    parser.add_argument("--flights", type=int, default=8, help="at each altitude")
    parser.add_argument("--frames", type=int, default=2, help="of each flight")
    parser.add_argument("--steps", type=int, default=60, help="of 128 crops")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    with (
        Result(__file__, "Side inputs across altitudes", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as work,
    ):
        trained_on = " and ".join(f"{altitude:g}" for altitude in args.trained)
        result.text(
            f"{args.flights} flights of {args.frames} frames at each altitude, trained on {trained_on} m for "
            f"{args.steps} steps of 128 crops; {args.seeds} seeds, smallest to largest."
        )
        result.table(("side inputs", "test", "balanced accuracy", "AUROC"), rows(args, Path(work)), texts=2)


if __name__ == "__main__":
    main()
