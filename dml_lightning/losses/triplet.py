"""The triplet loss of the global batch, exact over all triplets."""

from typing import Literal

import torch
from torch import Tensor

from dml_lightning import distributed
from dml_lightning.arguments import remember
from dml_lightning.losses.base import EmbeddingLoss
from dml_lightning.losses.functional import REDUCTIONS, Reduction, check_rows, denominator, local_sums
from dml_lightning.losses.memory import Memory
from dml_lightning.losses.mining import MININGS, Mining, Selection
from dml_lightning.pairs.blocks import wide
from dml_lightning.types import LossOutput

Distance = Literal["euclidean", "squared_euclidean"]


class TripletLoss(EmbeddingLoss):
    """Triplet loss max(0, d(a,p) − d(a,n) + margin) of the global batch, exact over all its triplets.

    Clutter is a negative of every anchor and no anchor itself.

    Args:
        margin: Margin in the unit of `distance`; with `soft` it only defines the counts and "semihard".
        mining: "all", "semihard" (all semi-hard triplets), "facenet" (one semi-hard negative per
            anchor-positive pair), "hard" (farthest positive, nearest negative) or "easy_positive"
            (nearest positive, nearest negative).
        distance: "euclidean" or "squared_euclidean".
        reduction: "active" (mean over mined triplets with a loss), "mean" (over all mined ones) or
            "sum".
        soft: Whether the loss is log(1 + exp(d(a,p) − d(a,n))) instead of the hinge.
        memory_size: Number of past embeddings of the global batch to keep as further positives and negatives
            (cross-batch memory, Wang et al. 2020); 0 keeps none. Used in training mode only.

    Raises:
        ValueError: If a setting is unknown or out of range.

    Example:
        >>> points, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> loss, counts = TripletLoss(margin=1.0, mining="hard")(points, labels)
        >>> loss, counts["active"]  # mean of 1 - 1.5 + 1 and 1 - 0.5 + 1
        (tensor(1.), tensor(2))
    """

    def __init__(
        self,
        margin: float = 0.2,
        mining: Mining = "all",
        distance: Distance = "euclidean",
        reduction: Reduction = "active",
        soft: bool = False,
        memory_size: int = 0,
    ) -> None:
        remember(self, TripletLoss, locals())
        super().__init__()
        for name, value, choices in (
            ("mining", mining, MININGS),
            ("distance", distance, ("euclidean", "squared_euclidean")),
            ("reduction", reduction, REDUCTIONS),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        if not 0 < margin < float("inf"):
            raise ValueError(f"margin must be positive and finite, got {margin}")
        if memory_size < 0:
            raise ValueError(f"memory_size must be at least 0, got {memory_size}")
        self.margin, self.mining, self.distance = margin, mining, distance
        self.reduction, self.soft = reduction, soft
        self.memory = Memory(memory_size) if memory_size else None

    @property
    def compares_crops(self) -> bool:
        """Whether there is no memory of earlier batches to compare with."""
        return self.memory is None

    @property
    def takes_clutter(self) -> bool:
        """Whether clutter has a place: it is a negative of every anchor."""
        return True

    @property
    def squared(self) -> bool:
        """Whether the margin is one of squared distances."""
        return self.distance == "squared_euclidean"

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss of this rank's anchors (B, D) against the gathered batch and the memory."""
        check_rows(embeddings, labels)
        anchors = wide(embeddings)
        references, reference_labels, offset = distributed.global_batch(anchors, labels)
        batch, memory = (references.detach(), reference_labels), self.memory if self.training else None
        if memory is not None:
            references, reference_labels = memory.behind(references, reference_labels)
        selection = Selection(self.margin, self.mining, self.soft, self.squared)
        sums = local_sums(anchors, labels, selection, references, reference_labels, offset)
        if memory is not None:  # not before: a batch that is refused is not remembered
            memory.remember(*batch)
        loss = distributed.global_mean(sums.total, denominator(sums, self.reduction))
        counts = distributed.all_sum(torch.stack(list(sums.counts.values())))
        return LossOutput(loss.to(anchors.dtype), dict(zip(sums.counts, counts.unbind(), strict=True)))

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"margin={self.margin}, mining={self.mining}, distance={self.distance}, "
            f"reduction={self.reduction}, soft={self.soft}"
        )
