"""Prototype detector: distance of a sample to the known classes, with or without their radii.

mu_c is the mean embedding of class c, r_c a quantile of the distances of its samples to mu_c. Scores, larger = more
OOD: nearest s0(x) = min_c |f(x) - mu_c|, radius-adjusted s1(x) = min_c (|f(x) - mu_c| - r_c). If known samples lie in
their balls and OOD samples in none, s1 separates them: s1 <= 0 on known samples, s1 > 0 on OOD ones. s0 need not when
the radii differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from dml_lightning.metrics.classification import class_means
from dml_lightning.openset import judge
from dml_lightning.openset.arrays import Array, ArrayState, like
from dml_lightning.openset.conformal import class_thresholds
from dml_lightning.openset.detector import Decision, Detector
from dml_lightning.openset.thresholds import RuleName, ScoreKind, Threshold, choose_threshold
from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors, to_numpy
from dml_lightning.pairs.distances import distances_to


@dataclass(frozen=True, eq=False)
class Prediction(Decision):
    """Classes, scores and decisions for N samples."""

    nearest_label: NDArray[np.int64]  # (N,) class of the nearest prototype
    radius_label: NDArray[np.int64]  # (N,) class of the smallest radius-adjusted distance
    nearest_distance: NDArray[np.float64]  # (N,) to the nearest prototype


class PrototypeDetector(Detector):
    """Nearest-prototype and radius-adjusted scores, with a threshold and predictions.

    Embeddings are never normalised. Tensors and arrays are both accepted, and `score` and `distances` return
    whichever they were given. After `fit` rule A decides on the radius score: a sample outside every ball is refused.

    Args:
        radius_quantile: Quantile of a class's distances to its prototype that is its radius; 1 is the maximum,
            which a single outlier determines.

    Raises:
        ValueError: If `radius_quantile` is not in (0, 1].

    Example:
        >>> x, y = torch.tensor([[0.0, 0.0], [0.0, 2.0], [9.0, 0.0]]), torch.tensor([0, 0, 1])
        >>> detector = PrototypeDetector().fit(x, y)
        >>> detector.score(torch.tensor([[0.0, 3.0]])).tolist()
        [2.0]
        >>> detector.predict(torch.tensor([[0.0, 3.0], [0.0, 1.5]])).is_ood
        array([ True, False])
    """

    def __init__(self, radius_quantile: float = 1.0):
        if not 0 < radius_quantile <= 1:
            raise ValueError(f"radius_quantile must lie in (0, 1], got {radius_quantile}.")
        self.radius_quantile = radius_quantile
        self.classes: NDArray[np.int64] = np.empty(0, np.int64)  # (C,) ascending
        self.prototypes: NDArray[np.float64] = np.empty((0, 0))  # (C, D)
        self.radii: NDArray[np.float64] = np.empty(0)  # (C,)
        self.threshold: Threshold = Threshold("A", 0.0, kind="radius")

    @override
    def fit(self, embeddings: Vectors, labels: Vectors) -> Self:
        """Take prototypes and radii from reference samples.

        Args:
            embeddings: Reference samples (N, D).
            labels: Integer labels (N,) of the samples.
        """
        vectors = as_vectors(embeddings).cpu()
        owners = as_labels(labels, vectors)
        classes, means = class_means(vectors, owners)
        self.classes, self.prototypes = classes.numpy(), means.numpy()
        columns = self.columns(owners)
        own = distances_to(vectors, means).numpy()[np.arange(len(columns)), columns]
        quantile = self.radius_quantile
        self.radii = np.array([np.quantile(own[columns == c], quantile) for c in range(len(classes))])
        self.threshold = self.choose(rule="A", kind="radius")
        return self

    def columns(self, labels: Vectors) -> NDArray[np.int64]:
        """Position of each label (N,) among `classes`.

        Raises:
            ValueError: If a label is none of the classes, or the detector is not fitted.
        """
        self._check_fitted()
        wanted = to_numpy(labels)
        columns = np.searchsorted(self.classes, wanted).clip(max=len(self.classes) - 1)
        unknown = np.unique(wanted[self.classes[columns] != wanted])
        if len(unknown):
            raise ValueError(f"label {unknown[0]} has no prototype; the detector knows {self.classes.tolist()}.")
        return columns

    def distances(self, embeddings: Array) -> Array:
        """Distances (N, C) float64 of embeddings (N, D) to every prototype, in the order of `classes`."""
        return like(self._distances(embeddings), embeddings)

    @override
    def score(self, embeddings: Array, kind: ScoreKind = "nearest") -> Array:
        """OOD scores (N,) float64, larger = more OOD.

        Args:
            embeddings: Samples (N, D) to score.
            kind: "nearest": distance to the nearest prototype. "radius": smallest distance minus radius.
        """
        return like(self._of_kind(embeddings, kind), embeddings)

    @override
    def calibrate(
        self,
        embeddings: Vectors | None = None,
        labels: Vectors | None = None,
        *,
        rule: RuleName = "C",
        kind: ScoreKind = "radius",
        alpha: float = 0.05,
        epsilon: float = 0.0,
        ood: Vectors | None = None,
        groups: Vectors | None = None,
        per_class: bool = False,
    ) -> Self:
        """Choose the threshold by which `predict` decides; arguments as in `choose`."""
        self.threshold = self.choose(
            embeddings,
            labels,
            rule=rule,
            kind=kind,
            alpha=alpha,
            epsilon=epsilon,
            ood=ood,
            groups=groups,
            per_class=per_class,
        )
        return self

    def choose(
        self,
        embeddings: Vectors | None = None,
        labels: Vectors | None = None,
        *,
        rule: RuleName = "C",
        kind: ScoreKind = "radius",
        alpha: float = 0.05,
        epsilon: float = 0.0,
        ood: Vectors | None = None,
        groups: Vectors | None = None,
        per_class: bool = False,
    ) -> Threshold:
        """Choose a threshold on one of the scores, and leave the detector's own as it is.

        Args:
            embeddings: Rules B and C: known samples (N, D) that `fit` has not seen.
            labels: Classes (N,) of the samples; needed by `per_class` alone.
            rule: "A": largest radius + epsilon (0 + epsilon for the radius score). "B": `validated_threshold`
                on `embeddings` and `ood`. "C": split conformal at `alpha`.
            kind: Score to decide by; `per_class` uses the distances themselves.
            alpha: Rule C: largest share of known samples to refuse, on average.
            epsilon: Rule A: slack, in units of distance.
            ood: Rule B: OOD validation samples (M, D).
            groups: Flight (N,) of each known sample, to report their number; see `conformal.one_per_group`.
            per_class: Whether rule C takes a threshold per class.

        Raises:
            ValueError: If the rule is unknown or lacks its samples.
        """
        if per_class:
            return self._choose_per_class(embeddings, labels, rule, alpha, groups)
        if rule == "A":
            largest = float(self.radii.max()) if kind == "nearest" else 0.0
            return Threshold("A", largest + epsilon, kind=kind)
        if embeddings is None:
            raise ValueError(f"rule {rule} needs embeddings of held-out known samples, got none.")
        others = None if ood is None else self._of_kind(ood, kind)
        known = self._of_kind(embeddings, kind)
        return replace(choose_threshold(rule, known, others, alpha=alpha, groups=groups), kind=kind)

    def rule(self, threshold: Threshold) -> judge.DecisionRule:
        """A threshold in the form of `openset.judge`: with the radii that its score subtracts, if any."""
        return threshold.decision_rule(self.radii)

    @override
    def predict(self, embeddings: Vectors) -> Prediction:
        """Name the class of each sample (N, D) by both scores, and decide whether it is known at all."""
        distances, threshold = to_numpy(self._distances(embeddings)), self.threshold  # (N, C)
        per_class = threshold.per_class
        score = judge.score(distances, self.rule(threshold))
        return Prediction(
            score=score,
            is_ood=threshold.refuses(score),
            p_value=threshold.p_values(score) if per_class is None else per_class.p_values(distances),
            rule=threshold.name + (f", {threshold.kind}" if per_class is None else ", per class"),
            nearest_label=self.classes[distances.argmin(1)],
            radius_label=self.classes[(distances - self.radii).argmin(1)],
            nearest_distance=distances.min(1),
        )

    def state(self) -> ArrayState:
        """Prototypes and radii as plain arrays; a threshold has its own `state`."""
        return {
            "radius_quantile": np.array(self.radius_quantile),
            "classes": self.classes,
            "prototypes": self.prototypes,
            "radii": self.radii,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """The detector whose `state` this is, with the threshold of rule A; also from what `numpy.load` returns."""
        detector = cls(float(state["radius_quantile"]))
        detector.classes = np.asarray(state["classes"])
        detector.prototypes = np.asarray(state["prototypes"])
        detector.radii = np.asarray(state["radii"])
        return detector

    def _check_fitted(self) -> None:
        if len(self.classes) == 0:
            raise ValueError("this PrototypeDetector has no prototypes yet: call fit first.")

    def _distances(self, embeddings: Vectors) -> Tensor:
        self._check_fitted()
        vectors = as_vectors(embeddings)
        return distances_to(vectors, torch.from_numpy(self.prototypes).to(vectors.device))

    @override
    def _score(self, vectors: Tensor) -> Tensor:
        return self._of_kind(vectors, "nearest")

    def _of_kind(self, embeddings: Vectors, kind: ScoreKind) -> Tensor:
        distances = self._distances(embeddings)
        if kind == "radius":
            distances -= torch.from_numpy(self.radii).to(distances.device)
        elif kind != "nearest":
            raise ValueError(f'kind must be "nearest" or "radius", got {kind!r}.')
        return distances.amin(1)

    def _choose_per_class(
        self,
        embeddings: Vectors | None,
        labels: Vectors | None,
        rule: RuleName,
        alpha: float,
        groups: Vectors | None,
    ) -> Threshold:
        """Rule C with a threshold on the distance to each prototype."""
        if rule != "C" or embeddings is None or labels is None:
            raise ValueError(
                "per_class is an option of rule C and needs the embeddings and labels of held-out "
                f"known samples, got rule {rule!r}."
            )
        distances = self._distances(embeddings)
        columns = self.columns(as_labels(labels, distances))
        flights = 0 if groups is None else len(np.unique(to_numpy(groups)))
        per_class = class_thresholds(to_numpy(distances), columns, alpha)
        return Threshold("C", 0.0, alpha, len(columns), flights, per_class=per_class)
