"""Mining within a block of anchors: triplets are counted and chosen by sorting, without a list of them.

b anchors of a block, N references, P positives of an anchor (padded within the block).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dml_lightning.pairs.keys import stable_order
from dml_lightning.pairs.order import Layout

Mining = Literal["all", "semihard", "facenet", "hard", "easy_positive"]
MININGS: tuple[Mining, ...] = ("all", "semihard", "facenet", "hard", "easy_positive")


@dataclass(frozen=True)
class Selection:
    """Which triplets count, and the loss of each; arguments as in `losses.functional.triplet_loss`.

    Example:
        >>> Selection(margin=0.2, mining="hard")
        Selection(margin=0.2, mining='hard', soft=False, squared=False)
    """

    margin: float
    mining: Mining = "all"
    soft: bool = False
    squared: bool = False


@dataclass(frozen=True)
class Block:
    """Distances of b anchors, squared if the selection is on squared distances."""

    values: Tensor  # (b, N)
    negatives: Tensor  # (b, N) values, +inf in the anchor's own class
    columns: Tensor  # (b, P) columns of the anchor's class; the last one repeated as padding
    positives: Tensor  # (b, P) distances, 0 where there is no positive
    thresholds: Tensor  # (b, P) positives + margin, 0 where there is no positive
    present: Tensor  # (b, P) whether there is a positive


def split_distances(values: Tensor, layout: Layout, rows: slice, selection: Selection) -> Block:
    """Tell positives from negatives in the distances (b, N) of some anchors."""
    start, size, own = (x[rows].unsqueeze(1) for x in (layout.start, layout.size, layout.own))
    within = torch.arange(int(size.max()), device=values.device)  # (P,)
    columns = start + within.minimum(size - 1)
    present = (within < size) & (columns != own)
    positives = torch.where(present, values.gather(1, columns), 0)
    return Block(
        values=values,
        negatives=values.scatter(1, columns, torch.inf),
        columns=columns,
        positives=positives,
        thresholds=torch.where(present, positives + selection.margin, 0),
        present=present,
    )


class Ranks(NamedTuple):
    """Numbers of active (d_n < d_p + m) and hard (d_n < d_p) triplets of each positive, int32, and the sort order."""

    active_of_positive: Tensor  # (b, P) negatives before the threshold
    hard_of_positive: Tensor  # (b, P) negatives before the positive
    order: Tensor  # (b, 2P + N) of thresholds, positives and negatives together


def passed(order: Tensor, counted: Tensor) -> Tensor:
    """Number of counted keys at or before each key (b, M), by column.

    Args:
        order: Columns (b, M) of the keys in sorted order.
        counted: Whether (b, M) each sorted key counts.

    Example:
        >>> passed(torch.tensor([[2, 0, 1]]), torch.tensor([[True, False, True]]))
        tensor([[1, 2, 1]], dtype=torch.int32)
    """
    seen = counted.cumsum(1, dtype=torch.int32)
    return torch.empty_like(seen).scatter_(1, order, seen)


def rank_keys(block: Block) -> Ranks:
    """Sort thresholds, positives and negatives of each anchor together.

    Equal keys stay in the order threshold, positive, negative, so that `<` is strict.
    """
    p = block.positives.shape[1]
    order = stable_order(torch.cat([block.thresholds, block.positives, block.negatives], dim=1))
    negatives = passed(order, order >= 2 * p)
    return Ranks(negatives[:, :p], negatives[:, p : 2 * p], order)


class Mined(NamedTuple):
    """Sums over the mined triplets of a block."""

    total: Tensor  # () float64
    mined: Tensor  # () int64, mined triplets
    nonzero: Tensor  # () int64, mined triplets with a loss
    weights: Tensor  # (b, N) derivative of the total with respect to each distance


def _spread(block: Block, positive: Tensor, negative: Tensor) -> Tensor:
    """Add the weights of positives (b, P) to those of negatives (b, N), in place."""
    share = torch.where(block.present, positive, 0).to(negative.dtype)
    return negative.scatter_add_(1, block.columns, share)


def hinge_of_all(block: Block, ranks: Ranks, selection: Selection) -> Mined:
    """Sum d_p + m − d_n over all active, or all semi-hard, triplets, from counts alone.

    A positive counts the negatives before its threshold, a negative (below zero) the thresholds
    after it; semi-hard triplets are the active ones less the hard ones.
    """
    p, order = block.positives.shape[1], ranks.order
    positive = ranks.active_of_positive
    negative = passed(order, order < p)[:, 2 * p :] - p
    if selection.mining == "semihard":
        positive = positive - ranks.hard_of_positive
        negative += p - passed(order, (order >= p) & (order < 2 * p))[:, 2 * p :]
    weights = negative.to(block.values.dtype)
    total = (block.thresholds.double() * positive).sum()
    total += (block.values * weights).sum(dtype=torch.float64)
    number = positive.sum()
    return Mined(total, number, number, _spread(block, positive, weights))


def soft_of_all(block: Block, selection: Selection) -> Mined:
    """Sum log(1 + exp(d_p − d_n)) over all, or all semi-hard, triplets, positive by positive."""
    weights = torch.zeros_like(block.values)
    shares = torch.zeros_like(block.positives)
    total = torch.zeros((), dtype=torch.float64, device=weights.device)
    mined = torch.zeros((), dtype=torch.long, device=weights.device)
    for j in range(block.positives.shape[1]):
        near = block.positives[:, j : j + 1]
        chosen = block.present[:, j : j + 1] & block.negatives.isfinite()
        if selection.mining == "semihard":
            chosen &= (block.negatives >= near) & (block.negatives < block.thresholds[:, j : j + 1])
        gap = torch.where(chosen, near - block.values, -torch.inf)  # (b, N)
        total -= F.logsigmoid(-gap).sum(dtype=torch.float64)
        slope = gap.sigmoid_()
        weights -= slope
        shares[:, j] = slope.sum(1)
        mined += chosen.sum()
    return Mined(total, mined, mined, _spread(block, shares, weights))


def select(block: Block, mining: Mining) -> tuple[Tensor, Tensor]:
    """Choose one negative per anchor-positive pair ("facenet"), or one triplet per anchor.

    Returns:
        Positions (b, K) among the block's positives, and columns (b, K) of the negatives.
    """
    if mining == "facenet":
        order = stable_order(block.negatives)
        ordered = block.negatives.gather(1, order)
        last = block.negatives.isfinite().sum(1, keepdim=True) - 1
        after = torch.searchsorted(ordered, block.positives.contiguous(), right=True)
        positions = torch.arange(block.positives.shape[1], device=order.device).expand_as(after)
        return positions, order.gather(1, after.minimum(last))
    far = mining == "hard"
    ranked = torch.where(block.present, block.positives, -1 if far else torch.inf)
    positions = ranked.argmax(1, keepdim=True) if far else ranked.argmin(1, keepdim=True)
    return positions, block.negatives.argmin(1, keepdim=True)


def loss_of_selected(block: Block, selection: Selection) -> Mined:
    """Sum the hinge or soft margin over the triplets that `select` chooses."""
    positions, columns = select(block, selection.mining)
    present = block.present.gather(1, positions)
    negative = block.values.gather(1, columns)
    if selection.soft:
        gap = torch.where(present, block.positives.gather(1, positions) - negative, -torch.inf)
        cost, slope, lossy = -F.logsigmoid(-gap), gap.sigmoid(), present
    else:
        gap = block.thresholds.gather(1, positions) - negative
        lossy = present & (negative < block.thresholds.gather(1, positions))
        cost, slope = torch.where(lossy, gap, 0), lossy.to(gap.dtype)
    weights = torch.zeros_like(block.values).scatter_add_(1, columns, -slope)
    weights.scatter_add_(1, block.columns.gather(1, positions), slope)
    return Mined(cost.sum(dtype=torch.float64), present.sum(), lossy.sum(), weights)


def mine(block: Block, ranks: Ranks, selection: Selection) -> Mined:
    """Sum the loss over the triplets of one block that the selection mines.

    Example:
        >>> from dml_lightning.pairs.order import arrange
        >>> labels, selection = torch.tensor([0, 0, 1]), Selection(margin=1.0)
        >>> layout = arrange(labels, labels, offset=0)
        >>> points = torch.tensor([0.0, 1.0, 1.5])
        >>> x, y = points[layout.anchors], points[layout.references]
        >>> block = split_distances((x[:, None] - y).abs(), layout, slice(0, 2), selection)
        >>> mine(block, rank_keys(block), selection).total  # (1 - 1.5 + 1) + (1 - 0.5 + 1)
        tensor(2., dtype=torch.float64)
    """
    if selection.mining in ("facenet", "hard", "easy_positive"):
        return loss_of_selected(block, selection)
    return soft_of_all(block, selection) if selection.soft else hinge_of_all(block, ranks, selection)
