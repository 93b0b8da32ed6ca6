"""One rank's share of a pytorch-metric-learning loss: its own anchors against the global batch.

The library's own way of doing this (DistributedLossWrapper with efficient=True) averages over the rows
of one rank and sends no gradient to the others; here sums and counts add up over ranks.

B anchors of this rank, N rows of the global batch.
"""

from collections.abc import Callable

import torch
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.losses.generic_pair_loss import GenericPairLoss
from pytorch_metric_learning.miners import BaseMiner
from pytorch_metric_learning.reducers import AvgNonZeroReducer, BaseReducer, MeanReducer, MultipleReducers
from pytorch_metric_learning.utils.loss_and_miner_utils import convert_to_pairs, convert_to_triplets
from torch import Tensor

from dml_lightning import distributed
from dml_lightning.losses.functional import pair_masks
from dml_lightning.types import is_clutter

MinedIndices = tuple[Tensor, ...]  # (anchors, positives, negatives), or pairs (a, p) and (a, n)

TRIPLET_CELLS = 2**28  # most cells of a mask (b, N, N), 1 byte each
PER_ANCHOR = (  # losses that are means of terms of one anchor each
    losses.TripletMarginLoss,
    losses.ContrastiveLoss,
    losses.MultiSimilarityLoss,
    losses.CircleLoss,
    losses.SupConLoss,
)


PER_ANCHOR_MINERS = (  # miners whose choice for an anchor does not depend on other anchors
    miners.BatchEasyHardMiner,
    miners.BatchHardMiner,
    miners.MultiSimilarityMiner,
    miners.PairMarginMiner,
    miners.TripletMarginMiner,
)


def can_be_shared(loss: losses.BaseMetricLossFunction) -> bool:
    """Whether the loss is a mean of terms of one anchor each, so that each rank can compute those of its own anchors.

    Example:
        >>> can_be_shared(losses.TripletMarginLoss()), can_be_shared(losses.TripletMarginLoss(swap=True))
        (True, False)
    """
    if type(loss) not in PER_ANCHOR:
        return False
    named, default = reducers_of(loss)
    return (
        not getattr(loss, "swap", False)  # swap compares a positive with a negative
        and loss.embedding_regularizer is None
        and all(type(reducer) in (MeanReducer, AvgNonZeroReducer) for reducer in (*named.values(), default))
    )


def reducers_of(loss: losses.BaseMetricLossFunction) -> tuple[dict[str, BaseReducer], BaseReducer]:
    """Reducers of a loss's terms by name, and the one of terms that are not named.

    Example:
        >>> reducers_of(losses.TripletMarginLoss())
        ({}, AvgNonZeroReducer())
        >>> some = MultipleReducers({"pos_loss": AvgNonZeroReducer()})  # "neg_loss" has the default
        >>> reducers_of(losses.ContrastiveLoss(reducer=some))
        ({'pos_loss': AvgNonZeroReducer()}, MeanReducer())
    """
    reducer = loss.reducer
    if type(reducer) is MultipleReducers:  # a subclass may sum terms in another way
        return dict(reducer.reducers), reducer.default_reducer
    return {}, reducer


def mine_globally(
    loss: losses.BaseMetricLossFunction | None, miner: BaseMiner | None, batch: distributed.GlobalBatch
) -> MinedIndices | None:
    """Mine pairs or triplets of the whole batch, the same on every rank; None if nothing is mined.

    Args:
        loss: Loss whose `triplets_per_anchor` are drawn here already; None leaves the draw to the loss.
        miner: Miner of pairs or triplets.
        batch: The global batch.
    """
    mined: MinedIndices | None = None
    if miner is not None:
        mined = miner(batch.embeddings, batch.labels)
    draw = getattr(loss, "triplets_per_anchor", "all")
    if mined is None and draw != "all":
        mined = convert_to_triplets(None, batch.labels, t_per_anchor=draw)
    return mined


