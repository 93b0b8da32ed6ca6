"""Rows in class order, so that an anchor's positives are neighbours.

A anchors that have a positive and a negative, B anchors, N references.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_ELEMENTS = {"cpu": 2**19, "cuda": 2**26}  # keys sorted at once


@dataclass(frozen=True)
class Layout:
    """Rows in class order, smallest class first, so that an anchor's positives are neighbours."""

    anchors: Tensor  # (A,) anchors that have a positive and a negative, in class order
    references: Tensor  # (N,) order of the references
    start: Tensor  # (A,) first column of the anchor's class
    size: Tensor  # (A,) columns of the anchor's class, itself included
    own: Tensor  # (A,) the anchor's own column, -1 where it is no reference
    valid: Tensor  # () int64 number of valid triplets


def arrange(labels: Tensor, reference_labels: Tensor, offset: int | None) -> Layout:
    """Lay out anchors and references by class.

    Args:
        labels: (B,) of the anchors.
        reference_labels: (N,).
        offset: anchor i is reference `offset + i`; None when no anchor is a reference.
    """
    n = len(reference_labels)
    classes, inverse, sizes = torch.unique(
        reference_labels, return_inverse=True, return_counts=True
    )
    by_size = sizes.argsort(stable=True)
    place = torch.empty_like(by_size).scatter_(
        0, by_size, torch.arange(len(by_size), device=by_size.device)
    )
    order = place[inverse].argsort(stable=True)  # (N,)
    starts = torch.empty_like(sizes).scatter_(0, by_size, sizes[by_size].cumsum(0) - sizes[by_size])
    found = torch.searchsorted(classes, labels).clamp_max(max(len(classes) - 1, 0))  # (B,)
    known = classes[found] == labels if len(classes) else torch.zeros_like(labels, dtype=torch.bool)
    if not len(classes):
        empty = torch.empty(0, dtype=torch.long, device=labels.device)
        return Layout(empty, order, empty, empty, empty, empty.sum())
    size = torch.where(known, sizes[found], 0)
    positives = size - (0 if offset is None else 1)
    per_anchor = positives * (n - size) * known
    kept = per_anchor.nonzero().squeeze(1)
    kept = kept[place[found[kept]].argsort(stable=True)]
    own = torch.full_like(kept, -1)
    if offset is not None:
        column = torch.empty_like(order).scatter_(0, order, torch.arange(n, device=order.device))
        own = column[kept + offset]
    return Layout(kept, order, starts[found[kept]], size[kept], own, per_anchor.sum())


def blocks(layout: Layout) -> Iterator[slice]:
    """Consecutive anchors whose keys fit the block budget; classes grow, so the last one decides."""
    width = len(layout.references) + 2 * layout.size  # (A,)
    budget = BLOCK_ELEMENTS.get(width.device.type, BLOCK_ELEMENTS["cuda"])
    widths, begin = width.tolist(), 0
    for i, w in enumerate(widths):
        if (i + 1 - begin) * w > budget and i > begin:
            yield slice(begin, i)
            begin = i
    if begin < len(widths):
        yield slice(begin, len(widths))
