"""All detectors on one evidence: the same distances on every arm, and the scores of a classifier where there is one.

Flights are drawn once for all detectors and all sets of OOD classes, so that the rows of a table can be compared; the
draws and the interval are those of `stats.intervals`, so that one number has one interval.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.bootstrap import Resampled
from dml_lightning.metrics.ood import Scores, auroc, ood_metrics
from dml_lightning.openset.knn import KNNDetector
from dml_lightning.openset.logits import EnergyDetector, MaxLogitDetector, MaxSoftmaxDetector, ViMDetector
from dml_lightning.openset.mahalanobis import MahalanobisDetector, RelativeMahalanobisDetector
from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.types import EvaluationSet

EVALUATED: tuple[EvaluationSet, ...] = ("known", "ood", "novel")
Side = Literal["ood", "novel"]  # what known crops are told from
SIDES: tuple[Side, ...] = ("ood", "novel")
Scorer = Callable[[Tensor], Tensor]  # embeddings (N, D) to OOD scores (N,), larger = more OOD


def scorers(evidence: Evidence, k: int = 5) -> dict[str, Scorer]:
    """Every detector by name, fitted on the reference.

    Args:
        evidence: Its reference must hold a crop.
        k: Of the second nearest-neighbour detector, at most as many as there are references.
    """
    reference = evidence.sets["reference"]
    x, y = reference.vectors, reference.labels
    widest, inner = PrototypeDetector().fit(x, y), PrototypeDetector(0.95).fit(x, y)
    found: dict[str, Scorer] = {
        "nearest prototype": lambda z: widest.score(z, kind="nearest"),
        "radius, maximum": lambda z: widest.score(z, kind="radius"),
        "radius, quantile 0.95": lambda z: inner.score(z, kind="radius"),
    }
    for neighbour in sorted({1, min(k, len(x))}):
        found[f"kNN, k = {neighbour}"] = KNNDetector(neighbour).fit(x, y).score
    found["Mahalanobis"] = MahalanobisDetector().fit(x, y).score
    found["relative Mahalanobis"] = RelativeMahalanobisDetector().fit(x, y).score
    found["Mahalanobis, normalised"] = MahalanobisDetector(normalize=True).fit(x, y).score
    if evidence.head is not None:
        head = evidence.head
        found["max softmax"] = MaxSoftmaxDetector(*head).fit(x, y).score
        found["max logit"] = MaxLogitDetector(*head).fit(x, y).score
        found["energy"] = EnergyDetector(*head).fit(x, y).score
        found["ViM"] = ViMDetector(*head).fit(x, y).score
    return found


def detector_table(evidence: Evidence, *, k: int = 5, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How well each detector tells the known crops from the others.

    Args:
        evidence: Of one split; NaN stands where it has no crops to compare.
        k: Of the second nearest-neighbour detector.
        draws: Bootstrap samples.
        seed: Of the draws.

    Returns:
        One row per detector. Columns: `auroc` over all OOD crops, `auroc_near`, `auroc_far`, `auroc_macro` (mean
        over the OOD classes) and `novel_auroc` (novel crops as the ones to refuse), each followed by the same name
        with `_low` and `_high`, a 95 % interval over flights that needs two of them; then the other metrics of
        `OODMetrics` over all OOD crops, which end in the numbers of `known` and `ood` crops; then the number of
        `novel` crops and of the `groups` that known and OOD crops come from.

    Raises:
        ValueError: If the reference is empty.
    """
    groups = evidence.groups
    drawn = {side: Resampled.of(groups["known"], groups[side], draws, seed) for side in SIDES}
    parts = {side: _parts(evidence, side) for side in SIDES}
    rows = {}
    for name, score in scorers(evidence, k).items():
        known, ood, novel = (score(evidence.sets[chosen].vectors).cpu().numpy() for chosen in EVALUATED)
        metrics = ood_metrics(known, ood)._asdict()
        del metrics["auroc"]  # stands in front, with its interval
        rows[name] = (
            _aurocs(known, ood, parts["ood"], drawn["ood"])
            | _aurocs(known, novel, parts["novel"], drawn["novel"])
            | metrics
            | {"novel": len(novel), "groups": drawn["ood"].flights}
        )
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("detector")


def _parts(evidence: Evidence, side: Side) -> dict[str, NDArray[np.bool_]]:
    """Sets (P, M) of the OOD or of the novel crops that each AUROC is the mean over."""
    labels = evidence.sets[side].labels.cpu().numpy()
    everything = np.ones((1, len(labels)), dtype=bool)
    if side == "novel":
        parts = {"novel_auroc": everything}
    else:
        is_far = evidence.is_far_ood.cpu().numpy()
        parts = {
            "auroc": everything,
            "auroc_near": ~is_far[None],
            "auroc_far": is_far[None],
            "auroc_macro": labels == np.unique(labels)[:, None],
        }
    return {name: sets[sets.any(axis=1)] for name, sets in parts.items()}


def _aurocs(
    known: Scores, others: Scores, parts: dict[str, NDArray[np.bool_]], resampled: Resampled
) -> dict[str, float]:
    """AUROC of each part and the ends of its interval."""
    drawn = resampled.aurocs(known, others, np.concatenate(list(parts.values())))
    ends = np.cumsum([len(sets) for sets in parts.values()])
    values: dict[str, float] = {}
    for (name, sets), stop in zip(parts.items(), ends, strict=True):
        exact = [auroc(known, others[own]) for own in sets]
        low, high = resampled.interval(drawn[:, stop - len(sets) : stop], sets)
        estimate = float(np.mean(exact)) if exact else float("nan")
        values |= {name: estimate, f"{name}_low": low, f"{name}_high": high}
    return values
