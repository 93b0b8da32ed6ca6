"""Content of model.json and arrays.safetensors: the gallery and settings of a run, without its classes."""

import hashlib
import importlib.metadata
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.data.frames import Unit
from dml_lightning.export.score import MODEL_FORMAT
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.openset.arrays import nested
from dml_lightning.openset.scores import needs_features
from dml_lightning.openset.sets import SetThresholds
from dml_lightning.openset.thresholds import Threshold
from dml_lightning.runs.folder import read_fit

EXPORT_PACKAGES = ("dml-lightning", "torch", "timm", "numpy", "onnx", "onnxscript", "onnxruntime")
FIT = ("started", "versions", "code", "data")  # fields of run.json that are worth knowing elsewhere
Arrays = dict[str, NDArray[Any]]


def model_content(trained: TrainedRun, unit: Unit) -> dict[str, Any]:
    """Content of model.json, without the digests of the files and the outcome of the check.

    Args:
        trained: The run.
        unit: Unit of the raw crops.
    """
    gallery, options, fit = trained.gallery, trained.options, read_fit(trained.folder)
    return {
        "format": MODEL_FORMAT,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "run": f"{trained.folder.resolve().parent.name}/{trained.folder.resolve().name}",
        "encoder": gallery.encoder,
        "classes": gallery.class_names,
        "enrolled": [
            {"label": species.label, "crops": len(species.vectors), "radius": species.radius}
            for species in gallery.enrolled
        ],
        "prediction_rule": gallery.prediction_rule,
        "default_rule": gallery.default_rule,
        "score": {"kind": gallery.choice.kind, "why": gallery.why},
        "rules": {name: rule_content(each) for name, each in gallery.thresholds.items()},
        "sets": set_content(gallery),
        "crop": {**asdict(options), "stored_size": options.stored_size, "unit": unit},
        "fit": {key: fit[key] for key in FIT if key in fit},
        "versions": {name: importlib.metadata.version(name) for name in EXPORT_PACKAGES},
    }


def rule_content(threshold: Threshold) -> dict[str, Any]:
    """How a rule scores and decides, and where its threshold comes from, for JSON.

    An infinite threshold, which refuses nothing, is null.
    """
    return {
        "kind": "class" if threshold.per_class else threshold.kind,
        "score": threshold.score,
        "threshold": threshold.value if math.isfinite(threshold.value) else None,
        "name": threshold.name,
        "alpha": None if math.isnan(threshold.alpha) else threshold.alpha,
        "calibration_crops": threshold.samples,
        "calibration_flights": threshold.groups,
    }


def uses_features(gallery: Gallery) -> bool:
    """Whether rules B and C refuse by features of the backbone, so that the graph has to give them."""
    return needs_features(gallery.choice.kind, gallery.choice.arrays)


def set_content(gallery: Gallery) -> dict[str, Any] | None:
    """What the sets of species promise and rest on, for JSON; None where the gallery allows none."""
    sets = set_thresholds(gallery)
    return None if sets is None else {"alpha": sets.alpha, "thresholds": sets.origin(gallery.class_names)}


def set_thresholds(gallery: Gallery) -> SetThresholds | None:
    """Thresholds of the sets of species at the default alpha; None where the gallery allows none."""
    try:
        return gallery.set_thresholds()
    except ValueError:
        return None


def model_arrays(trained: TrainedRun) -> Arrays:
    """Content of arrays.safetensors: arrays by name, with C known classes, E enrolled species and M stored crops."""
    gallery = trained.gallery
    own, enrolled = gallery.prototypes, gallery.enrolled
    dim = own.prototypes.shape[1]
    arrays: Arrays = {
        "prototypes": own.prototypes,  # (C, D)
        "radii": own.radii,  # (C,)
        "enrolled_prototypes": np.array([s.prototype for s in enrolled]).reshape(-1, dim),  # (E, D)
        "enrolled_radii": np.array([s.radius for s in enrolled], dtype=np.float64),  # (E,)
        **_references(gallery),
    }
    arrays |= nested("score", gallery.choice.arrays)
    if uses_features(gallery):
        arrays["score.features"] = gallery.score_arrays["features"]  # of the reference crops
    for name, threshold in gallery.thresholds.items():
        if threshold.per_class:
            arrays[f"class_thresholds.{name}"] = threshold.per_class.values  # (C,)
    sets = set_thresholds(gallery)
    if sets is not None:
        arrays["set_limits"] = sets.values  # (C,)
    if "C" in gallery.thresholds:
        arrays["calibration_scores"] = gallery.thresholds["C"].scores
    head = trained.module.linear_head()
    if head is not None:
        arrays |= {
            "head_weight": head.weight.cpu().numpy(),  # (C, D)
            "head_bias": head.bias.cpu().numpy(),
        }
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _references(gallery: Gallery) -> Arrays:
    """Vectors (M, D), labels (M,) and index (M,) of the stored crops, in the order that decides equal distances.

    It is the seeded order of `pairs.neighbours.nearest_neighbours`.
    """
    reference, known = gallery.reference, len(gallery.class_names)
    vectors, labels, index = ([part.numpy()] for part in (reference.vectors, reference.labels, reference.index))
    for number, species in enumerate(gallery.enrolled):
        count = len(species.vectors)
        vectors.append(species.vectors)
        labels.append(np.full(count, known + number))
        index.append(np.arange(count))
    arrays = {"vectors": vectors, "labels": labels, "index": index}
    order = torch.randperm(sum(map(len, labels)), generator=torch.Generator().manual_seed(0))
    return {f"reference_{name}": np.concatenate(parts)[order.numpy()] for name, parts in arrays.items()}


def sha256(path: Path) -> str:
    """SHA-256 digest of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
