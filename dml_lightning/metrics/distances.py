"""Distances within and between classes: means over pairs and over triplets, extremes and worst gaps.

Everything follows from six numbers per anchor, gathered in one pass over blocks of rows.
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

    intra: float  # mean over the pairs of one class, without a sample and itself
    inter: float  # mean over the pairs of two classes
    ratio: float  # inter / intra, larger is better; inf where intra alone is 0
    min_inter: float
    max_intra: float


class GapSummary(NamedTuple):
    """By how much the triplets are satisfied, beyond the margin; NaN where there is no valid triplet."""

    triplet_intra: float  # mean d(a, p) over valid triplets
    triplet_inter: float  # mean d(a, n) over valid triplets
    mean_gap: float  # triplet_inter - triplet_intra - m: >= 0 is necessary for zero loss, not sufficient
    worst_gap: float  # min d(a, n) - max d(a, p) - m over the whole set: >= 0 is sufficient
    worst_anchor_gap: float  # the same within the worst anchor: >= 0 if and only if no triplet is active


@dataclass(frozen=True, eq=False)
class AnchorDistances:
    """What one pass keeps of all N x N distances: a number per anchor."""

    positives: Tensor  # (N,) int64, other samples of the anchor's class
    negatives: Tensor  # (N,) int64
    positive_sum: Tensor  # (N,) float64
    negative_sum: Tensor  # (N,)
    positive_max: Tensor  # (N,), -inf without a positive
    negative_min: Tensor  # (N,), inf without a negative


def anchor_distances(
    embeddings: Vectors, labels: Vectors, *, squared: bool = False, split_over_ranks: bool = False
) -> AnchorDistances:
    """Sum and extremes of each anchor's distances to its class and to the others.

    Args:
        embeddings: (N, D).
        labels: (N,) integers.
        squared: Take squared Euclidean distances.
        split_over_ranks: Each process takes its share of the anchors, and every process returns them all. All
            must call this with the same arguments.
    """
    vectors = as_vectors(embeddings)  # (N, D)
    classes = as_labels(labels, vectors)  # (N,)
    share = share_of(torch.arange(len(vectors), device=vectors.device), split_over_ranks)
    found = _per_anchor(vectors, classes, share, squared)  # (share, 5)
    size, total, own, farthest, nearest = joined(found, split_over_ranks).T
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
    """Class size, sum of all distances, sum and maximum in the class, minimum outside (P, 5) of anchors (P,)."""
    order = ClassOrder(classes[share], classes)
    anchors = share[order.queries]  # (P,) by class
    itself = order.references.argsort()[anchors]  # (P,) columns
    columns = vectors[order.references]  # (N, D) by class
    found = vectors.new_zeros(5, len(anchors), dtype=torch.float64)
    size, total, own, farthest, nearest = found
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
    return found[:, order.queries.argsort()].T


def _mean(total: Tensor, count: Tensor) -> float:
    """Total of a weighted sum over its integer weight, NaN without any."""
    weight = int(count.sum())
    return float(total.sum()) / weight if weight else NAN


def _ratio(inter: float, intra: float) -> float:
    if intra == 0.0 and inter > 0.0:
        return float("inf")
    return inter / intra if intra != 0.0 else NAN


def summarise_distances(anchors: AnchorDistances) -> DistanceSummary:
    """Means and extremes over pairs, from `anchor_distances`."""
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

    In the mean over triplets a positive pair counts once per negative of its anchor, and a negative pair once
    per positive: under class imbalance this differs from the mean over pairs, and only this one bounds the loss.
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
        embeddings: (N, D).
        labels: (N,) integers.

    Raises:
        ValueError: If the shapes disagree or an embedding is not finite.
    """
    return summarise_distances(anchor_distances(embeddings, labels))


def gap_summary(embeddings: Vectors, labels: Vectors, margin: float, *, squared: bool = False) -> GapSummary:
    """By how much the triplets of a set exceed the margin, on average and at worst.

    Args:
        embeddings: (N, D).
        labels: (N,) integers.
        margin: m, in the unit of the distance.
        squared: Take squared Euclidean distances, as a loss on them does.
    """
    return summarise_gaps(anchor_distances(embeddings, labels, squared=squared), margin)


def class_distance_table(
    embeddings: Vectors, labels: Vectors, *, split_over_ranks: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean distance of every pair of classes.

    Args:
        embeddings: (N, D).
        labels: (N,) integers.
        split_over_ranks: As in `anchor_distances`.

    Returns:
        The classes present (C,), ascending, and the symmetric table (C, C) float64. The diagonal is the mean
        within the class without a sample and itself, NaN for a class of one sample.
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
