"""Types that the whole package shares: roles, evaluation sets, batches, embeddings and loss outputs.

Letters in shapes: B crops of a batch, N crops of a set, D embedding size, C known classes, S crop side in px.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Stream(IntEnum):
    """First number of the seed of each kind of random draw: keeps them independent though users give one seed.

    Example:
        >>> rng = np.random.default_rng([Stream.BATCHES, 0])  # for user seed 0
    """

    BATCHES = 101
    AUGMENTATION = 102
    FEWER_CROPS = 103  # which crops are kept of a class that has more than requested
    TRAINING_STEP = 107


Floats = NDArray[np.float64]
Role = Literal["known", "novel", "ood"]  # trained on; waterfowl never trained on; not waterfowl
ROLES: tuple[Role, ...] = ("known", "novel", "ood")

EvaluationSet = Literal["reference", "known", "novel", "ood", "calibration"]
EVALUATION_SETS: tuple[EvaluationSet, ...] = ("reference", "known", "novel", "ood")
SETS: tuple[EvaluationSet, ...] = (*EVALUATION_SETS, "calibration")  # the last only if it is configured

PredictionRule = Literal["softmax", "prototype"]


class Batch(NamedTuple):
    """Crops as a data loader yields them."""

    images: Tensor  # (B, 1, S, S) float32, normalised
    labels: Tensor  # (B,) int64; known classes are 0..C-1, then novel, then OOD classes
    # (B,) int64, the crop's row in the table; padding copies share it
    index: Tensor  # type: ignore[assignment] # hides tuple.index, which nobody needs here


class LossOutput(NamedTuple):
    """Loss and triplet counts, as every loss returns them."""

    loss: Tensor  # scalar with a gradient
    counts: dict[str, Tensor]  # int64 scalars: valid, active, hard, semihard, easy; empty if not counted


class LinearHead(NamedTuple):
    """A classifier on the embedding: logits = vectors @ weight.T + bias.

    Example:
        >>> head = LinearHead(weight=torch.eye(2), bias=torch.tensor([0.0, 1.0]))
        >>> torch.tensor([[3.0, 4.0]]) @ head.weight.T + head.bias
        tensor([[3., 5.]])
    """

    weight: Tensor  # (C, D)
    bias: Tensor  # (C,)


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of an evaluation set: one row per crop, no copies, ordered by `index`.

    Example:
        >>> len(Embeddings(torch.zeros(2, 8), labels=torch.tensor([0, 1]), index=torch.tensor([3, 7])))
        2
    """

    vectors: Tensor  # (N, D) float32
    labels: Tensor  # (N,) int64
    index: Tensor  # (N,) int64, strictly increasing
    logits: Tensor | None = None  # (N, C), from an arm that classifies

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Embeddings":
        """The same rows on another device."""
        logits = None if self.logits is None else self.logits.to(device)
        return Embeddings(self.vectors.to(device), self.labels.to(device), self.index.to(device), logits)
