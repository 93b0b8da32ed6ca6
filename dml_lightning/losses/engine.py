"""The exact triplet engine: every triplet counted, none listed.

For an anchor, sort its positives' thresholds d_p + m together with its negatives' distances d_n.
The hinge sum, its gradient and the counts of active and hard triplets follow from the number of
negatives before each threshold and of thresholds after each negative: time O(B N log N), memory of
one block of anchors times N, whatever the number of triplets.

B anchors, N references, D embedding size; A anchors that have a positive and a negative.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from dml_lightning.losses.gradient import PairGradient, PairSums, pair_sum
from dml_lightning.losses.mining import Selection, mine, rank_keys, split_distances
from dml_lightning.pairs.distances import BlockDistances
from dml_lightning.pairs.order import Layout, Rows, arrange, blocks
from dml_lightning.pairs.shares import over_threads


class TripletSums(NamedTuple):
    """Sums over the triplets of one rank's anchors; added up over ranks, they are those of the global batch."""

    total: Tensor  # () float64 sum over mined triplets, with a gradient
    mined: Tensor  # () int64 mined triplets
    nonzero: Tensor  # () int64 mined triplets with a loss
    counts: dict[str, Tensor]  # valid, active, hard, semihard and easy triplets, mined or not


@torch.no_grad()
def sweep(x: Tensor, y: Tensor, layout: Layout, selection: Selection, rows: list[Rows], wanted: bool) -> PairSums:
    """Loss, counts and (if `wanted`) gradient of some blocks of anchors.

    Args:
        x: Anchors (A, D) in class order.
        y: References (N, D) in class order.
        layout: Positions of classes.
        selection: Triplets that count.
        rows: Blocks of anchors.
        wanted: Whether the gradient will be used.

    Returns:
        Sums whose `numbers` are mined, mined with a loss, active and hard triplets.
    """
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    numbers = torch.zeros(4, dtype=torch.long, device=x.device)
    gradient = PairGradient(x, y, selection.squared)
    distances = BlockDistances(x, y, selection.squared)
    for part, around in rows:
        block = split_distances(distances.of(part, around), layout, part, selection)
        ranks = rank_keys(block)
        mined = mine(block, ranks, selection)
        total += mined.total
        active, hard = ranks.active_of_positive.sum(), ranks.hard_of_positive.sum()
        numbers += torch.stack([mined.mined, mined.nonzero, active, hard])
        if wanted:
            gradient.add(part, mined.weights, block.values)
    return PairSums(total, numbers, *gradient.result())


def add(one: PairSums, other: PairSums) -> PairSums:
    """Add up two parts."""
    return PairSums(*(a + b for a, b in zip(one, other, strict=True)))


def sweep_all(x: Tensor, y: Tensor, layout: Layout, selection: Selection, wanted: bool) -> PairSums:
    """`sweep` over all anchors; on the CPU each thread takes blocks of its own, in turn."""
    rows = list(blocks(layout))

    def split(parts: int) -> list[list[Rows]]:
        parts = max(1, min(parts, len(rows)))
        return [rows[part::parts] for part in range(parts)]

    sums = over_threads(lambda part: sweep(x, y, layout, selection, part, wanted), split, x.device)
    return functools.reduce(add, sums)


def triplet_sums(
    anchors: Tensor,
    labels: Tensor,
    references: Tensor,
    reference_labels: Tensor,
    offset: int | None,
    selection: Selection,
) -> TripletSums:
    """Sum the loss over the triplets that are mined for these anchors, and count all triplets.

    Args:
        anchors: Embeddings (B, D), float32 or float64.
        labels: Labels (B,), any integers.
        references: Embeddings (N, D) that positives and negatives come from.
        reference_labels: Labels (N,).
        offset: Position of the first anchor among the references; None if no anchor is a reference.
        selection: Triplets that count, and how much.

    Example:
        >>> points, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> sums = triplet_sums(points, labels, points, labels, 0, Selection(margin=1.0))
        >>> sums.total, sums.counts["hard"]  # (1 - 1.5 + 1) + (1 - 0.5 + 1)
        (tensor(2., dtype=torch.float64), tensor(1))
    """
    layout = arrange(labels, reference_labels, offset)

    def compute(anchors: Tensor, references: Tensor, wanted: bool) -> PairSums:
        x, y = anchors[layout.anchors], references[layout.references]
        total, numbers, to_x, to_y = sweep_all(x, y, layout, selection, wanted)
        return PairSums(
            total,
            numbers,
            torch.zeros_like(anchors).index_copy_(0, layout.anchors, to_x),
            torch.zeros_like(references).index_copy_(0, layout.references, to_y),
        )

    total, numbers = pair_sum(anchors, references, compute)
    mined, nonzero, active, hard = numbers.unbind()
    every = layout.valid if selection.mining == "all" else mined
    counts = {
        "valid": layout.valid,
        "active": active,
        "hard": hard,
        "semihard": active - hard,
        "easy": layout.valid - active,
    }
    return TripletSums(total, every, nonzero, counts)
