"""Table of all detectors on one split: those on distances for every arm, those on logits for a classifier.

Flights are resampled once for all detectors and all sets of OOD classes, so that the rows of a table can be compared.
Draws and intervals are those of `stats.intervals`, so that a number has the same interval everywhere.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.bootstrap import FEWEST_UNITS, Resampled, value_range
from dml_lightning.metrics.ood import Scores, auroc, ood_metrics
from dml_lightning.openset.knn import KNNDetector
from dml_lightning.openset.logits import (
    EnergyDetector,
    MaxLogitDetector,
    MaxSoftmaxDetector,
    RejectDetector,
    ViMDetector,
)
from dml_lightning.openset.mahalanobis import MahalanobisDetector, RelativeMahalanobisDetector
from dml_lightning.openset.prototypes import PrototypeDetector

Side = Literal["ood", "novel", "clutter"]  # crops that the known ones are to be separated from
SIDES: tuple[Side, ...] = ("ood", "novel", "clutter")  # the last only where there is clutter
Scorer = Callable[[Tensor], Tensor]  # embeddings (N, D) to OOD scores (N,), larger = more OOD


def scorers(evidence: Evidence, k: int = 5) -> dict[str, Scorer]:
    """Score functions of all detectors by name, fitted on the reference crops.

    Args:
        evidence: Embeddings of one split, with at least one reference crop.
        k: Rank of the neighbour in the second nearest-neighbour detector, lowered to the number of references.

    Raises:
        ValueError: If there is no reference crop.
    """
    reference = evidence.sets["reference"]
    x, y = reference.vectors, reference.labels
    widest, inner = PrototypeDetector().fit(x, y), PrototypeDetector(0.95).fit(x, y)
    functions: dict[str, Scorer] = {
        "nearest prototype": lambda z: widest.score(z, kind="nearest"),
        "radius, maximum": lambda z: widest.score(z, kind="radius"),
        "radius, quantile 0.95": lambda z: inner.score(z, kind="radius"),
    }
    for neighbour in sorted({1, min(k, len(x))}):
        functions[f"kNN, k = {neighbour}"] = KNNDetector(neighbour).fit(x, y).score
    functions["Mahalanobis"] = MahalanobisDetector().fit(x, y).score
    functions["relative Mahalanobis"] = RelativeMahalanobisDetector().fit(x, y).score
    functions["Mahalanobis, normalised"] = MahalanobisDetector(normalize=True).fit(x, y).score
    if evidence.head is not None:
        head = evidence.head
        functions["max softmax"] = MaxSoftmaxDetector(*head).fit(x, y).score
        functions["max logit"] = MaxLogitDetector(*head).fit(x, y).score
        functions["energy"] = EnergyDetector(*head).fit(x, y).score
        functions["ViM"] = ViMDetector(*head).fit(x, y).score
        if evidence.reject is not None:
            functions["reject class"] = RejectDetector(*head, *evidence.reject).fit(x, y).score
    return functions


def detector_table(evidence: Evidence, *, k: int = 5, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Performance of each detector in separating known crops from OOD and from novel ones.

    Args:
        evidence: Embeddings of one split; numbers without crops to compare are NaN.
        k: Rank of the neighbour in the second nearest-neighbour detector.
        draws: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Returns:
        One row per detector. Columns: `auroc` over all OOD crops, `auroc_near`, `auroc_far`, `auroc_macro` (mean
        over the OOD classes), `novel_auroc` (novel crops as the ones to refuse) and, where there is clutter,
        `clutter_auroc` (clutter, a kind that training saw), each followed by the same name with `_low` and `_high`, its
        95 % interval over flights, and `_spread`, "interval"; with fewer than five flights on either side they are the
        range of the values within single flights, "range"; then the other metrics of `OODMetrics` over all OOD crops,
        which end in the numbers of `known` and `ood` crops; then the numbers of
        `novel` crops and of `groups` (flights) that known and OOD crops come from.

    Raises:
        ValueError: If the reference is empty.
    """
    groups = evidence.groups
    sides = [side for side in SIDES if side != "clutter" or len(evidence.sets[side])]
    drawn = {side: Resampled.of(groups["known"], groups[side], draws, seed) for side in sides}
    parts = {side: _parts(evidence, side) for side in sides}
    rows = {}
    for name, score in scorers(evidence, k).items():
        known = score(evidence.sets["known"].vectors).cpu().numpy()
        others = {side: score(evidence.sets[side].vectors).cpu().numpy() for side in sides}
        metrics = ood_metrics(known, others["ood"])._asdict()
        del metrics["auroc"]  # stands in front, with its interval
        row: dict[str, float | str] = {}
        for side, scores in others.items():
            row |= _aurocs(known, scores, parts[side], drawn[side])
        rows[name] = row | metrics | {"novel": len(others["novel"]), "groups": drawn["ood"].flights}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("detector")


def _parts(evidence: Evidence, side: Side) -> dict[str, NDArray[np.bool_]]:
    """Masks (P, M) over the crops of a side by column; each AUROC is the mean over its P sets."""
    labels = evidence.sets[side].labels.cpu().numpy()
    everything = np.ones((1, len(labels)), dtype=bool)
    if side != "ood":
        parts = {f"{side}_auroc": everything}
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
) -> dict[str, float | str]:
    """AUROC of each part and the ends of its interval or of the range over single flights, by column."""
    drawn = resampled.aurocs(known, others, np.concatenate(list(parts.values())))
    ends = np.cumsum([len(sets) for sets in parts.values()])
    values: dict[str, float | str] = {}
    for (name, sets), stop in zip(parts.items(), ends, strict=True):
        exact = [auroc(known, others[own]) for own in sets]
        spread = "interval" if resampled.fewest(sets) >= FEWEST_UNITS else "range"
        if spread == "interval":
            low, high = resampled.interval(drawn[:, stop - len(sets) : stop], sets)
        else:
            low, high = value_range(resampled.of_flights(known, others, sets))
        estimate = float(np.mean(exact)) if exact else float("nan")
        values |= {name: estimate, f"{name}_low": low, f"{name}_high": high, f"{name}_spread": spread}
    return values
