"""Clutter of other flights, a kind that training saw: refusing it is measured apart from what was never seen.

The reject class of a classifier that was trained with clutter gives a score of its own, the log odds of rejecting.
"""

import torch
from torch import Tensor

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.ood import SCORE_KINDS, class_part, reference_prototypes, separation
from dml_lightning.metrics.ood import auroc
from dml_lightning.openset.logits import RejectDetector
from dml_lightning.types import EvaluationSet

UNKNOWN: tuple[EvaluationSet, ...] = ("ood", "novel", "clutter")


def clutter_values(evidence: Evidence, radius_quantile: float = 1.0) -> dict[str, float]:
    """AUROC and FPR at 95 % TPR of known crops against clutter, and AUROC of the reject class.

    Names `clutter_*` are by the distance to the nearest prototype, or end in `_radius` for the radius-adjusted score,
    then in `_<class>` (see `ood.class_part`) for one class of clutter. Names `reject_ood_auroc`, `reject_novel_auroc`
    and `reject_clutter_auroc` are by the reject class.

    Args:
        evidence: Embeddings of one split; without clutter or a reject class there are no such numbers.
        radius_quantile: Quantile of a class's distances to its prototype that is its radius; 1 is the maximum.
    """
    values = dict[str, float]()
    if len(evidence.sets["clutter"]):
        detector = reference_prototypes(evidence, radius_quantile)
        for kind in SCORE_KINDS:
            known, clutter = (
                torch.as_tensor(detector.score(evidence.sets[name].vectors, kind=kind)) for name in ("known", "clutter")
            )
            suffix = "" if kind == "nearest" else f"_{kind}"
            for part, chosen in _parts(evidence).items():
                values |= separation("clutter", known, clutter[chosen], suffix + part)
    return values | reject_values(evidence)


def _parts(evidence: Evidence) -> dict[str, Tensor]:
    """Masks (M,) over the clutter by what ends the name of a number: all of it, and each class."""
    labels = evidence.sets["clutter"].labels
    names = {label: f"_{class_part(evidence.class_names[label])}" for label in sorted(set(labels.tolist()))}
    return {"": torch.ones_like(labels, dtype=torch.bool)} | {name: labels == label for label, name in names.items()}


def reject_values(evidence: Evidence) -> dict[str, float]:
    """AUROC of known crops against each set of others by the reject class; none without a reject class."""
    if evidence.head is None or evidence.reject is None:
        return {}
    detector, sets = RejectDetector(*evidence.head, *evidence.reject), evidence.sets
    known = torch.as_tensor(detector.score(sets["known"].vectors))
    return {
        f"reject_{name}_auroc": auroc(known, torch.as_tensor(detector.score(sets[name].vectors)))
        for name in UNKNOWN
        if len(sets[name])
    }
