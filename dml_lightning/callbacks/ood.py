"""How well the embedding refuses what is not a bird."""

from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from dml_lightning.callbacks.base import Measurement
from dml_lightning.evidence import Evidence
from dml_lightning.metrics.ood import auroc, fpr_at_tpr
from dml_lightning.openset import PrototypeDetector
from dml_lightning.openset.prototypes import Kind
from dml_lightning.types import Embeddings

KINDS: tuple[Kind, ...] = ("nearest", "radius")
POSITIVES: tuple[Literal["ood", "known"], ...] = ("ood", "known")


class OODDetection(Measurement):
    """Logs how well prototypes of the reference crops separate known species from OOD crops.

    Score `nearest` is the distance to the nearest prototype, `radius` that distance minus the prototype's
    radius; larger is more OOD. `ood_auroc` and `ood_fpr95_ood_positive` are over all OOD crops with score
    `nearest`; `_radius`, `_near`, `_far`, a class's name or `_macro` (the mean over classes) behind them say what
    else is meant. FPR95 is the
    share of known crops refused when 95 % of the OOD crops are (OOD positive), or the share of OOD crops let
    through when 95 % of the known crops are (`known_positive`). Novel species are scored as unknown too,
    behind `novel_`.

    Args:
        radius_quantile: Of a class's distances to its prototype; 1 is their maximum.
    """

    def __init__(self, radius_quantile: float = 1.0) -> None:
        self.radius_quantile = radius_quantile

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        sets, found = evidence.sets, dict[str, float]()
        detector = PrototypeDetector(radius_quantile=self.radius_quantile)
        detector.fit(sets["reference"].vectors, sets["reference"].labels)
        for kind in KINDS:
            suffix = "" if kind == "nearest" else f"_{kind}"
            known, novel, ood = (
                torch.as_tensor(detector.score(sets[name].vectors, kind=kind)) for name in ("known", "novel", "ood")
            )
            if len(novel):
                found[f"novel_auroc{suffix}"] = auroc(known, novel)
            if len(ood):
                values = _ood_values(known, ood, sets["ood"], evidence)
                found |= {_insert(key, suffix): value for key, value in values.items()}
        return found


def _insert(key: str, suffix: str) -> str:
    """`ood_auroc/mammal` with `_radius` becomes `ood_auroc_radius_mammal`."""
    return key.replace("/", f"{suffix}_") if "/" in key else key + suffix


def _ood_values(known: Tensor, scores: Tensor, ood: Embeddings, evidence: Evidence) -> dict[str, float]:
    """AUROC and both FPR95 over everything, near and far apart, and class by class."""
    names, far = evidence.class_names, evidence.far_ood
    present = sorted(set(ood.labels.tolist()))
    is_far = torch.isin(ood.labels, ood.labels.new_tensor([n for n in present if names[n] in far]))
    parts = {"": torch.ones_like(is_far), "/near": ~is_far, "/far": is_far}
    parts |= {f"/{names[label]}": ood.labels == label for label in present}
    values: dict[str, float] = {}
    for part, chosen in parts.items():
        if chosen.any():
            values[f"ood_auroc{part}"] = auroc(known, scores[chosen])
            for positive in POSITIVES:
                rate = fpr_at_tpr(known, scores[chosen], positive=positive)
                values[f"ood_fpr95_{positive}_positive{part}"] = rate
    classes = [values[f"ood_auroc/{names[label]}"] for label in present]
    return values | {"ood_auroc/macro": sum(classes) / len(classes)}
