"""Distances within and between classes: means over pairs and over triplets, extremes and worst gaps.

Everything follows from the six numbers per anchor of `AnchorDistances`, from one pass over blocks of rows.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dml_lightning.distributed import all_sum
from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors
from dml_lightning.pairs.distances import PairwiseDistances
from dml_lightning.pairs.order import ClassOrder
from dml_lightning.pairs.shares import joined, share_of

NAN = float("nan")


class DistanceSummary(NamedTuple):
    """Distances over all pairs; NaN where there is no such pair."""

    intra: float  # mean over pairs of different samples of one class
    inter: float  # mean over pairs of samples of two classes
    ratio: float  # inter / intra, larger is better; inf if intra alone is 0
    min_inter: float
    max_intra: float


class GapSummary(NamedTuple):
    """How far the triplets (a, p, n) exceed a margin m; NaN if there is no valid triplet."""

    triplet_intra: float  # mean d(a, p) over valid triplets
    triplet_inter: float  # mean d(a, n) over valid triplets
    mean_gap: float  # triplet_inter - triplet_intra - m: >= 0 is necessary for zero loss, not sufficient
    worst_gap: float  # min d(a, n) - max d(a, p) - m over the whole set: >= 0 is sufficient
    worst_anchor_gap: float  # the same within one anchor, for the worst: >= 0 if and only if no triplet is active


@dataclass(frozen=True, eq=False)
class AnchorDistances:
    """Counts, sums and extremes of each anchor's distances to the other samples."""

    positives: Tensor  # (N,) int64, number of other samples of the anchor's class
    negatives: Tensor  # (N,) int64, number of samples of other classes
    positive_sum: Tensor  # (N,) float64, sum of distances to positives
    negative_sum: Tensor  # (N,) float64
    positive_max: Tensor  # (N,) float64, -inf without a positive
    negative_min: Tensor  # (N,) float64, inf without a negative


def anchor_distances(
    embeddings: Vectors, labels: Vectors, *, squared: bool = False, split_over_ranks: bool = False
) -> AnchorDistances:
    """Sum and extremes of each anchor's distances to its own class and to the others.

    Args:
        embeddings: Embeddings (N, D).
        labels: Labels (N,), integers.
        squared: Whether distances are squared.
        split_over_ranks: Whether each process computes its share of the anchors. Every process returns all of them,
            and all must call this with the same arguments.

    Raises:
        ValueError: If the shapes disagree or an embedding is not finite.

    Example:
        >>> anchors = anchor_distances(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1]))
        >>> anchors.negative_min
        tensor([3., 2., 2.], dtype=torch.float64)
    """
    vectors = as_vectors(embeddings)  # (N, D)
    classes = as_labels(labels, vectors)  # (N,)
    share = share_of(torch.arange(len(vectors), device=vectors.device), split_over_ranks)
    columns = _per_anchor(vectors, classes, share, squared)  # (share, 5)
    size, total, own, farthest, nearest = joined(columns, split_over_ranks).T
    positives = size.long() - 1
    return AnchorDistances(
        positives=positives,
        negatives=len(vectors) - 1 - positives,
        positive_sum=own,
        negative_sum=total - own,
        positive_max=torch.where(positives > 0, farthest, -torch.inf),
        negative_min=nearest,
    )


def _per_anchor(vectors: Tensor, classes: Tensor, share: Tensor, squared: bool) -> Tensor:
    """Class size, sum of all distances, sum and maximum within the class, minimum outside: (P, 5) for anchors (P,)."""
    order = ClassOrder(classes[share], classes)
    anchors = share[order.queries]  # (P,) by class
    itself = order.references.argsort()[anchors]  # (P,) columns
    columns = vectors[order.references]  # (N, D) by class
    results = vectors.new_zeros(5, len(anchors), dtype=torch.float64)
    size, total, own, farthest, nearest = results
    for rows, block in PairwiseDistances(vectors[anchors], columns, itself).blocks():
        block.scatter_(1, itself[rows, None], 0.0)
        distances = block if squared else block.sqrt_()  # (rows, N)
        total[rows] = distances.sum(1)
        for segment, members in order.segments(rows):
            part = distances[segment.start - rows.start : segment.stop - rows.start]
            same = part[:, members]
            size[segment] = members.stop - members.start
            own[segment] = same.sum(1)
            farthest[segment] = same.amax(1)
            same.fill_(torch.inf)
            nearest[segment] = part.amin(1)
    return results[:, order.queries.argsort()].T


def _mean(total: Tensor, count: Tensor) -> float:
    """Sum of totals over sum of integer counts; NaN if nothing was counted."""
    weight = int(count.sum())
    return float(total.sum()) / weight if weight else NAN


def _ratio(inter: float, intra: float) -> float:
    if intra == 0.0 and inter > 0.0:
        return float("inf")
    return inter / intra if intra != 0.0 else NAN


