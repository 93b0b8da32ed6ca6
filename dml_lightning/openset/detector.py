"""Base class of the OOD detectors: fit, score, calibrate a threshold, predict."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.openset.arrays import Array, like
from dml_lightning.openset.thresholds import RuleName, Threshold, choose_threshold
from dml_lightning.pairs.blocks import TILE_ELEMENTS, Vectors, as_vectors, row_blocks, to_numpy


@dataclass(frozen=True, eq=False)
class Decision:
    """Scores and decisions of a detector for N samples."""

    score: NDArray[np.float64]  # (N,)
    is_ood: NDArray[np.bool_]  # (N,)
    p_value: NDArray[np.float64]  # (N,) under rule C, otherwise NaN
    rule: str  # name of the rule that decided, with the origin of its threshold


class Detector(ABC):
    """Base of all detectors, which give each embedding an OOD score: larger = more OOD.

    Tensors and arrays are both accepted, and `score` returns whichever it was given. Scores are float64, computed in
    blocks of rows. Embeddings are not normalised, unless the method itself does so.
    """

    threshold: Threshold | None = None
    _elements = TILE_ELEMENTS  # numbers of a block of rows, at most

    @abstractmethod
    def fit(self, embeddings: Vectors, labels: Vectors) -> Self:
        """Learn from reference embeddings (N, D) and their integer labels (N,)."""

    @abstractmethod
    def _score(self, vectors: Tensor) -> Tensor:
        """OOD scores (n,) of one block of rows (n, D), float32 or float64.

        Raises:
            ValueError: If `fit` was not called, or the embedding size differs.
        """

    def score(self, embeddings: Array) -> Array:
        """OOD scores (N,) float64, larger = more OOD.

        Args:
            embeddings: Samples (N, D) to score.

        Raises:
            ValueError: If the detector is not fitted, or the embeddings are of another size.
        """
        return like(self._scores(embeddings), embeddings)

    def calibrate(
        self,
        embeddings: Vectors,
        *,
        rule: RuleName = "C",
        alpha: float = 0.05,
        ood: Vectors | None = None,
        groups: Vectors | None = None,
    ) -> Self:
        """Choose the threshold by which `predict` decides.

        Args:
            embeddings: Known samples (N, D) that `fit` has not seen.
            rule: "B": `validated_threshold` on `embeddings` and `ood`. "C": split conformal at `alpha`.
            alpha: Rule C: largest share of known samples to refuse, on average.
            ood: Rule B: OOD validation samples (M, D).
            groups: Flight (N,) of each known sample, to report their number; see `conformal.one_per_group`.

        Raises:
            ValueError: If the rule is unknown or lacks its samples.
        """
        others = None if ood is None else self._scores(ood)
        known = self._scores(embeddings)
        self.threshold = choose_threshold(rule, known, others, alpha=alpha, groups=groups)
        return self

    def predict(self, embeddings: Vectors) -> Decision:
        """Decide for each embedding (N, D) whether it is known.

        Raises:
            ValueError: If `calibrate` was not called.
        """
        if self.threshold is None:
            raise ValueError(f"this {type(self).__name__} has no threshold yet: call calibrate first.")
        score = to_numpy(self._scores(embeddings))
        return Decision(
            score=score,
            is_ood=self.threshold.refuses(score),
            p_value=self.threshold.p_values(score),
            rule=self.threshold.name,
        )

    def _scores(self, embeddings: Vectors) -> Tensor:
        vectors = self._rows(embeddings)
        scores = vectors.new_empty(len(vectors), dtype=torch.float64)
        for rows in row_blocks(len(vectors), vectors.shape[1], self._elements):
            scores[rows] = self._score(vectors[rows])
        return scores

    def _rows(self, embeddings: Vectors) -> Tensor:
        """Embeddings as a tensor (N, D) of finite numbers."""
        return as_vectors(embeddings)
