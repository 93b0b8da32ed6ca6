"""Prototypes and thresholds in the form of a record: numbers for safetensors, texts for JSON.

Format 2 stores the prototypes once, and the thresholds by rule:

    prototypes.{radius_quantile, classes, prototypes, radii}
    thresholds.<rule>.{value, alpha, samples, groups, scores, owners}, and .per_class.* for a threshold per class

Format 1 stored a whole detector for each rule, `rules.<rule>.*`, with a copy of the prototypes; it is still read.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml_lightning.gallery.records import Record
from dml_lightning.openset.arrays import ArrayState, nested, unnested
from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.openset.thresholds import Threshold


def written_contents(
    thresholds: Mapping[str, Threshold], prototypes: PrototypeDetector | None = None
) -> tuple[ArrayState, Any]:
    """Split thresholds and prototypes into the arrays of a record and the fields of its JSON file.

    Args:
        thresholds: Thresholds by rule.
        prototypes: Prototypes of a base record; None for a later one, which changes thresholds alone.

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
    for rule, threshold in thresholds.items():
        state |= nested(f"thresholds.{rule}", threshold.state())
    texts = {key: str(value) for key, value in state.items() if value.dtype.kind == "U"}
    arrays = {key: value for key, value in state.items() if key not in texts}
    return arrays, {"thresholds": list(thresholds), "texts": texts}


def read_prototypes(record: Record) -> PrototypeDetector:
    """Prototypes of a base record."""
    return PrototypeDetector.from_state(unnested("rules.A" if record.format == 1 else "prototypes", record.arrays))


def read_thresholds(record: Record) -> dict[str, Threshold]:
    """Thresholds of a base record or of a recalibration, by rule."""
    if record.format == 1:
        return _read_rules(record)
    state = record.arrays | _as_arrays(record.words["texts"])
    return {rule: Threshold.from_state(unnested(f"thresholds.{rule}", state)) for rule in record.words["thresholds"]}


def _read_rules(record: Record) -> dict[str, Threshold]:
    """Thresholds by rule from the detectors of format 1."""
    state = record.arrays | _as_arrays(record.words["words"])
    detectors = {rule: unnested(f"rules.{rule}", state) for rule in record.words["rules"]}
    return {
        rule: Threshold.from_state(
            {**unnested("threshold", own), "kind": own["kind"], **nested("per_class", unnested("per_class", own))}
        )
        for rule, own in detectors.items()
    }


def _as_arrays(texts: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    return {key: np.array(text) for key, text in texts.items()}
