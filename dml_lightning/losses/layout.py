"""Rows in class order, so that an anchor's positives are neighbours.

A anchors that have a positive and a negative, B anchors, N references.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_ELEMENTS = {"cpu": 2**19, "cuda": 2**24}  # keys sorted at once


@dataclass(frozen=True)
class Layout:
    """Rows in class order, smallest class first, so that an anchor's positives are neighbours."""

    anchors: Tensor  # (A,) anchors that have a positive and a negative, in class order
    references: Tensor  # (N,) order of the references
    start: Tensor  # (A,) first column of the anchor's class
    size: Tensor  # (A,) columns of the anchor's class, itself included
    own: Tensor  # (A,) the anchor's own column, -1 where it is no reference
    valid: Tensor  # () int64 number of valid triplets


def _by_size(size: Tensor, group: Tensor) -> Tensor:
    """Order of rows by the size of their class, then by class, then by place."""
    order = group.argsort(stable=True)
    return order[size[order].argsort(stable=True)]


def arrange(labels: Tensor, reference_labels: Tensor, offset: int | None) -> Layout:
    """Lay out anchors and references by class.

    Args:
        labels: (B,) of the anchors, any integers.
        reference_labels: (N,).
        offset: anchor i is reference `offset + i`; None when no anchor is a reference.
    """
    n = len(reference_labels)
    if n == 0:
        none = torch.empty(0, dtype=torch.long, device=labels.device)
        return Layout(none, none, none, none, none, none.sum())
    classes, inverse, sizes = torch.unique(reference_labels, return_inverse=True, return_counts=True)
    order = _by_size(sizes[inverse], inverse)  # (N,)
    ascending = sizes.argsort(stable=True)
    starts = torch.empty_like(sizes)
    starts[ascending] = sizes[ascending].cumsum(0) - sizes[ascending]

    group = torch.searchsorted(classes, labels).clamp_max(len(classes) - 1)  # (B,)
    size = torch.where(classes[group] == labels, sizes[group], 0)
    positives = size if offset is None else (size - 1).clamp_min(0)
    valid = positives * (n - size)
    kept = (valid > 0).nonzero().squeeze(1)
    kept = kept[_by_size(size[kept], group[kept])]  # (A,)
    own = torch.full_like(kept, -1)
    if offset is not None:
        own = order.argsort()[kept + offset]
    return Layout(kept, order, starts[group[kept]], size[kept], own, valid.sum())


def blocks(layout: Layout) -> Iterator[slice]:
    """Consecutive anchors whose keys fit the budget: parts of one large class, or whole small ones.

    Distances within a class lose no digits when a block's own mean can be taken off.
    """
    budget = BLOCK_ELEMENTS.get(layout.start.device.type, BLOCK_ELEMENTS["cuda"])
    rows = torch.unique_consecutive(layout.start, return_counts=True)[1]  # (C,)
    last = rows.cumsum(0)
    widths = len(layout.references) + 2 * layout.size[last - 1]
    begin = 0
    for count, end, width in zip(rows.tolist(), last.tolist(), widths.tolist(), strict=True):
        large = 4 * count * width > budget
        first = end - count
        if first > begin and (large or (end - begin) * width > budget):
            yield slice(begin, first)
            begin = first
        if large:
            step = max(1, budget // width)
            yield from (slice(at, min(at + step, end)) for at in range(first, end, step))
            begin = end
    if begin < len(layout.anchors):
        yield slice(begin, len(layout.anchors))
