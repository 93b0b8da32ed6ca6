"""Class prototypes and radii: how far a sample lies from every known class.

mu_c is the mean embedding of class c, r_c a quantile of its samples' distances to it. Scores, larger = more OOD:
nearest s0(x) = min_c |f(x) - mu_c|, radius-adjusted s1(x) = min_c (|f(x) - mu_c| - r_c). If known samples lie in
their balls and OOD samples in none, s1 separates them with s1 <= 0 < s1; s0 need not when the radii differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.metrics.classification import class_means, distances_to
from dml_lightning.openset.arrays import Array, State, like, nested, unnested
from dml_lightning.openset.conformal import ClassThresholds, class_thresholds
from dml_lightning.openset.thresholds import Rule, Threshold, choose_threshold
from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors, to_numpy

Kind = Literal["nearest", "radius"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is said about each of N samples."""

    nearest_label: NDArray[np.int64]  # (N,) class of the nearest prototype
    radius_label: NDArray[np.int64]  # (N,) class of the smallest radius-adjusted distance
    nearest_distance: NDArray[np.float64]  # (N,) to the nearest prototype
    score: NDArray[np.float64]  # (N,) the score that decides
    is_ood: NDArray[np.bool_]  # (N,)
    p_value: NDArray[np.float64]  # (N,) under rule C, otherwise NaN
    rule: str  # name of the rule that decides


