"""The contrastive and the N-pair loss of the global batch."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from dml_lightning import distributed
from dml_lightning.arguments import remember
from dml_lightning.losses.base import EmbeddingLoss, positive
from dml_lightning.losses.functional import check_rows, contrastive_sum, n_pair_sum
from dml_lightning.pairs.blocks import check_finite, wide
from dml_lightning.types import LossOutput


def mean_over_ranks(
    sums: Callable[[Tensor, Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]], embeddings: Tensor, labels: Tensor
) -> LossOutput:
    """Mean over the global batch of a loss that `sums` adds up over this rank's anchors.

    Args:
        sums: Function of anchors, labels, references, their labels and the offset that returns a sum and a count, such
            as `contrastive_sum`.
        embeddings: Embeddings (B, D) of this rank.
        labels: Labels (B,).

    Raises:
        ValueError: If the shapes disagree, the labels are not integers, or an embedding of any rank is not finite.
    """
    check_rows(embeddings, labels)
    anchors = wide(embeddings)
    batch = distributed.global_batch(anchors, labels)
    check_finite(batch.embeddings)
    total, count = sums(anchors, labels, *batch)
    return LossOutput(distributed.global_mean(total, count).to(anchors.dtype), {})


class ContrastiveLoss(EmbeddingLoss):
    """Mean over all pairs of d² (same class) or max(0, margin − d)² (different class).

    Hadsell, Chopra, LeCun 2006; pytorch-metric-learning's loss of this name does not square. Clutter makes pairs as
    the negative of an anchor of a class, and no others.

    Args:
        margin: Distance from which samples of two classes no longer repel each other.

    Raises:
        ValueError: If the margin is not positive and finite.

    Example:
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> ContrastiveLoss(margin=1.0)(points, labels).loss  # (1 + 0 + 0.25) / 3
        tensor(0.4167)
    """

    def __init__(self, margin: float = 1.0) -> None:
        remember(self, ContrastiveLoss, locals())
        super().__init__()
        positive(margin=margin)
        self.margin = margin

    @property
    def takes_clutter(self) -> bool:
        """Whether clutter has a place: it is a negative of every anchor."""
        return True

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss of this rank's embeddings (B, D) within the global batch."""
        return mean_over_ranks(partial(contrastive_sum, margin=self.margin), embeddings, labels)


class NPairLoss(EmbeddingLoss):
    """Mean over anchor-positive pairs of log(1 + Σ_k exp(a·n_k − a·p)), all negatives n_k.

    Sohn 2016. Meant for embeddings that are not normalised, or to be used with a scale. Clutter is among the negatives
    of every anchor, and no anchor itself.

    Args:
        scale: Factor on the dot products; 1 in the paper.

    Raises:
        ValueError: If the scale is not positive and finite.

    Example:
        >>> import torch
        >>> points, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
        >>> NPairLoss()(points, labels).loss  # log(1 + exp(0 - 1))
        tensor(0.3133)
    """

    def __init__(self, scale: float = 1.0) -> None:
        remember(self, NPairLoss, locals())
        super().__init__()
        positive(scale=scale)
        self.scale = scale

    @property
    def takes_clutter(self) -> bool:
        """Whether clutter has a place: it is a negative of every anchor."""
        return True

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss of this rank's embeddings (B, D) within the global batch."""
        return mean_over_ranks(n_pair_sum, wide(embeddings) * self.scale**0.5, labels)
