"""Embeddings of one split as arrays, read without PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.evaluation.npz import Arrays, check_arrays, read_arrays
from dml_lightning.types import SETS, EvaluationSet

OF_SOME_ENCODERS = ("logits", "features")  # columns of embeddings that may be missing
CLASSIFIER = ("logits", "head_weight", "head_bias")  # arrays with a column or row for each known class


class Rows(NamedTuple):
    """Crops of one set, as `types.Embeddings` has them."""

    vectors: NDArray[np.float32]  # (N, D)
    labels: NDArray[np.int64]  # (N,)
    index: NDArray[np.int64]  # type: ignore[assignment]  # (N,) ascending; hides tuple.index, as in Batch
    logits: NDArray[np.float32] | None = None  # (N, C)
    features: NDArray[np.float32] | None = None  # (N, F)


@dataclass(frozen=True, eq=False)
class Split:
    """Embeddings of one split; a set without crops has zero rows. Fields as in `evidence.Evidence`."""

    sets: Mapping[EvaluationSet, Rows]
    class_names: list[str]
    num_classes: int
    groups: Mapping[EvaluationSet, NDArray[np.str_]]
    places: Mapping[EvaluationSet, NDArray[np.int64]]  # rows of the file
    encoder: str = ""


def read_split(path: Path) -> Split:
    """Read what all evaluation takes of a file of embeddings, in the layout of `evidence.read_evidence`.

    Raises:
        ValueError: If the file is missing or unreadable, or an array does not fit; names the file and the array.
    """
    arrays = read_arrays(path)
    try:
        return split_of(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def split_of(arrays: Arrays) -> Split:
    """Check the arrays of a file, and sort their rows by set and index.

    Raises:
        ValueError: If one does not fit; names the array.
    """
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
    places = {name: _by_index(np.flatnonzero(roles == name), index, name) for name in SETS}
    for key in ("logits", "head_weight"):
        classes = arrays[key].shape[key == "logits"] if key in arrays else num_classes
        if classes != num_classes:
            raise ValueError(
                f"{key} {arrays[key].shape} is of {classes} classes, and the reference rows of {num_classes}."
            )

    def rows(chosen: NDArray[np.int64]) -> Rows:
        columns = (arrays[key][chosen].astype(np.float32) if key in arrays else None for key in OF_SOME_ENCODERS)
        return Rows(vectors[chosen].astype(np.float32), labels[chosen], index[chosen].astype(np.int64), *columns)

    return Split(
        sets={name: rows(chosen) for name, chosen in places.items()},
        class_names=names,
        num_classes=num_classes,
        groups={name: groups[chosen] for name, chosen in places.items()},
        places=places,
        encoder=str(arrays.get("encoder", "")),
    )


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
