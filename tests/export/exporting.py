"""Makes small runs and exports them; run as a program, since `torch.export` must not come into the tests' process.

    python exporting.py CASE FOLDER

leaves FOLDER/frames/*.tiff, boxes.npz, expected.npz (what the run says) and model (the export).
"""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
import torch

from dml_lightning.data.crops import CropOptions
from dml_lightning.data.frames import Radiometry
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.export.folder import write_folder
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.changes import add_species
from dml_lightning.gallery.gallery import Gallery, encoder_digest
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.models import Encoder, SoftmaxModule, TripletModule
from dml_lightning.models.encoder import RawPixels

TINY = {"channels": [8, 8, 16, 16], "stem_width": 8}
CENTIKELVIN = Radiometry(0.01, -273.15)
GSD = 0.08  # m per px
CLASSES = ["goose", "gull", "teal"]
SETS = {"reference": 0.3, "known": 0.3, "calibration": 0.3, "novel": 0.05, "ood": 0.05}  # shares
CASES: dict[str, tuple[Any, CropOptions]] = {
    "softmax": (
        lambda: SoftmaxModule(Encoder(backbone_args=TINY, embedding_dim=8), torch.optim.SGD, 3),
        CropOptions(crop_size=16, min_side=8),
    ),
    "frame": (
        lambda: TripletModule(RawPixels(4), torch.optim.SGD, 3, allow_infeasible_margin=True),
        CropOptions(crop_size=16, normalisation="frame", radiometry=CENTIKELVIN),
    ),
    "window": (
        lambda: TripletModule(RawPixels(4, normalize=False), torch.optim.SGD, 3),
        CropOptions(crop_size=16, normalisation="window", window=(10, 25), radiometry=CENTIKELVIN),
    ),
    "sized": (
        lambda: SoftmaxModule(
            Encoder(backbone_args=TINY, embedding_dim=8, normalize=False, side_inputs=4),
            torch.optim.SGD,
            3,
            clutter=True,
        ),
        CropOptions(crop_size=16, min_side=8, side_inputs=("width", "height", "width_m", "contrast"), crop_metres=2),
    ),
    "mobilenetv3_small_050": (
        lambda: SoftmaxModule(Encoder("mobilenetv3_small_050", 16), torch.optim.SGD, 3, channels_last=True),
        CropOptions(crop_size=32),
    ),
    "convnext_atto": (
        lambda: TripletModule(Encoder("convnext_atto", 16, normalize=False, head="mlp"), torch.optim.SGD, 3),
        CropOptions(crop_size=32),
    ),
}


def draw_frames(folder: Path, frames: int = 6, boxes: int = 40) -> pd.DataFrame:
    """Writes 16-bit frames with blobs of three sizes, some at the edge; returns their boxes."""
    folder.mkdir()
    random, rows = np.random.default_rng(0), []
    y, x = np.mgrid[:96, :128]
    for number in range(frames):
        scene = 28_800 + 20 * np.sin(x / 30) + random.normal(0, 3, x.shape)
        path = folder / f"{number}.tiff"
        for box in range(boxes):
            kind = box % 3
            width, height = 4 + 3 * kind, 3 + 2 * kind
            left, top = random.uniform(-2, 126), random.uniform(-2, 93)
            inside = ((x - left - width / 2) / width) ** 2 + ((y - top - height / 2) / height) ** 2
            scene += (200 + 150 * kind) * np.exp(-4 * inside)
            rows.append([str(path), left, top, width, height, kind])
        tifffile.imwrite(path, scene.astype(np.uint16))
    return pd.DataFrame(rows, columns=["frame", "x", "y", "width", "height", "kind"])


