"""The few words everybody shares.

Letters in shapes: B crops of a batch, N crops of a set, D embedding size, C known classes, S crop side in px.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

Role = Literal["known", "novel", "ood"]
ROLES: tuple[Role, ...] = ("known", "novel", "ood")

EvaluationSet = Literal["reference", "known", "novel", "ood"]
EVALUATION_SETS: tuple[EvaluationSet, ...] = ("reference", "known", "novel", "ood")


class Batch(NamedTuple):
    """What a loader yields."""

    images: Tensor  # (B, 1, S, S) float32, normalised
    labels: Tensor  # (B,) int64; known classes are 0..C-1, then novel, then OOD classes
    # (B,) int64, the crop's row in the table; padding copies share it
    index: Tensor  # type: ignore[assignment] # hides tuple.index, which nobody needs here


class LossOutput(NamedTuple):
    """What every loss returns."""

    loss: Tensor  # scalar with a gradient
    counts: dict[
        str, Tensor
    ]  # int64 scalars: valid, active, hard, semihard, easy; empty if not counted


@dataclass(frozen=True)
class Embeddings:
    """An evaluation set after the encoder: one row per crop, no copies, ordered by `index`."""

    vectors: Tensor  # (N, D) float32
    labels: Tensor  # (N,) int64
    index: Tensor  # (N,) int64, strictly increasing
    logits: Tensor | None = None  # (N, C), from an arm that classifies

    def __len__(self) -> int:
        return len(self.labels)
