"""Distance to the k-th nearest reference sample as an OOD score.

Source: Sun, Ming, Zhu and Li, Out-of-Distribution Detection with Deep Nearest Neighbors, ICML 2022, section 3.
They normalise the features first; here that is the caller's choice.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.metrics.blocks import Vectors, as_labels, as_vectors
from dml_lightning.metrics.classification import vote
from dml_lightning.metrics.neighbours import Neighbours, nearest_neighbours
from dml_lightning.openset.arrays import Array, State, like, nested, unnested
from dml_lightning.openset.thresholds import Rule, Threshold, choose_threshold


class KNNDetector:
    """Distance to the `k`-th nearest reference sample, exact; larger = more OOD.

    Embeddings are taken as they are. Tensors and arrays are both accepted, and `score` answers in kind.

    Args:
        k: Which neighbour; references of one flight resemble each other, so 1 is seldom wise.

    Raises:
        ValueError: If k is below 1.
    """

    def __init__(self, k: int = 5):
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        self.k = k
        self.references = torch.empty(0, 0)  # (M, D)
        self.labels = torch.empty(0, dtype=torch.int64)  # (M,)
        self.threshold: Threshold | None = None

    def fit(self, embeddings: Vectors, labels: Vectors) -> "KNNDetector":
        """Keep the reference samples (M, D) and their labels (M,).

        Raises:
            ValueError: If there are fewer than k.
        """
        self.references = as_vectors(embeddings).clone()
        self.labels = as_labels(labels, self.references).clone()
        if len(self.references) < self.k:
            raise ValueError(f"k = {self.k} needs as many references, got {len(self.references)}.")
        return self

    def score(self, embeddings: Array) -> Array:
        """Distances (N,) float64 to the k-th nearest reference; memory beyond them does not grow with D."""
        return like(self._search(embeddings).distances[:, -1], embeddings)

    def predict_labels(self, embeddings: Vectors) -> NDArray[np.int64]:
        """The commonest class (N,) among the k nearest references, of equally common ones the nearest's."""
        found = self._search(embeddings)
        labels: NDArray[np.int64] = (
            vote(self.labels.to(found.rows.device)[found.rows]).cpu().numpy()
        )
        return labels

    def calibrate(
        self,
        embeddings: Vectors,
        *,
        rule: Rule = "C",
        alpha: float = 0.05,
        ood: Vectors | None = None,
        groups: Vectors | None = None,
    ) -> "KNNDetector":
        """Choose `threshold` on held-out known samples by rule C, or by rule B with `ood` samples too."""
        known = self._search(embeddings).distances[:, -1]
        others = None if ood is None else self._search(ood).distances[:, -1]
        self.threshold = choose_threshold(rule, known, others, alpha=alpha, groups=groups)
        return self

    def state(self) -> State:
        """Everything as plain arrays, for `numpy.savez`."""
        state: State = {
            "k": np.array(self.k),
            "references": self.references.cpu().numpy(),
            "labels": self.labels.cpu().numpy(),
        }
        return state | (nested("threshold", self.threshold.state()) if self.threshold else {})

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> "KNNDetector":
        """The detector that `state` came from; takes the mapping that `numpy.load` returns."""
        detector = cls(int(state["k"])).fit(state["references"], state["labels"])
        threshold = unnested("threshold", state)
        detector.threshold = Threshold.from_state(threshold) if threshold else None
        return detector

    def _search(self, embeddings: Vectors) -> Neighbours:
        """The k nearest references of each sample."""
        if len(self.references) == 0:
            raise ValueError("this KNNDetector has no references yet: call fit first.")
        vectors = as_vectors(embeddings)
        return nearest_neighbours(vectors, self.references.to(vectors.device), self.k)
