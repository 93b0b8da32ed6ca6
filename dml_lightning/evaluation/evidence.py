"""Evidence: embeddings of one split, with what is needed to evaluate them, and their file.

Callbacks evaluate a run while it trains; reports and `dml audit` evaluate the file that it leaves. Both use the same
functions of an `Evidence`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.evaluation.npz import read_arrays
from dml_lightning.evaluation.split import OF_SOME_ENCODERS, Rows, split_of
from dml_lightning.files import write_npz
from dml_lightning.types import SETS, Embeddings, EvaluationSet, LinearHead, PredictionRule

# prefix of a number's name in the log -> its evaluation set
SEEN_AND_NOVEL: dict[str, EvaluationSet] = {"": "known", "novel_": "novel"}
NORM_TOLERANCE = 1e-3  # deviation from unit length; half precision stays within it


@dataclass(frozen=True)
class Evidence:
    """Embeddings of one split, with what is needed to evaluate them.

    All sets are present; a set without crops has zero rows.
    """

    sets: Mapping[EvaluationSet, Embeddings]
    class_names: list[str]  # by label: known classes first, then novel, then OOD, then clutter
    num_classes: int  # C, number of known classes
    groups: Mapping[EvaluationSet, NDArray[np.str_]]  # (N,) flight of each crop of each set
    far_ood: frozenset[str] = frozenset()  # names of the OOD classes that resemble the known ones least
    prediction_rule: PredictionRule = "prototype"  # the arm's own way of naming a class
    head: LinearHead | None = None  # classifier on the embeddings, of an arm that has one
    reject: LinearHead | None = None  # its reject class (1, D), where it was trained with clutter
    thumbnails: Mapping[EvaluationSet, NDArray[np.uint8]] = field(default_factory=dict)  # (N, S, S)
    encoder: str = ""  # digest of the encoder that made the embeddings; "" if not known
    other_groups: bool = True  # whether retrieval is also measured without the crops of a query's own group
    temperature: float | None = None  # divides the logits, fitted on validation; None without

    @property
    def normalized(self) -> bool:
        """Whether the reference embeddings have unit length; False without any."""
        norms = self.sets["reference"].vectors.norm(dim=1)
        return bool((norms - 1).abs().max() < NORM_TOLERANCE) if len(norms) else False

    @property
    def is_far_ood(self) -> Tensor:
        """Whether each OOD crop (M,) is of a class in `far_ood`."""
        labels = self.sets["ood"].labels
        far = [label for label, name in enumerate(self.class_names) if name in self.far_ood]
        return torch.isin(labels, labels.new_tensor(far))

    def save(self, path: Path) -> None:
        """Write one npz file, whole or not at all, in the layout of `read_evidence`."""
        filled = [name for name in SETS if len(self.sets[name])]
        parts = [self.sets[name] for name in filled]
        arrays: dict[str, NDArray[Any]] = {
            "vectors": torch.cat([part.vectors for part in parts]).cpu().numpy(),
            "labels": torch.cat([part.labels for part in parts]).cpu().numpy(),
            "index": torch.cat([part.index for part in parts]).cpu().numpy(),
            "roles": np.repeat(filled, [len(part) for part in parts]),
            "groups": np.concatenate([self.groups[name] for name in filled]).astype(str),
            "class_names": np.array(self.class_names),
            "far_ood": np.array(sorted(self.far_ood), dtype=str),
            "prediction_rule": np.array(self.prediction_rule),
            "encoder": np.array(self.encoder),
            "other_groups": np.array(self.other_groups),
        }
        for key in OF_SOME_ENCODERS:
            columns = [column for part in parts if (column := getattr(part, key)) is not None]
            if len(columns) == len(parts):
                arrays[key] = torch.cat(columns).cpu().numpy()
        if self.head is not None:
            arrays["head_weight"] = self.head.weight.cpu().numpy()
            arrays["head_bias"] = self.head.bias.cpu().numpy()
        if self.reject is not None:
            arrays["reject_weight"] = self.reject.weight.cpu().numpy()
            arrays["reject_bias"] = self.reject.bias.cpu().numpy()
        if self.temperature is not None:
            arrays["temperature"] = np.array(self.temperature)
        if self.thumbnails:
            arrays["thumbnails"] = np.concatenate([self.thumbnails[name] for name in filled])
        write_npz(path, **arrays)


def read_evidence(path: Path, skip: Collection[Literal["features", "thumbnails"]] = ()) -> Evidence:
    """Read the npz file of a run, or one with the embeddings of any other framework.

    Arrays of the file: `vectors` (N, D) floating-point; `labels` (N,), class names or integers; `roles` (N,), each one
    of `SETS`: reference (training crops), known (held-out crops of those classes), novel, ood, clutter (held-out crops
    of what training was to tell the known classes apart from), calibration.
    Optional: `groups` (N,), flight of each crop (otherwise each crop is a flight of its own); `class_names`, by label,
    the reference's classes first, which a classifier needs where labels are names; `index` (N,), integers that are
    unique within a role; `far_ood`, class names; `logits` (N, C), `head_weight` (C, D) and `head_bias` (C,) of a
    classifier, with `reject_weight` (1, D) and `reject_bias` (1,) of its reject class; `features` (N, F) of the
    backbone, at unit length; `prediction_rule`; `thumbnails` (N, S, S) uint8; `encoder`, a digest; `other_groups`,
    whether retrieval is measured without a query's own group too, true if there are groups and it is not given;
    `temperature`, a number above 0 that was fitted on validation.

    Args:
        path: The file, .npz.
        skip: Arrays that are not read, most of a file's bytes: the evidence is as of a file without them.

    Raises:
        ValueError: If the file is missing or unreadable, or an array does not fit; names the file and the array.
    """
    arrays = read_arrays(path, skip)
    try:
        return _evidence(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _evidence(arrays: dict[str, NDArray[Any]]) -> Evidence:
    split = split_of(arrays)
    names = split.class_names
    far_ood = frozenset(arrays.get("far_ood", np.empty(0, str)).astype(str).tolist())
    stray = sorted(far_ood - set(names))
    if stray:
        raise ValueError(f"far_ood names {stray[0]!r}, which is no class of the file; there are {', '.join(names)}.")
    dim = arrays["vectors"].shape[1]
    thumbnails = arrays.get("thumbnails")
    return Evidence(
        sets={name: _embeddings(rows) for name, rows in split.sets.items()},
        class_names=names,
        num_classes=split.num_classes,
        groups=split.groups,
        far_ood=far_ood,
        prediction_rule=_prediction_rule(arrays),
        head=_head(arrays, dim),
        reject=_head(arrays, dim, "reject"),
        thumbnails={} if thumbnails is None else {name: thumbnails[rows] for name, rows in split.places.items()},
        encoder=split.encoder,
        other_groups=bool(arrays.get("other_groups", "groups" in arrays)),
        temperature=_temperature(arrays),
    )


def _embeddings(rows: Rows) -> Embeddings:
    return Embeddings(*(column if column is None else torch.from_numpy(column) for column in rows))  # type: ignore[arg-type] # None where it may be


def _temperature(arrays: dict[str, NDArray[Any]]) -> float | None:
    if "temperature" not in arrays:
        return None
    value = arrays["temperature"]
    if value.size != 1 or value.dtype.kind not in "fiu" or not 0 < value.item() < float("inf"):
        raise ValueError(f"temperature must be one number above 0, got {value.tolist()!r}.")
    return float(value.item())


def _prediction_rule(arrays: dict[str, NDArray[Any]]) -> PredictionRule:
    rule = str(arrays.get("prediction_rule", "prototype"))
    if rule not in ("softmax", "prototype"):
        raise ValueError(f"prediction_rule is {rule!r}; it must be 'softmax' or 'prototype'.")
    if rule == "softmax" and "logits" not in arrays:
        raise ValueError("prediction_rule is 'softmax', and there is no array logits.")
    return cast(PredictionRule, rule)


def _head(arrays: dict[str, NDArray[Any]], dim: int, name: str = "head") -> LinearHead | None:
    """Classifier (C, D), or its reject class (1, D) under that name; None where the file has none."""
    if f"{name}_weight" not in arrays:
        return None
    weight, rows = arrays[f"{name}_weight"], 1 if name == "reject" else "C"
    bias = arrays.get(f"{name}_bias", np.zeros(len(weight)))
    if weight.ndim != 2 or weight.shape[1] != dim or bias.shape != weight.shape[:1] or rows not in ("C", len(weight)):
        raise ValueError(
            f"{name}_weight {weight.shape} and {name}_bias {bias.shape} must be ({rows}, {dim}) and ({rows},)."
        )
    return LinearHead(torch.from_numpy(weight).float(), torch.from_numpy(bias).float())
