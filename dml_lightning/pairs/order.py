"""Rows in class order, so that "same class" is a slice: an anchor's positives are neighbours.

A anchors that have a positive and a negative, B anchors, N references.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

SORTED_ELEMENTS = {"cpu": 2**19, "cuda": 2**24}  # keys sorted at once


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
    budget = SORTED_ELEMENTS.get(layout.start.device.type, SORTED_ELEMENTS["cuda"])
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


class Segment(NamedTuple):
    """Consecutive query rows of one class, and the references of that class."""

    rows: slice  # query rows
    columns: slice  # reference rows


class ClassOrder:
    """Queries and references, both ordered by class, so that "same class" is a slice instead of a mask."""

    def __init__(self, query_labels: Tensor, reference_labels: Tensor):
        self.queries = query_labels.argsort(stable=True)  # (Q,)
        self.references = reference_labels.argsort(stable=True)  # (M,)
        classes, sizes = torch.unique(query_labels, return_counts=True)
        ordered = reference_labels[self.references]
        self._stops: list[int] = sizes.cumsum(0).tolist()
        starts = (sizes.cumsum(0) - sizes).tolist()
        low = torch.searchsorted(ordered, classes).tolist()
        high = torch.searchsorted(ordered, classes, right=True).tolist()
        self._classes = list(zip(starts, self._stops, low, high, strict=True))

    def segments(self, rows: slice) -> Iterator[Segment]:
        """The parts of `rows`, a slice of the ordered queries, that belong to one class."""
        for start, stop, low, high in self._classes[bisect_right(self._stops, rows.start) :]:
            if start >= rows.stop:
                return
            yield Segment(slice(max(start, rows.start), min(stop, rows.stop)), slice(low, high))
