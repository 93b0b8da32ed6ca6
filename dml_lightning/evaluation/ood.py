"""OOD detection by distances to the class prototypes, and the conditions under which it is exact."""

import torch
from torch import Tensor

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.ood import Positive, auroc, fpr_at_tpr
from dml_lightning.openset.assumptions import AssumptionReport, assumption_report
from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.openset.thresholds import ScoreKind
from dml_lightning.types import Embeddings

SCORE_KINDS: tuple[ScoreKind, ...] = ("nearest", "radius")
POSITIVES: tuple[Positive, ...] = ("ood", "known")
PARTS = ("near", "far", "macro")  # of the OOD crops, in names of numbers beside those of classes


def reference_prototypes(evidence: Evidence, radius_quantile: float = 1.0) -> PrototypeDetector:
    """Detector fitted on the reference crops: their prototypes and radii."""
    reference = evidence.sets["reference"]
    return PrototypeDetector(radius_quantile=radius_quantile).fit(reference.vectors, reference.labels)


def ood_values(evidence: Evidence, radius_quantile: float = 1.0) -> dict[str, float]:
    """AUROC and FPR at 95 % TPR of known against OOD crops, and AUROC of known against novel ones.

    Names end in `_radius` for the radius-adjusted score, then in `_near`, `_far`, `_<class>` (see `class_part`) or
    `_macro` (mean over the OOD classes) for a part of the OOD crops.

    Args:
        evidence: Embeddings of one split.
        radius_quantile: Quantile of a class's distances to its prototype that is its radius; 1 is the maximum.
    """
    sets, result = evidence.sets, dict[str, float]()
    detector = reference_prototypes(evidence, radius_quantile)
    for kind in SCORE_KINDS:
        suffix = "" if kind == "nearest" else f"_{kind}"
        known, novel, ood = (
            torch.as_tensor(detector.score(sets[name].vectors, kind=kind)) for name in ("known", "novel", "ood")
        )
        if len(novel):
            result[f"novel_auroc{suffix}"] = auroc(known, novel)
        if len(ood):
            values = _by_part(known, ood, sets["ood"], evidence)
            result |= {_with_suffix(key, suffix): value for key, value in values.items()}
    return result


def separation(others: str, known: Tensor, scores: Tensor, end: str = "") -> dict[str, float]:
    """AUROC and both FPR95 of known crops against others, whose name begins the keys.

    Example:
        >>> sorted(separation("ood", torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0]), "/mammal"))
        ['ood_auroc/mammal', 'ood_fpr95_known_positive/mammal', 'ood_fpr95_ood_positive/mammal']
    """
    return {
        f"{others}_auroc{end}": auroc(known, scores),
        f"{others}_fpr95_{others}_positive{end}": fpr_at_tpr(known, scores, positive="ood"),
        f"{others}_fpr95_known_positive{end}": fpr_at_tpr(known, scores, positive="known"),
    }


def class_part(name: str) -> str:
    """What stands for an OOD class in names of numbers: the class itself, unless that would name another number.

    Example:
        >>> class_part("mammal"), class_part("near"), class_part("radius_far"), class_part("class_near")
        ('mammal', 'class_near', 'class_radius_far', 'class_class_near')
    """
    taken = name in PARTS or name.startswith("class_") or f"{name}_".startswith("radius_")
    return f"class_{name}" if taken else name


def _with_suffix(key: str, suffix: str) -> str:
    """Put the suffix before the part: `ood_auroc/mammal` with `_radius` becomes `ood_auroc_radius_mammal`."""
    return key.replace("/", f"{suffix}_", 1) if "/" in key else key + suffix


def _by_part(known: Tensor, scores: Tensor, ood: Embeddings, evidence: Evidence) -> dict[str, float]:
    """AUROC and both FPR95 over all OOD crops, near and far ones, and each class; and the macro AUROC."""
    names = evidence.class_names
    present = sorted(set(ood.labels.tolist()))
    is_far = evidence.is_far_ood.to(ood.labels.device)
    parts = {"": torch.ones_like(is_far), "/near": ~is_far, "/far": is_far}
    parts |= {f"/{class_part(names[label])}": ood.labels == label for label in present}
    values: dict[str, float] = {}
    for part, chosen in parts.items():
        if chosen.any():
            values |= separation("ood", known, scores[chosen], part)
    classes = [values[f"ood_auroc/{class_part(names[label])}"] for label in present]
    return values | {"ood_auroc/macro": sum(classes) / len(classes)}


def assumptions(evidence: Evidence, radius_quantile: float = 1.0) -> AssumptionReport:
    """Check the conditions of the separation theorem on the known and OOD crops."""
    sets = evidence.sets
    detector = reference_prototypes(evidence, radius_quantile)
    return assumption_report(detector, sets["known"].vectors, sets["known"].labels, sets["ood"].vectors)


def assumption_values(evidence: Evidence, radius_quantile: float = 1.0) -> dict[str, float]:
    """Numbers of `assumptions`, each under its name with `assumption_` in front."""
    return {f"assumption_{name}": value for name, value in assumptions(evidence, radius_quantile).values().items()}
