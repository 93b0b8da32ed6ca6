"""Open-set naming: a crop is named or, by its distance to the nearest prototype, refused.

The score is the same for every arm; the names are those of the arm's own rule and, to compare arms, of the prototypes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import names_of_known
from dml_lightning.evaluation.ood import reference_prototypes
from dml_lightning.metrics.open_set import aurc, oscr
from dml_lightning.types import EvaluationSet, Floats, PredictionRule

RULES: dict[str, PredictionRule | None] = {"": None, "_prototype": "prototype"}  # by suffix of a number's name
UNKNOWN: dict[str, EvaluationSet] = {"": "ood", "novel_": "novel"}  # by prefix


class OpenSetSample(NamedTuple):
    """Scores of the crops of a split, and which of the known ones would be named right."""

    known: Floats  # (N,) distance to the nearest prototype
    right: NDArray[np.bool_]  # (N,)
    ood: Floats  # (M,)
    novel: Floats  # (L,)


def open_set_sample(evidence: Evidence, rule: PredictionRule | None = None) -> OpenSetSample:
    """Scores and right names of a split.

    Args:
        evidence: Embeddings of the split.
        rule: Rule that names the crops; the arm's own if it is not given.
    """
    detector, sets = reference_prototypes(evidence), evidence.sets
    known, ood, novel = (
        np.asarray(detector.score(sets[name].vectors, kind="nearest").cpu()) for name in ("known", "ood", "novel")
    )
    right = (names_of_known(evidence, rule) == sets["known"].labels).cpu().numpy()
    return OpenSetSample(known, right, ood, novel)


def open_set_values(evidence: Evidence) -> dict[str, float]:
    """Areas under the OSCR curve against OOD and (`novel_`) novel crops, and under the risk-coverage curve (`aurc`).

    Names end in `_prototype` where crops are named by the nearest prototype instead of the arm's own rule. The risk is
    that of known crops alone: how many unknown ones a test set holds is no property of an arm.

    Args:
        evidence: Embeddings of one split.
    """
    values: dict[str, float] = {}
    for suffix, rule in RULES.items():
        sample = open_set_sample(evidence, rule)
        for prefix, name in UNKNOWN.items():
            unknown = sample.ood if name == "ood" else sample.novel
            if len(unknown):
                values[f"{prefix}oscr{suffix}"] = oscr(sample.known, sample.right, unknown)
        values[f"aurc{suffix}"] = aurc(sample.known, ~sample.right)
    return values