def summarise_distances(anchors: AnchorDistances) -> DistanceSummary:
    """Means and extremes over pairs, from `anchor_distances`.

    Example:
        >>> anchors = anchor_distances(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1]))
        >>> summarise_distances(anchors).ratio
        2.5
    """
    intra = _mean(anchors.positive_sum, anchors.positives)
    inter = _mean(anchors.negative_sum, anchors.negatives)
    return DistanceSummary(
        intra=intra,
        inter=inter,
        ratio=_ratio(inter, intra),
        min_inter=float(anchors.negative_min.min()) if inter == inter else NAN,
        max_intra=float(anchors.positive_max.max()) if intra == intra else NAN,
    )


def summarise_gaps(anchors: AnchorDistances, margin: float) -> GapSummary:
    """Means over valid triplets and worst gaps beyond `margin`, from `anchor_distances`.

    In a mean over triplets a positive pair counts once per negative of its anchor, and a negative pair once
    per positive: under class imbalance this differs from the mean over pairs, and only this one bounds the loss.

    Example:
        >>> anchors = anchor_distances(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1]))
        >>> summarise_gaps(anchors, margin=0.5).mean_gap
        1.0
    """
    valid = anchors.positives * anchors.negatives  # (N,) triplets per anchor
    anchored = valid > 0
    if not bool(anchored.any()):
        return GapSummary(NAN, NAN, NAN, NAN, NAN)
    intra = _mean(anchors.positive_sum * anchors.negatives, valid)
    inter = _mean(anchors.negative_sum * anchors.positives, valid)
    farthest = anchors.positive_max[anchored]
    nearest = anchors.negative_min[anchored]
    return GapSummary(
        triplet_intra=intra,
        triplet_inter=inter,
        mean_gap=inter - intra - margin,
        worst_gap=float(nearest.min() - farthest.max()) - margin,
        worst_anchor_gap=float((nearest - farthest).min()) - margin,
    )


def distance_summary(embeddings: Vectors, labels: Vectors) -> DistanceSummary:
    """Mean distance within and between classes, their ratio, and the extremes, over all pairs.

    Args:
        embeddings: Embeddings (N, D).
        labels: Labels (N,), integers.

    Raises:
        ValueError: If the shapes disagree or an embedding is not finite.

    Example:
        >>> distance_summary(torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1]))
        DistanceSummary(intra=1.0, inter=4.0, ratio=4.0, min_inter=3.0, max_intra=1.0)
    """
    return summarise_distances(anchor_distances(embeddings, labels))


def gap_summary(embeddings: Vectors, labels: Vectors, margin: float, *, squared: bool = False) -> GapSummary:
    """How far the triplets of a set exceed the margin, on average and at worst.

    Args:
        embeddings: Embeddings (N, D).
        labels: Labels (N,), integers.
        margin: Margin m, in the unit of the (squared) distance.
        squared: Whether distances are squared, as in a loss on squared distances.

    Raises:
        ValueError: If the shapes disagree or an embedding is not finite.

    Example:
        >>> gaps = gap_summary(torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1]), margin=0.5)
        >>> gaps.mean_gap, gaps.worst_anchor_gap
        (2.5, 1.5)
    """
    return summarise_gaps(anchor_distances(embeddings, labels, squared=squared), margin)


def class_distance_table(
    embeddings: Vectors, labels: Vectors, *, split_over_ranks: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean distance of every pair of classes.

    Args:
        embeddings: Embeddings (N, D).
        labels: Labels (N,), integers.
        split_over_ranks: As in `anchor_distances`.

    Returns:
        The classes present (C,), ascending, and the symmetric table (C, C) float64. The diagonal is the mean
        over pairs of different samples of the class, NaN for a class of one sample.

    Raises:
        ValueError: If the shapes disagree or an embedding is not finite.

    Example:
        >>> class_distance_table(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([7, 7, 9]))[1]
        tensor([[1.0000, 2.5000],
                [2.5000,    nan]], dtype=torch.float64)
    """
    vectors = as_vectors(embeddings)
    classes, inverse, sizes = torch.unique(as_labels(labels, vectors), return_inverse=True, return_counts=True)
    share = share_of(torch.arange(len(vectors), device=vectors.device), split_over_ranks)
    sums = vectors.new_zeros(len(classes), len(classes), dtype=torch.float64)
    for rows, block in PairwiseDistances(vectors[share], vectors, share).blocks():
        block.scatter_(1, share[rows, None], 0.0)
        by_class = block.new_zeros(len(classes), rows.stop - rows.start)
        by_class.index_add_(0, inverse, block.sqrt_().T)  # (C, rows)
        sums.index_add_(0, inverse[share[rows]], by_class.T)
    if split_over_ranks:
        sums = all_sum(sums)
    pairs = sizes[:, None] * sizes - torch.diag(sizes)  # (C, C)
    return classes, sums / pairs  # 0 / 0 is NaN
