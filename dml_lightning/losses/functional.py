"""Embedding losses as pure functions of one process's tensors.

B anchors, N references, D embedding size.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dml_lightning.losses.engine import TripletSums, triplet_sums
from dml_lightning.losses.gradient import PairGradient, PairSums, pair_sum
from dml_lightning.losses.mining import Mining, Selection
from dml_lightning.pairs.blocks import check_finite, check_integers, full_precision, wide
from dml_lightning.pairs.distances import BlockDistances
from dml_lightning.pairs.order import SORTED_ELEMENTS
from dml_lightning.types import LossOutput, is_clutter

Reduction = Literal["active", "mean", "sum"]
REDUCTIONS: tuple[Reduction, ...] = ("active", "mean", "sum")


def check_rows(embeddings: Tensor, labels: Tensor) -> None:
    """Refuse embeddings that are not (B, D) and labels that are not (B,) integers.

    Raises:
        ValueError: With the shapes or the type that came.

    Example:
        >>> check_rows(torch.zeros(3, 8), torch.tensor([0, 0, 1]))
    """
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"expected embeddings (B, D) and labels (B,), got {tuple(embeddings.shape)} and {tuple(labels.shape)}"
        )
    check_integers(labels)


def denominator(sums: TripletSums, reduction: Reduction) -> Tensor | None:
    """Count that the sum is divided by; None for the sum itself.

    Raises:
        ValueError: If the reduction is unknown.
    """
    choices: dict[str, Tensor | None] = {"active": sums.nonzero, "mean": sums.mined, "sum": None}
    if reduction not in choices:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    return choices[reduction]


def triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    margin: float,
    *,
    mining: Mining = "all",
    soft: bool = False,
    squared: bool = False,
    reduction: Reduction = "active",
    references: Tensor | None = None,
    reference_labels: Tensor | None = None,
    offset: int | None = None,
) -> LossOutput:
    """Triplet loss max(0, d(a,p) − d(a,n) + m), or log(1 + exp(d(a,p) − d(a,n))) if `soft`.

    Args:
        embeddings: Anchors (B, D).
        labels: Labels (B,), any integers; `CLUTTER` of crops that are negatives only.
        margin: Margin m, in the unit of the (squared) distance; with `soft` it only defines the counts
            and what is semi-hard.
        mining: "all" triplets; all "semihard" ones, d_p <= d_n < d_p + m; "facenet", per
            anchor-positive pair the nearest negative with d_n > d_p, else the farthest negative
            (Schroff et al. 2015); "hard", per anchor the farthest positive and the nearest
            negative (Hermans et al. 2017); "easy_positive", per anchor the nearest positive and
            the nearest negative (Xuan et al. 2020).
        soft: Whether the loss is the softplus instead of the hinge.
        squared: Whether distances are squared.
        reduction: "active", mean over mined triplets with a loss; "mean", over all mined ones;
            "sum". With `soft` every mined triplet has a loss.
        references: Embeddings (N, D) of positives and negatives; the anchors themselves if None.
        reference_labels: Labels (N,), given together with `references`.
        offset: Position of the first anchor among the references, anchor i being reference `offset + i`
            and no positive of itself; None if no anchor is a reference.

    Returns:
        The loss, and the counts of all valid triplets whatever the mining. Without a triplet the loss is 0
        with a zero gradient.

    Raises:
        ValueError: If shapes disagree, labels are not integers, an embedding is not finite, the reduction is unknown,
            or the offset is out of range.

    Example:
        >>> points, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> triplet_loss(points, labels, margin=1.0, mining="semihard").loss  # 1 - 1.5 + 1
        tensor(0.5000)
    """
    sums = local_sums(
        embeddings, labels, Selection(margin, mining, soft, squared), references, reference_labels, offset
    )
    count = denominator(sums, reduction)
    loss = sums.total if count is None else sums.total / count.clamp_min(1)
    return LossOutput(loss.to(wide(embeddings).dtype), sums.counts)


def local_sums(
    embeddings: Tensor,
    labels: Tensor,
    selection: Selection,
    references: Tensor | None = None,
    reference_labels: Tensor | None = None,
    offset: int | None = None,
) -> TripletSums:
    """`triplet_sums` of checked arguments in float32 or wider; without references, of the anchors among themselves.

    Raises:
        ValueError: If shapes disagree, labels are not integers, an embedding is not finite, or the offset is out of
            range. Of a gathered batch all ranks raise it alike, since every row is a reference on each of them.
    """
    check_rows(embeddings, labels)
    anchors = wide(embeddings)
    check_finite(anchors if references is None else references)
    if (references is None) != (reference_labels is None):
        raise ValueError("references and reference_labels come together or not at all")
    if references is None or reference_labels is None:
        return triplet_sums(anchors, labels, anchors, labels, 0, selection)
    check_rows(references, reference_labels)
    if offset is None:
        check_finite(anchors)  # they are none of the references
    elif not 0 <= offset <= len(references) - len(anchors):
        raise ValueError(f"offset {offset} puts {len(anchors)} anchors outside {len(references)} references")
    return triplet_sums(anchors, labels, references.to(anchors.dtype), reference_labels, offset, selection)


def batch_all_triplet(
    embeddings: Tensor,
    labels: Tensor,
    margin: float,
    *,
    squared: bool = False,
    reduction: Reduction = "active",
    references: Tensor | None = None,
    reference_labels: Tensor | None = None,
    offset: int | None = None,
) -> LossOutput:
    """Hinge loss of every triplet; arguments and errors as in `triplet_loss`.

    Example:
        >>> points, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> loss, counts = batch_all_triplet(points, labels, margin=1.0)
        >>> loss, counts["active"]  # mean of 1 - 1.5 + 1 and 1 - 0.5 + 1
        (tensor(1.), tensor(2))
    """
    return triplet_loss(
        embeddings,
        labels,
        margin,
        squared=squared,
        reduction=reduction,
        references=references,
        reference_labels=reference_labels,
        offset=offset,
    )


def triplet_counts(
    embeddings: Tensor,
    labels: Tensor,
    margin: float,
    squared: bool = False,
    references: Tensor | None = None,
    reference_labels: Tensor | None = None,
    offset: int | None = None,
) -> dict[str, Tensor]:
    """Count valid, active, hard, semihard and easy triplets; arguments and errors as in `triplet_loss`.

    Example:
        >>> points, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> {name: int(count) for name, count in triplet_counts(points, labels, margin=1.0).items()}
        {'valid': 2, 'active': 2, 'hard': 1, 'semihard': 1, 'easy': 0}
    """
    others = None if references is None else references.detach()
    selection = Selection(margin, squared=squared)
    return local_sums(embeddings.detach(), labels, selection, others, reference_labels, offset).counts


def pair_masks(labels: Tensor, reference_labels: Tensor, offset: int | None) -> tuple[Tensor, Tensor]:
    """Masks (B, N) of positive pairs, without an anchor and itself, and of negative pairs. Clutter has no pairs.

    Args:
        labels: Labels (B,) of the anchors; `CLUTTER` of clutter, which is a negative of the other anchors only.
        reference_labels: Labels (N,).
        offset: Position of the first anchor among the references; None if no anchor is a reference.

    Example:
        >>> pair_masks(torch.tensor([0]), torch.tensor([0, 0, 1]), offset=0)
        (tensor([[False,  True, False]]), tensor([[False, False,  True]]))
    """
    same = labels.unsqueeze(1) == reference_labels
    anchor = ~is_clutter(labels).unsqueeze(1)
    positive = same & anchor
    if offset is not None:
        rows = torch.arange(len(labels), device=labels.device)
        positive[rows, rows + offset] = False
    return positive, ~same & anchor


def contrastive_sum(
    anchors: Tensor, labels: Tensor, references: Tensor, reference_labels: Tensor, offset: int | None, margin: float
) -> tuple[Tensor, Tensor]:
    """Σ d² over positive and max(0, margin − d)² over negative pairs, and the number of pairs.

    Hadsell, Chopra, LeCun 2006, equation 4 without its factors ½; a pair at distance 0 has no
    gradient. Arguments as in `triplet_loss`.

    Example:
        >>> points, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> contrastive_sum(points, labels, points, labels, offset=0, margin=1.0)  # every pair twice: 2 (1 + 0 + 0.25)
        (tensor(2.5000, dtype=torch.float64), tensor(6))
    """

    def compute(x: Tensor, y: Tensor, wanted: bool) -> PairSums:
        gradient = PairGradient(x, y, squared=False)
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        pairs = torch.zeros(1, dtype=torch.long, device=x.device)
        distances = BlockDistances(x, y, squared=False)
        step = max(1, SORTED_ELEMENTS.get(x.device.type, SORTED_ELEMENTS["cuda"]) // max(1, len(y)))
        for begin in range(0, len(x), step):
            rows = slice(begin, min(begin + step, len(x)))
            at = None if offset is None else offset + begin
            positive, negative = pair_masks(labels[rows], reference_labels, at)
            lengths = distances.of(rows, around=slice(None))
            short = torch.where(negative, (margin - lengths).clamp_min(0), 0)
            near = torch.where(positive, lengths, 0)
            total += (near.square() + short.square()).sum(dtype=torch.float64)
            pairs += positive.sum() + negative.sum()
            if wanted:
                gradient.add(rows, 2 * (near - short), lengths)
        return PairSums(total, pairs, *gradient.result())

    total, pairs = pair_sum(anchors, references, compute)
    return total, pairs[0]


def n_pair_sum(
    anchors: Tensor, labels: Tensor, references: Tensor, reference_labels: Tensor, offset: int | None
) -> tuple[Tensor, Tensor]:
    """Σ log(1 + Σ_k exp(a·n_k − a·p)) over pairs (a, p) with negatives n_k, and their number.

    Sohn 2016, equation 7, with every sample of another class as a negative. Arguments as in `triplet_loss`.

    Example:
        >>> points, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
        >>> n_pair_sum(points, labels, points, labels, offset=0)  # 2 log(1 + exp(0 - 1))
        (tensor(0.6265, dtype=torch.float64), tensor(2))
    """
    positive, negative = pair_masks(labels, reference_labels, offset)
    positive &= negative.any(1, keepdim=True)
    with full_precision(anchors):
        similarity = anchors @ references.T  # (B, N)
        others = similarity.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True)
        gap = torch.where(positive, similarity - others, torch.inf)
        return -F.logsigmoid(gap).sum(dtype=torch.float64), positive.sum()
