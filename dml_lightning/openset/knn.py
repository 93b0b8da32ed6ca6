"""Nearest-neighbour detector: distance to the k-th nearest reference sample as an OOD score.

Source: Sun, Ming, Zhu and Li, Out-of-Distribution Detection with Deep Nearest Neighbors, ICML 2022, section 3.
They normalise the features first; here that is the caller's choice.
"""

from typing import Self

import torch
from torch import Tensor

from dml_lightning.openset.detector import Detector
from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors
from dml_lightning.pairs.neighbours import Neighbours, nearest_neighbours


class KNNDetector(Detector):
    """Distance to the `k`-th nearest reference sample, exact; larger = more OOD.

    Args:
        k: Rank of the neighbour, from 1; crops of one flight resemble each other, so 1 is seldom wise.

    Raises:
        ValueError: If k is below 1.

    Example:
        >>> references = torch.tensor([[0.0], [1.0], [5.0]])
        >>> KNNDetector(k=2).fit(references, torch.tensor([0, 0, 1])).score(torch.tensor([[3.0]]))
        tensor([2.], dtype=torch.float64)
    """

    _elements = 1 << 22  # the search has smaller blocks of its own

    def __init__(self, k: int = 5):
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        self.k = k
        self.references = torch.empty(0, 0)  # (M, D)
        self.labels = torch.empty(0, dtype=torch.int64)  # (M,)

    def fit(self, embeddings: Vectors, labels: Vectors) -> Self:
        """Keep the reference samples (M, D) and their labels (M,).

        Raises:
            ValueError: If there are fewer than k samples.
        """
        self.references = as_vectors(embeddings).clone()
        self.labels = as_labels(labels, self.references).clone()
        if len(self.references) < self.k:
            raise ValueError(f"k = {self.k} needs as many references, got {len(self.references)}.")
        return self

    def _score(self, vectors: Tensor) -> Tensor:
        return self._search(vectors).distances[:, -1]

    def _search(self, vectors: Tensor) -> Neighbours:
        """The k nearest references of each row (n, D)."""
        if len(self.references) == 0:
            raise ValueError("this KNNDetector has no references yet: call fit first.")
        return nearest_neighbours(vectors, self.references.to(vectors.device), self.k)
