"""Types that the whole package shares: roles, evaluation sets, batches, embeddings and loss outputs.

Letters in shapes: B crops of a batch, N crops of a set, D embedding size, C known classes, S crop side in px.
PyTorch is not imported here: what only names a type does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Stream(IntEnum):
    """First number of the seed of each kind of random draw: keeps them independent though users give one seed.

    Example:
        >>> rng = np.random.default_rng([Stream.BATCHES, 0])  # for user seed 0
    """

    BATCHES = 101
    AUGMENTATION = 102
    FEWER_CROPS = 103  # which crops are kept of a class that has more than requested
    CLUTTER = 104  # which clutter comes into which batch
    TRAINING_STEP = 107
    SIDE_INPUTS = 108


Floats = NDArray[np.float64]
# trained on; waterfowl never trained on; not waterfowl and never trained on; not waterfowl, which training tells apart
Role = Literal["known", "novel", "ood", "clutter"]
ROLES: tuple[Role, ...] = ("known", "novel", "ood", "clutter")
CLUTTER = -(2**31)  # label of clutter in a training batch: a negative of every class, and nothing to other clutter

EvaluationSet = Literal["reference", "known", "novel", "ood", "clutter", "calibration"]
EVALUATION_SETS: tuple[EvaluationSet, ...] = ("reference", "known", "novel", "ood", "clutter")
SETS: tuple[EvaluationSet, ...] = (*EVALUATION_SETS, "calibration")  # the last only if it is configured

PredictionRule = Literal["softmax", "prototype"]
OnBadFrame = Literal["stop", "skip"]
UNKNOWN = "unknown"  # the answer for a refused box
AnnotationTool = Literal["labelme", "coco", "yolo"]
Projection = Literal["tsne", "pca"]  # of embeddings to the plane
ReportFormat = Literal["html", "md", "csv", "latex"]


def is_clutter(labels: Tensor) -> Tensor:
    """Whether each crop of labels (B,) is clutter.

    Example:
        >>> import torch
        >>> is_clutter(torch.tensor([0, CLUTTER, -1]))
        tensor([False,  True, False])
    """
    return labels.long() == CLUTTER  # a narrower type would be compared with the number that CLUTTER wraps to


class Batch(NamedTuple):
    """Crops as a data loader yields them."""

    images: Tensor  # (B, 1, S, S) float32, normalised
    # (B,) int64; 0..C-1 known, then novel, OOD and clutter classes; while training, clutter is `CLUTTER`
    labels: Tensor
    # (B,) int64, the crop's row in the table; padding copies share it
    index: Tensor  # type: ignore[assignment] # hides tuple.index, which nobody needs here
    side: Tensor  # (B, n) float32, above 0: side inputs in their own units; n is 0 without any


class Encoded(NamedTuple):
    """What an encoder makes of a batch of crops."""

    vectors: Tensor  # (B, D) embeddings
    features: Tensor  # (B, F) output of the backbone, before the projection, at unit length


class LossOutput(NamedTuple):
    """Loss and triplet counts, as every loss returns them."""

    loss: Tensor  # scalar with a gradient
    counts: dict[str, Tensor]  # int64 scalars: valid, active, hard, semihard, easy; empty if not counted


class LinearHead(NamedTuple):
    """A classifier on the embedding: logits = vectors @ weight.T + bias.

    Example:
        >>> import torch
        >>> head = LinearHead(weight=torch.eye(2), bias=torch.tensor([0.0, 1.0]))
        >>> torch.tensor([[3.0, 4.0]]) @ head.weight.T + head.bias
        tensor([[3., 5.]])
    """

    weight: Tensor  # (C, D)
    bias: Tensor  # (C,)


_INTEGERS = ("torch.int64", "torch.int32", "torch.int16", "torch.int8", "torch.uint8")


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of an evaluation set: one row per crop, no copies, ordered by `index`.

    This is checked here, once, and taken for granted wherever there are `Embeddings`. The order is checked on the CPU
    alone: on a GPU the program would have to wait for it.

    Raises:
        ValueError: If the columns do not fit each other, or an index is not above the one before.

    Example:
        >>> import torch
        >>> len(Embeddings(torch.zeros(2, 8), labels=torch.tensor([0, 1]), index=torch.tensor([3, 7])))
        2
    """

    vectors: Tensor  # (N, D) floating-point
    labels: Tensor  # (N,) int64
    index: Tensor  # (N,) int64, strictly increasing
    logits: Tensor | None = None  # (N, C), from an arm that classifies
    features: Tensor | None = None  # (N, F) backbone features of unit length; None if the encoder's are not known

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not self.vectors.is_floating_point():
            raise ValueError(f"vectors must be floating-point (N, D), got {_kind(self.vectors)}.")
        for name, column in (("labels", self.labels), ("index", self.index)):
            if column.shape != self.vectors.shape[:1] or str(column.dtype) not in _INTEGERS:
                raise ValueError(f"{name} must be {len(self.vectors)} integers, one per row, got {_kind(column)}.")
        for name, rows, width in (("logits", self.logits, "C"), ("features", self.features, "F")):
            if rows is not None and (rows.ndim != 2 or len(rows) != len(self.vectors)):
                raise ValueError(f"{name} must be ({len(self.vectors)}, {width}), got {_kind(rows)}.")
        if self.index.device.type == "cpu" and bool((steps := self.index.diff()).le(0).any()):
            row = int(steps.le(0).nonzero()[0, 0]) + 1
            raise ValueError(
                f"the index must increase from row to row: row {row} has {self.index[row]} after {self.index[row - 1]}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Embeddings:
        """The same rows on another device."""
        return self._each(lambda column: column.to(device))

    def at(self, rows: Tensor | slice) -> Embeddings:
        """Some of the rows, by a mask, a slice or ascending positions.

        Example:
            >>> import torch
            >>> every = Embeddings(torch.zeros(3, 8), labels=torch.tensor([0, 1, 1]), index=torch.arange(3))
            >>> every.at(every.labels == 1).index
            tensor([1, 2])
        """
        return self._each(lambda column: column[rows])

    @staticmethod
    def joined(parts: Sequence[Embeddings]) -> Embeddings:
        """The rows of several parts, of which none is in two, by ascending index.

        Example:
            >>> import torch
            >>> parts = [Embeddings(torch.zeros(1, 8), torch.tensor([0]), torch.tensor([i])) for i in (7, 3)]
            >>> Embeddings.joined(parts).index
            tensor([3, 7])
        """
        import torch

        order = torch.cat([part.index for part in parts]).argsort()
        columns = {name: [getattr(part, name) for part in parts] for name in vars(parts[0])}
        return Embeddings(**{name: torch.cat(own)[order] for name, own in columns.items() if own[0] is not None})

    def _each(self, change: Callable[[Tensor], Tensor]) -> Embeddings:
        columns = (self.vectors, self.labels, self.index, self.logits, self.features)
        return Embeddings(*(column if column is None else change(column) for column in columns))  # type: ignore[arg-type] # None where it was
