"""Prototypes and thresholds in the form of a record: numbers for safetensors, texts for JSON.

Format 3 stores the prototypes once, and the thresholds by rule:

    prototypes.{radius_quantile, classes, prototypes, radii}
    thresholds.<rule>.<field of Threshold>, and .per_class.* for a threshold per class
    calibration.{distances, labels, flights, logits, per_flight} where there are such crops
    validation, distances of the known validation crops
    vectors, labels, index, features of the reference crops
    score.{known, ...}, scores of the known validation crops, and what the score was fitted on beside the above

Format 2 had fewer fields of a threshold, neither `validation` nor `features` nor `score`, and at first no
`calibration`. Format 1 stored a whole detector for each rule, `rules.<rule>.*`, with a copy of the prototypes. Both are
still read.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dml_lightning.gallery.calibration import Calibration
from dml_lightning.gallery.records import Record
from dml_lightning.openset.arrays import ArrayState, nested, unnested
from dml_lightning.openset.thresholds import Threshold

if TYPE_CHECKING:
    from dml_lightning.openset.prototypes import PrototypeDetector

Content = TypeVar("Content")


def written_contents(
    thresholds: Mapping[str, Threshold],
    prototypes: "PrototypeDetector | None" = None,
    calibration: Calibration | None = None,
) -> tuple[ArrayState, Any]:
    """Split thresholds, prototypes and calibration crops into the arrays of a record and the fields of its JSON file.

    Args:
        thresholds: Thresholds by rule.
        prototypes: Prototypes of a base record; None for a later one, which changes thresholds alone.
        calibration: Calibration crops of the thresholds, if there are any.

    Returns:
        The arrays by name, and the fields `thresholds` (names of the rules) and `texts` (what is not a number).

    Example:
        >>> arrays, fields = written_contents({"A": Threshold("A", 2.0)})
        >>> fields["texts"]
        {'thresholds.A.rule': 'A', 'thresholds.A.kind': 'nearest'}
        >>> arrays["thresholds.A.value"]
        array(2.)
    """
    state: ArrayState = {} if prototypes is None else nested("prototypes", prototypes.state())
    if calibration is not None:
        state |= nested("calibration", calibration.state())
    for rule, threshold in thresholds.items():
        state |= nested(f"thresholds.{rule}", threshold.state())
    texts = {key: str(value) for key, value in state.items() if value.dtype.kind == "U"}
    arrays = {key: value for key, value in state.items() if key not in texts}
    return arrays, {"thresholds": list(thresholds), "texts": texts}


def read_prototypes(record: Record) -> "PrototypeDetector":
    """The prototypes of a base.

    Raises:
        ValueError: If an array of theirs is missing.
    """
    from dml_lightning.openset.prototypes import PrototypeDetector

    return _part(record, _prefix(record), record.arrays, PrototypeDetector.from_state)


def read_radii(record: Record) -> NDArray[np.float64]:
    """Radii (C,) of the prototypes of a base.

    Raises:
        ValueError: If they are missing.
    """
    return _part(record, _prefix(record), record.arrays, lambda state: np.asarray(state["radii"]))


def read_points(record: Record) -> NDArray[np.float64]:
    """The prototypes (C, D) of a base as an array.

    Raises:
        ValueError: If they are missing.
    """
    return _part(record, _prefix(record), record.arrays, lambda state: np.asarray(state["prototypes"]))


def _prefix(record: Record) -> str:
    """Where a base has its prototypes."""
    return "rules.A" if record.format == 1 else "prototypes"


def read_thresholds(record: Record) -> dict[str, Threshold]:
    """The thresholds of a base or of a recalibration, by rule.

    Raises:
        ValueError: If an array of theirs is missing.
    """
    if record.format == 1:
        state = record.arrays | _as_arrays(record.words["words"])
        return {rule: _part(record, f"rules.{rule}", state, _threshold_inside) for rule in record.words["rules"]}
    state = record.arrays | _as_arrays(record.words["texts"])
    return {
        rule: _part(record, f"thresholds.{rule}", state, Threshold.from_state) for rule in record.words["thresholds"]
    }


def read_calibration(record: Record) -> Calibration | None:
    """The calibration crops of a base or of a recalibration; None in records of version 0.1.

    Raises:
        ValueError: If an array of theirs is missing.
    """
    if not unnested("calibration", record.arrays):
        return None
    return _part(record, "calibration", record.arrays, Calibration.from_state)


def _part(record: Record, prefix: str, state: ArrayState, made_of: Callable[[ArrayState], Content]) -> Content:
    """A part of a record, made of the arrays under `prefix`."""
    try:
        return made_of(unnested(prefix, state))
    except KeyError as missing:
        raise ValueError(
            f"record {record.number} of the gallery is damaged: {prefix} lacks {missing}; restore the whole folder."
        ) from None


def _threshold_inside(detector: ArrayState) -> Threshold:
    """The threshold of a detector of format 1."""
    per_class = nested("per_class", unnested("per_class", detector))
    return Threshold.from_state(unnested("threshold", detector) | {"kind": detector["kind"]} | per_class)


def _as_arrays(texts: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    return {key: np.array(text) for key, text in texts.items()}