def share(
    loss: losses.BaseMetricLossFunction,
    anchors: Tensor,
    labels: Tensor,
    batch: distributed.GlobalBatch,
    mined: MinedIndices | None,
    clutter: bool = False,
) -> Tensor:
    """Loss of the global batch, computed from this rank's anchors; a collective.

    Args:
        loss: Loss that `can_be_shared`.
        anchors: Embeddings (B, D) of this rank.
        labels: Labels (B,).
        batch: The global batch.
        mined: Positions in it of mined pairs or triplets; None for all of them.
        clutter: Whether the global batch holds clutter, which is no anchor.
    """
    if mined is None:
        positive, negative = pair_masks(labels, batch.labels, batch.offset)
        triplets = isinstance(loss, losses.TripletMarginLoss)
        own = all_triplets(positive, negative) if triplets else all_pairs(positive, negative)
    else:
        own = of_anchors(mined, batch.offset, len(anchors))
    if clutter:
        known = ~is_clutter(labels)
        own, anchors, labels = among(own, known), anchors[known], labels[known]
    if isinstance(loss, GenericPairLoss):  # its compute_loss treats a single pair on a rank as none
        terms = loss.loss_method(loss.distance(anchors, batch.embeddings), convert_to_pairs(own, labels))
    else:
        terms = loss.compute_loss(anchors, labels, own, batch.embeddings, batch.labels)
    zero = 0 * (anchors.sum() + batch.embeddings.sum())  # every rank runs the backward
    reducers, default = reducers_of(loss)
    means = []
    for name, term in terms.items():
        values = term["losses"] if torch.is_tensor(term["losses"]) else zero.new_zeros(0)
        if isinstance(reducers.get(name, default), AvgNonZeroReducer):
            values = values[values > 0]
        total = values.sum(dtype=torch.float64) + zero
        count = torch.tensor(len(values), device=anchors.device)
        means.append(distributed.global_mean(total, count))
    return torch.stack(means).sum().to(anchors.dtype)


def all_pairs(positive: Tensor, negative: Tensor) -> MinedIndices:
    """Positions of every pair of the masks (B, N): anchors and positives, anchors and negatives.

    Example:
        >>> all_pairs(torch.tensor([[False, True]]), torch.tensor([[True, False]]))
        (tensor([0]), tensor([1]), tensor([0]), tensor([0]))
    """
    return (*torch.where(positive), *torch.where(negative))


def all_triplets(positive: Tensor, negative: Tensor) -> MinedIndices:
    """Positions of every triplet of the masks (B, N): anchors, positives, negatives. Memory is that of a few anchors.

    Example:
        >>> all_triplets(torch.tensor([[False, True, False]]), torch.tensor([[False, False, True]]))
        (tensor([0]), tensor([1]), tensor([2]))
    """
    step = max(1, TRIPLET_CELLS // positive.shape[1] ** 2)
    parts = []
    for begin in range(0, max(1, len(positive)), step):
        rows = slice(begin, begin + step)
        cells = (positive[rows].unsqueeze(2) & negative[rows].unsqueeze(1)).nonzero()  # (T, 3)
        cells[:, 0] += begin
        parts.append(cells)
    return torch.cat(parts).unbind(1)


def of_anchors(mined: MinedIndices, offset: int, count: int) -> MinedIndices:
    """Pairs or triplets whose anchor is among the `count` rows from `offset` on; anchors are numbered from there.

    Example:
        >>> of_anchors((torch.tensor([0, 2]), torch.tensor([1, 3]), torch.tensor([2, 0])), offset=2, count=2)
        (tensor([0]), tensor([3]), tensor([0]))
    """

    def select(anchors: Tensor, *others: Tensor) -> MinedIndices:
        kept = (anchors >= offset) & (anchors < offset + count)
        return (anchors[kept] - offset, *(other[kept] for other in others))

    return _each(select, mined)


def among(own: MinedIndices, kept: Tensor) -> MinedIndices:
    """Pairs or triplets whose anchor is kept; anchors are numbered among those.

    Args:
        own: Pairs or triplets.
        kept: Whether (B,) each anchor is kept.

    Example:
        >>> among((torch.tensor([0, 2]), torch.tensor([1, 3]), torch.tensor([2, 0])), torch.tensor([False, True, True]))
        (tensor([1]), tensor([3]), tensor([0]))
    """
    number = kept.cumsum(0) - 1

    def select(anchors: Tensor, *others: Tensor) -> MinedIndices:
        chosen = kept[anchors]
        return (number[anchors[chosen]], *(other[chosen] for other in others))

    return _each(select, own)


def _each(select: Callable[..., MinedIndices], mined: MinedIndices) -> MinedIndices:
    """Apply `select` to triplets, or to the positive and the negative pairs."""
    return select(*mined) if len(mined) == 3 else (*select(*mined[:2]), *select(*mined[2:]))
