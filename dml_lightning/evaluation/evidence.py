"""Evidence: embeddings of one split, with what is needed to evaluate them, and their file.

Callbacks evaluate a run while it trains; reports and `dml audit` evaluate the file that it leaves. Both use the same
functions of an `Evidence`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.evaluation.npz import check_arrays, read_arrays
from dml_lightning.files import write_npz
from dml_lightning.types import SETS, Embeddings, EvaluationSet, LinearHead, PredictionRule

# prefix of a number's name in the log -> its evaluation set
SEEN_AND_NOVEL: dict[str, EvaluationSet] = {"": "known", "novel_": "novel"}
OF_SOME_ENCODERS = ("logits", "features")  # columns of embeddings that may be missing
CLASSIFIER = ("logits", "head_weight", "head_bias")  # arrays with a column or row for each known class
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


def read_evidence(path: Path) -> Evidence:
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

    Raises:
        ValueError: If the file is missing or unreadable, or an array does not fit; names the file and the array.
    """
    arrays = read_arrays(path)
    try:
        return _evidence(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _evidence(arrays: dict[str, NDArray[Any]]) -> Evidence:
    check_arrays(arrays)
    vectors, roles = arrays["vectors"], arrays["roles"].astype(str)
    unknown = sorted(set(roles.tolist()) - set(SETS))
    if unknown:
        raise ValueError(f"the role {unknown[0]!r} is none of {', '.join(SETS)}.")
    for needed in ("reference", "known"):
        if needed not in roles:
            raise ValueError(f"no row has the role {needed!r}, and nothing can be judged without.")
    labels, names, num_classes = _classes(arrays["labels"], roles, arrays.get("class_names"))
    _check_columns(arrays, names[:num_classes])
    index = arrays.get("index", np.arange(len(vectors)))
    groups = arrays.get("groups", np.arange(len(vectors))).astype(str)
    rows = {name: _by_index(np.flatnonzero(roles == name), index, name) for name in SETS}
    for key in ("logits", "head_weight"):
        classes = arrays[key].shape[key == "logits"] if key in arrays else num_classes
        if classes != num_classes:
            raise ValueError(
                f"{key} {arrays[key].shape} is of {classes} classes, and the reference rows of {num_classes}."
            )

    far_ood = frozenset(arrays.get("far_ood", np.empty(0, str)).astype(str).tolist())
    stray = sorted(far_ood - set(names))
    if stray:
        raise ValueError(f"far_ood names {stray[0]!r}, which is no class of the file; there are {', '.join(names)}.")

    def part(chosen: NDArray[np.int64]) -> Embeddings:
        return Embeddings(
            torch.from_numpy(vectors[chosen].astype(np.float32)),
            torch.from_numpy(labels[chosen]),
            torch.from_numpy(index[chosen].astype(np.int64)),
            *(
                torch.from_numpy(arrays[key][chosen].astype(np.float32)) if key in arrays else None
                for key in OF_SOME_ENCODERS
            ),
        )

    return Evidence(
        sets={name: part(chosen) for name, chosen in rows.items()},
        class_names=names,
        num_classes=num_classes,
        groups={name: groups[chosen] for name, chosen in rows.items()},
        far_ood=far_ood,
        prediction_rule=_prediction_rule(arrays),
        head=_head(arrays, vectors.shape[1]),
        reject=_head(arrays, vectors.shape[1], "reject"),
        thumbnails={name: arrays["thumbnails"][chosen] for name, chosen in rows.items()}
        if "thumbnails" in arrays
        else {},
        encoder=str(arrays.get("encoder", "")),
        other_groups=bool(arrays.get("other_groups", "groups" in arrays)),
        temperature=_temperature(arrays),
    )


def _temperature(arrays: dict[str, NDArray[Any]]) -> float | None:
    if "temperature" not in arrays:
        return None
    value = arrays["temperature"]
    if value.size != 1 or value.dtype.kind not in "fiu" or not 0 < value.item() < float("inf"):
        raise ValueError(f"temperature must be one number above 0, got {value.tolist()!r}.")
    return float(value.item())


def _by_index(rows: NDArray[np.int64], index: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Sort the rows of one set by their index, which must be unique."""
    ordered = rows[np.argsort(index[rows], kind="stable")]
    repeated = np.flatnonzero(index[ordered][1:] == index[ordered][:-1])
    if len(repeated):
        raise ValueError(f"index {index[ordered][repeated[0]]} comes twice among the {name} rows.")
    return ordered


def _classes(
    labels: NDArray[Any], roles: NDArray[np.str_], given: NDArray[Any] | None
) -> tuple[NDArray[np.int64], list[str], int]:
    """Integer labels (N,) with the known classes first, class names by label, and the number of known classes."""
    if np.issubdtype(labels.dtype, np.integer) and given is not None:
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(given):
            raise ValueError(f"labels go from {labels.min()} to {labels.max()}, class_names has {len(given)} names.")
        row_names = given.astype(str)[labels]
    else:
        row_names = labels.astype(str)
    families = {
        "known": set(row_names[np.isin(roles, ("reference", "known", "calibration"))].tolist()),
        "novel": set(row_names[roles == "novel"].tolist()),
        "ood": set(row_names[roles == "ood"].tolist()),
        "clutter": set(row_names[roles == "clutter"].tolist()),
    }
    _check_families(families, set(row_names[roles == "reference"].tolist()))
    if given is None and np.issubdtype(labels.dtype, np.integer):
        given = np.unique(labels)  # in numerical order, which is that of a classifier's columns
    listed = [str(name) for name in given] if given is not None else []
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise ValueError(f"class_names has {twice[0]!r} more than once.")
    order = {name: number for number, name in enumerate(listed)}
    names = [
        name
        for family in families.values()
        for name in sorted(family, key=lambda name: (order.get(name, len(order)), name))
    ]
    names += [name for name in listed if name not in set(names)]  # classes that only other splits have
    number = {name: label for label, name in enumerate(names)}
    return (np.array([number[name] for name in row_names.tolist()], np.int64), names, len(families["known"]))


def _check_columns(arrays: dict[str, NDArray[Any]], known: list[str]) -> None:
    """Refuse a classifier whose columns belong to no class that is named: a guess would give wrong numbers."""
    given = [key for key in CLASSIFIER if key in arrays]
    if "head_bias" in given and "head_weight" not in given:
        raise ValueError("there is an array head_bias and no head_weight.")
    if "reject_weight" in arrays and "head_weight" not in arrays:
        raise ValueError("there is an array reject_weight and no head_weight.")
    listed = arrays.get("class_names")
    if not given or np.issubdtype(arrays["labels"].dtype, np.integer):
        return
    if listed is None:
        raise ValueError(
            f"labels are names, and which column of {given[0]} is which class is not said: add class_names, the "
            "reference's classes first in the order of the columns, or give integer labels."
        )
    missing = sorted(set(known) - set(listed.astype(str).tolist()))
    if missing:
        raise ValueError(f"class_names lacks {missing[0]!r}, so that no column of {given[0]} is known to be its.")


def _check_families(families: dict[str, set[str]], reference: set[str]) -> None:
    for first, second in combinations(families, 2):
        both = sorted(families[first] & families[second])
        if both:
            raise ValueError(f"the class {both[0]!r} is {first} in some rows and {second} in others.")
    lost = sorted(families["known"] - reference)
    if lost:
        raise ValueError(f"the known class {lost[0]!r} has no row with the role 'reference'.")


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