class PrototypeDetector:
    """Nearest-prototype and radius-adjusted scores, with a threshold and predictions.

    Embeddings are taken as they are, never normalised. Tensors and arrays are both accepted, and `score` and
    `distances` answer in kind. After `fit` rule A decides on the radius score: outside every ball.

    Args:
        radius_quantile: Of the distances to the prototype; 1 is the maximum, which follows a single outlier.

    Raises:
        ValueError: If `radius_quantile` is not in (0, 1].
    """

    def __init__(self, radius_quantile: float = 1.0):
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
        columns = self.columns(owners)
        own = distances_to(vectors, means).numpy()[np.arange(len(columns)), columns]
        quantile = self.radius_quantile
        self.radii = np.array([np.quantile(own[columns == c], quantile) for c in range(len(classes))])
        return self.calibrate(rule="A", kind="radius")

    def columns(self, labels: Vectors) -> NDArray[np.int64]:
        """Position of each label (N,) among `classes`.

        Raises:
            ValueError: If a label is none of the classes.
        """
        wanted = to_numpy(labels)
        columns = np.searchsorted(self.classes, wanted).clip(max=len(self.classes) - 1)
        strangers = np.unique(wanted[self.classes[columns] != wanted])
        if len(strangers):
            raise ValueError(f"label {strangers[0]} has no prototype; the detector knows {self.classes.tolist()}.")
        return columns

    def distances(self, embeddings: Array) -> Array:
        """Distances (N, C) float64 to every prototype, in the order of `classes`."""
        return like(self._distances(embeddings), embeddings)

    def score(self, embeddings: Array, kind: Kind = "nearest") -> Array:
        """OOD scores (N,) float64, larger = more OOD.

        Args:
            embeddings: (N, D).
            kind: "nearest": distance to the nearest prototype. "radius": smallest distance minus radius.
        """
        return like(self._score(embeddings, kind), embeddings)

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
            embeddings: (N, D) known samples that `fit` has not seen; rules B and C.
            labels: (N,) their classes; needed by `per_class` alone.
            rule: "A": largest radius + epsilon (0 + epsilon for the radius score). "B": best balanced accuracy
                on `embeddings` and `ood`. "C": split conformal at `alpha`.
            kind: Score to decide by; `per_class` uses the distances themselves.
            alpha: Rule C: largest share of known samples refused, on average.
            epsilon: Rule A: slack, in units of distance.
            ood: (M, D) OOD validation samples, rule B.
            groups: (N,) flight of each known sample, to be counted; see `conformal.one_per_group`.
            per_class: Rule C with a threshold per class.

        Raises:
            ValueError: If the rule is unknown or lacks its samples.
        """
        if per_class:
            return self._calibrate_classes(embeddings, labels, rule, alpha, groups)
        if rule == "A":
            largest = float(self.radii.max()) if kind == "nearest" else 0.0
            threshold = Threshold("A", largest + epsilon)
        elif embeddings is None:
            raise ValueError(f"rule {rule} needs embeddings of held-out known samples, got none.")
        else:
            others = None if ood is None else self._score(ood, kind)
            threshold = choose_threshold(rule, self._score(embeddings, kind), others, alpha=alpha, groups=groups)
        self.kind, self.threshold, self.per_class = kind, threshold, None
        return self

    def predict(self, embeddings: Vectors) -> Prediction:
        """Name the class of each sample by both rules, and decide whether it is known at all."""
        distances = to_numpy(self._distances(embeddings))  # (N, C)
        nearest = distances.argmin(1)
        adjusted = distances - self.radii
        if self.per_class is not None:
            score = self.per_class.score(distances)
            p = self.per_class.p_values(distances)
        else:
            score = (adjusted if self.kind == "radius" else distances).min(1)
            p = self.threshold.p_values(score)
        return Prediction(
            nearest_label=self.classes[nearest],
            radius_label=self.classes[adjusted.argmin(1)],
            nearest_distance=distances.min(1),
            score=score,
            is_ood=self.threshold.refuses(score),
            p_value=p,
            rule=self.threshold.name + (", per class" if self.per_class else f", {self.kind}"),
        )

    def state(self) -> State:
        """Everything as plain arrays, for `numpy.savez`."""
        state: State = {
            "radius_quantile": np.array(self.radius_quantile),
            "classes": self.classes,
            "prototypes": self.prototypes,
            "radii": self.radii,
            "kind": np.array(self.kind),
        } | nested("threshold", self.threshold.state())
        if self.per_class is not None:
            state |= nested("per_class", self.per_class.state())
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> "PrototypeDetector":
        """The detector that `state` came from; takes the mapping that `numpy.load` returns."""
        detector = cls(float(state["radius_quantile"]))
        detector.classes = np.asarray(state["classes"])
        detector.prototypes = np.asarray(state["prototypes"])
        detector.radii = np.asarray(state["radii"])
        detector.kind = "nearest" if str(state["kind"]) == "nearest" else "radius"
        detector.threshold = Threshold.from_state(unnested("threshold", state))
        per_class = unnested("per_class", state)
        detector.per_class = ClassThresholds.from_state(per_class) if per_class else None
        return detector

    def _distances(self, embeddings: Vectors) -> Tensor:
        if len(self.classes) == 0:
            raise ValueError("this PrototypeDetector has no prototypes yet: call fit first.")
        vectors = as_vectors(embeddings)
        return distances_to(vectors, torch.from_numpy(self.prototypes).to(vectors.device))

    def _score(self, embeddings: Vectors, kind: Kind) -> Tensor:
        distances = self._distances(embeddings)
        if kind == "radius":
            distances -= torch.from_numpy(self.radii).to(distances.device)
        elif kind != "nearest":
            raise ValueError(f'kind must be "nearest" or "radius", got {kind!r}.')
        return distances.amin(1)

    def _calibrate_classes(
        self, embeddings: Vectors | None, labels: Vectors | None, rule: Rule, alpha: float, groups: Vectors | None
    ) -> "PrototypeDetector":
        """Rule C with a threshold on the distance to each prototype."""
        if rule != "C" or embeddings is None or labels is None:
            raise ValueError(
                "per_class is an option of rule C and needs the embeddings and labels of held-out "
                f"known samples, got rule {rule!r}."
            )
        distances = self._distances(embeddings)
        columns = self.columns(as_labels(labels, distances))
        self.per_class = class_thresholds(to_numpy(distances), columns, alpha)
        flights = 0 if groups is None else len(np.unique(to_numpy(groups)))
        self.threshold = Threshold("C", 0.0, alpha, len(columns), flights)
        return self
