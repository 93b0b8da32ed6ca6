"""Runs of random embeddings, and what `score.py` would make of their exported folders, without a graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.data.crops import CropOptions
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.export.contents import model_arrays, model_content
from dml_lightning.export.score import Model
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.models import SoftmaxModule
from dml_lightning.models.encoder import RawPixels
from dml_lightning.types import SETS, Embeddings

Fresh = Callable[..., str]
Read = Callable[[str], tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]]


def run_with(gallery: Gallery, folder: Path = Path("run")) -> TrainedRun:
    """A run of a gallery, whose encoder shrinks crops to 2 x 2 px."""
    module = SoftmaxModule(RawPixels(2), torch.optim.SGD, 3)
    return TrainedRun(folder, module, CropOptions(crop_size=16), gallery, "cpu")


def random_run(folder: Path) -> TrainedRun:
    """A run of random embeddings (60, 4) of three classes in every set."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    sets = {
        name: Embeddings(torch.randn(60, 4, generator=generator) + labels[:, None], labels, torch.arange(60))
        for name in SETS
    }
    groups = {name: np.array(["flight"] * 60) for name in SETS}
    split = Evidence(sets, ["a", "b", "c"], 3, groups)
    return run_with(Gallery.build(split, "0123", alpha=0.1, per_class=True), folder)


def model_of(trained: TrainedRun) -> Model:
    """What `score.py` makes of the exported files, but for the graph."""
    model = Model.__new__(Model)
    model.content, model.arrays = model_content(trained, "counts"), model_arrays(trained)
    model.rules, model.crop, model.box_inputs = model.content["rules"], model.content["crop"], []
    model.names = np.array(trained.gallery.names)
    return model


def model_cutting(options: CropOptions, unit: str) -> Model:
    """A reader that knows its crops alone."""
    model = Model.__new__(Model)
    radiometry = options.radiometry
    model.box_inputs = list(options.side_inputs)
    model.crop = {
        **vars(options),
        "stored_size": options.stored_size,
        "unit": unit,
        "radiometry": radiometry and vars(radiometry),
    }
    return model