def evidence(trained: TrainedRun, table: pd.DataFrame, random: np.random.Generator) -> Evidence:
    """Embeddings of the boxes, dealt out to the sets."""
    embedded = next(trained.embed_table(table, len(table), "stop", {}))
    names = random.choice(list(SETS), len(table), p=list(SETS.values()))
    kinds = torch.from_numpy(table["kind"].to_numpy()[embedded.index.numpy()])
    sets, groups = {}, {}
    for name in SETS:
        rows = torch.from_numpy(names == name)
        own, shift = replace(embedded, labels=kinds).at(rows), 1.0 if name == "ood" else 0.0
        sets[name] = replace(own, vectors=own.vectors + shift)
        groups[name] = np.array(["flight"] * len(sets[name]))
    module = trained.module
    heads = {"head": module.linear_head(), "reject": module.reject_head()}
    return Evidence(sets, CLASSES, 3, groups, prediction_rule=module.prediction_rule, **heads)


def make_run(case: str, folder: Path, table: pd.DataFrame) -> TrainedRun:
    """A run that nobody trained, with everything that a gallery can hold."""
    torch.manual_seed(0)
    build, options = CASES[case]
    module = build().eval()
    run = folder / "run"
    run.mkdir()
    (run / "recipe.fit.yaml").write_text("seed_everything: 0\n")
    trained = TrainedRun(run, module, options, None, "cpu")  # type: ignore[arg-type] # made below
    digest = encoder_digest(module.encoder, options)
    said = evidence(trained, table, np.random.default_rng(1))
    if case == "frame":  # too few crops to calibrate on, and no OOD crops
        few = {"calibration": 5, "ood": 0}
        sets = {name: part.at(slice(few[name])) if name in few else part for name, part in said.sets.items()}
        groups = {name: said.groups[name][: len(sets[name])] for name in sets}
        said = replace(said, sets=sets, groups=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the infinite threshold
        kinds = {"convnext_atto": "rank_sum", "sized": "reject"}  # the former needs all the others
        Gallery.build(said, digest, alpha=0.1, per_class=True, score=kinds.get(case, "nearest")).save(run / "gallery")
    if case == "softmax":
        vectors = said.sets["novel"].vectors.numpy()
        add_species(run / "gallery", "swan", vectors[:3], digest)
        add_species(run / "gallery", "heron", vectors[3:5], digest)
    gallery = Gallery.load(run / "gallery")
    enrolled = gallery.enrolled  # the last with a ball that leaves out much of what is nearest to it
    narrow = (*enrolled[:-1], *(replace(each, radius=each.radius / 3) for each in enrolled[-1:]))
    return replace(trained, gallery=replace(gallery, enrolled=narrow))


def main(case: str, folder: Path) -> None:
    table = draw_frames(folder / "frames").assign(gsd=GSD)
    trained = make_run(case, folder, table)
    embedded = next(trained.embed_table(table, len(table), "stop", {}))
    said = answer(trained.gallery, embedded, sets=trained.gallery.set_thresholds())
    np.savez(
        folder / "expected.npz",
        vectors=embedded.vectors.numpy(),
        label=said.label,
        label_prototype=said.label_prototype,
        label_radius=said.label_radius,
        label_knn=said.label_knn,
        distance=said.distance,
        distance_trained=said.distance_trained,
        neighbours=[json.dumps(own) for own in said.neighbours],
        neighbour_labels=[json.dumps(own) for own in said.neighbour_labels],
        p_value=said.p_value,
        species_set=[json.dumps(own) for own in said.species_set],
        rules=list(trained.gallery.thresholds),
        default_rule=trained.gallery.default_rule,
        calibration=len(trained.gallery.thresholds["C"].scores),
        **{f"score_{rule}": values for rule, values in said.score.items()},
        **{f"known_{rule}": values for rule, values in said.known.items()},
        **{f"threshold_{rule}": each.value for rule, each in trained.gallery.thresholds.items()},
    )
    table.to_csv(folder / "boxes.csv", index=False)
    unit = "counts" if trained.options.radiometry is None else "degC"
    for line in write_folder(trained, folder / "model", unit, table):
        print(line)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]))
