"""Pair and multi-sample losses of the global batch."""

from collections.abc import Callable

from torch import Tensor

from dml_lightning import distributed
from dml_lightning.losses.base import EmbeddingLoss, positive
from dml_lightning.losses.functional import check_rows, contrastive_sum, n_pair_sum
from dml_lightning.pairs.blocks import wide
from dml_lightning.types import LossOutput


def mean_over_ranks(
    sums: Callable[[Tensor, Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]], embeddings: Tensor, labels: Tensor
) -> LossOutput:
    """Mean of a sum over this rank's anchors (B, D) against the gathered batch."""
    check_rows(embeddings, labels)
    anchors = wide(embeddings)
    total, count = sums(anchors, labels, *distributed.global_batch(anchors, labels))
    return LossOutput(distributed.global_mean(total, count).to(anchors.dtype), {})


class ContrastiveLoss(EmbeddingLoss):
    """Mean over all pairs of d² (same class) or max(0, margin − d)² (different class).

    Hadsell, Chopra, LeCun 2006; pytorch-metric-learning's loss of this name does not square.

    Args:
        margin: distance from which two classes no longer repel.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        positive(margin=margin)
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss of this rank's embeddings (B, D) within the global batch."""

        def sums(a: Tensor, b: Tensor, c: Tensor, d: Tensor, offset: int) -> tuple[Tensor, Tensor]:
            return contrastive_sum(a, b, c, d, offset, self.margin)

        return mean_over_ranks(sums, embeddings, labels)


class NPairLoss(EmbeddingLoss):
    """Mean over anchor-positive pairs of log(1 + Σ_k exp(a·n_k − a·p)), all negatives n_k.

    Sohn 2016. Meant for embeddings that are not normalised, or for a scale.

    Args:
        scale: factor on the dot products; 1 is the paper.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        positive(scale=scale)
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss of this rank's embeddings (B, D) within the global batch."""
        return mean_over_ranks(n_pair_sum, wide(embeddings) * self.scale**0.5, labels)
