"""Class prototypes and radii: how far a sample lies from every known class.

mu_c is the mean embedding of class c, r_c a quantile of its samples' distances to it. Scores, larger = more OOD:
nearest s0(x) = min_c |f(x) - mu_c|, radius-adjusted s1(x) = min_c (|f(x) - mu_c| - r_c). If known samples lie in
their balls and OOD samples in none, s1 separates them with s1 <= 0 < s1; s0 need not when the radii differ.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.metrics.blocks import (
    Vectors,
    as_labels,
    as_vectors,
    check_widths,
    direct_distances,
    row_blocks,
    to_numpy,
)
from dml_lightning.openset.thresholds import (
    Rule,
    Threshold,
    conformal_threshold,
    conformal_value,
    p_values,
    validated_threshold,
)

Kind = Literal["nearest", "radius"]
Array = TypeVar("Array", Tensor, NDArray[Any])


@dataclass(frozen=True)
class Prediction:
    """What is said about each sample; arrays of length N."""

    nearest_label: NDArray[np.int64]  # class of the nearest prototype
    radius_label: NDArray[np.int64]  # class of the smallest radius-adjusted distance
    nearest_distance: NDArray[np.float64]  # to the nearest prototype
    score: NDArray[np.float64]  # the calibrated score
    is_ood: NDArray[np.bool_]
    p_value: NDArray[np.float64]  # under rule C, otherwise NaN
    rule: str  # name of the rule that decided


class PrototypeDetector:
    """Nearest-prototype and radius-adjusted scores, with a threshold and a prediction.

    Embeddings are taken as they are, never normalised. Tensors and arrays are both accepted; `score` and
    `distances` answer in kind. After `fit` the decision is rule A on the radius score: outside every ball.
    """

    def __init__(self, radius_quantile: float = 1.0):
        """`radius_quantile`: of the distances to the prototype; 1 is the maximum, which follows one outlier.

        Raises:
            ValueError: If it is not in (0, 1].
        """
        if not 0 < radius_quantile <= 1:
            raise ValueError(f"radius_quantile must lie in (0, 1], got {radius_quantile}.")
        self.radius_quantile = radius_quantile
        self.classes: NDArray[np.int64] = np.empty(0, np.int64)  # (C,) ascending
        self.prototypes: NDArray[np.float64] = np.empty((0, 0))  # (C, D)
        self.radii: NDArray[np.float64] = np.empty(0)  # (C,)
        self.kind: Kind = "radius"  # score that the threshold applies to
        self.threshold = Threshold("A", 0.0)
        self.per_class: ClassThresholds | None = None

    def fit(self, embeddings: Vectors, labels: Vectors) -> "PrototypeDetector":
        """Take prototypes and radii from reference samples.

        Args:
            embeddings: (N, D).
            labels: (N,) integers.
        """
        vectors = as_vectors(embeddings).cpu()
        owners = as_labels(labels, vectors)
        classes, means = class_means(vectors, owners)
        self.classes, self.prototypes = classes.numpy(), means.numpy()
        columns = np.searchsorted(self.classes, owners.numpy())
        own = distances_to(vectors, means).numpy()[np.arange(len(columns)), columns]
        self.radii = np.array(
            [np.quantile(own[columns == c], self.radius_quantile) for c in range(len(classes))]
        )
        return self.calibrate(rule="A", kind="radius")

    def distances(self, embeddings: Array) -> Array:
        """Distances (N, C) float64 to every prototype."""
        if len(self.classes) == 0:
            raise ValueError("this PrototypeDetector has no prototypes yet: call fit first.")
        vectors = as_vectors(embeddings)
        points = torch.from_numpy(self.prototypes).to(vectors.device)
        return _like(distances_to(vectors, points), embeddings)

    def score(self, embeddings: Array, kind: Kind = "nearest") -> Array:
        """OOD scores (N,) float64, larger = more OOD.

        Args:
            embeddings: (N, D).
            kind: "nearest" distance to a prototype, or "radius": smallest distance minus radius.
        """
        distances = as_vectors(self.distances(embeddings))
        return _like(distances.sub_(self._offset(kind, distances)).amin(1), embeddings)

    def _offset(self, kind: Kind, like: Tensor) -> Tensor:
        """What the score subtracts from the distances: (C,)."""
        if kind not in ("nearest", "radius"):
            raise ValueError(f'kind must be "nearest" or "radius", got {kind!r}.')
        offset = self.radii if kind == "radius" else np.zeros_like(self.radii)
        return torch.from_numpy(offset).to(like.device)

    def calibrate(
        self,
        embeddings: Vectors | None = None,
        labels: Vectors | None = None,
        *,
        rule: Rule = "C",
        kind: Kind = "radius",
        alpha: float = 0.05,
        epsilon: float = 0.0,
        ood: Vectors | None = None,
        groups: Vectors | None = None,
        per_class: bool = False,
    ) -> "PrototypeDetector":
        """Choose the threshold that `predict` decides by.

        Args:
            embeddings: (N, D) known samples, not those of `fit`; rules B and C.
            labels: (N,) their classes; only `per_class` uses them.
            rule: "A": largest radius + epsilon (0 + epsilon for the radius score). "B": best balanced accuracy
                on `embeddings` and `ood`. "C": split conformal at `alpha`.
            kind: Score to decide by; `per_class` uses the distances themselves.
            alpha: Rule C: largest share of known samples refused, on average.
            epsilon: Rule A.
            ood: (M, D) OOD validation samples, rule B.
            groups: (N,) flight of each known sample, to be counted; see `thresholds.one_per_group`.
            per_class: Rule C with a threshold per class.

        Raises:
            ValueError: If the rule is unknown or lacks its samples.
        """
        if per_class and rule != "C":
            raise ValueError(f"per_class belongs to rule C, got rule {rule!r}.")
        per_class_thresholds: ClassThresholds | None = None
        if rule == "A":
            largest = float(self.radii.max()) if kind == "nearest" else 0.0
            threshold = Threshold("A", largest + epsilon)
        elif embeddings is None:
            raise ValueError(f"rule {rule} needs held-out known embeddings, got none.")
        elif rule == "B":
            if ood is None:
                raise ValueError("rule B needs OOD embeddings (ood=...), got none; or use rule C.")
            known = to_numpy(self.score(_array(embeddings), kind))
            threshold = validated_threshold(known, self.score(_array(ood), kind))
        elif rule == "C" and per_class:
            distances = self.distances(_array(embeddings))
            per_class_thresholds = class_thresholds(distances, self._columns(labels), alpha)
            excess = per_class_thresholds.score(distances)
            threshold = replace(conformal_threshold(excess, alpha, groups=groups), value=0.0)
        elif rule == "C":
            known = self.score(_array(embeddings), kind)
            threshold = conformal_threshold(known, alpha, groups=groups)
        else:
            raise ValueError(f'rule must be "A", "B" or "C", got {rule!r}.')
        self.kind, self.threshold, self.per_class = kind, threshold, per_class_thresholds
        return self
