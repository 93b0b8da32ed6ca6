"""Rows in class order, so that the rows of one class are a slice.

A anchors that have a positive and a negative, B anchors, N references.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dml_lightning.types import is_clutter

SORTED_ELEMENTS = {"cpu": 2**19, "cuda": 2**24}  # keys sorted at once


@dataclass(frozen=True)
class Layout:
    """Anchors and references in class order, smallest class first, so that an anchor's positives are one slice."""

    anchors: Tensor  # (A,) anchors that have a positive and a negative, in class order
    references: Tensor  # (N,) order of the references
    start: Tensor  # (A,) first column of the anchor's class
    size: Tensor  # (A,) columns of the anchor's class, itself included
    own: Tensor  # (A,) the anchor's own column, -1 if it is no reference
    valid: Tensor  # () int64 number of valid triplets


def _by_size(size: Tensor, group: Tensor) -> Tensor:
    """Order of rows by the size of their class, then by class, then by place."""
    order = group.argsort(stable=True)
    return order[size[order].argsort(stable=True)]


def arrange(labels: Tensor, reference_labels: Tensor, offset: int | None) -> Layout:
    """Lay out anchors and references by class. Clutter is no anchor, and so a negative only.

    Args:
        labels: Labels (B,) of the anchors, any integers; `CLUTTER` of clutter.
        reference_labels: Labels (N,) of the references.
        offset: Position of the first anchor among the references, anchor i being reference `offset + i`; None
            if no anchor is a reference.

    Example:
        >>> layout = arrange(torch.tensor([1, 0, 1]), torch.tensor([1, 0, 1]), offset=0)
        >>> layout.anchors, layout.references, layout.valid
        (tensor([0, 2]), tensor([1, 0, 2]), tensor(2))
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
    size = torch.where((classes[group] == labels) & ~is_clutter(labels), sizes[group], 0)
    positives = size if offset is None else (size - 1).clamp_min(0)
    valid = positives * (n - size)
    kept = (valid > 0).nonzero().squeeze(1)
    kept = kept[_by_size(size[kept], group[kept])]  # (A,)
    own = torch.full_like(kept, -1)
    if offset is not None:
        own = order.argsort()[kept + offset]
    return Layout(kept, order, starts[group[kept]], size[kept], own, valid.sum())


class Rows(NamedTuple):
    """A block of anchors, and the anchors around it whose mean a product of matrices subtracts."""

    block: slice
    around: slice  # the whole class of a large one, otherwise the block


def blocks(layout: Layout) -> Iterator[Rows]:
    """Yield anchors whose sort keys fit the budget: parts of one large class, or several small classes.

    Example:
        >>> labels = torch.tensor([1, 0, 1])
        >>> [rows.block for rows in blocks(arrange(labels, labels, offset=0))]
        [slice(0, 2, None)]
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
            yield Rows(slice(begin, first), slice(begin, first))
            begin = first
        if large:
            step = max(1, budget // width)
            yield from (Rows(slice(at, min(at + step, end)), slice(first, end)) for at in range(first, end, step))
            begin = end
    if begin < (count := len(layout.anchors)):
        yield Rows(slice(begin, count), slice(begin, count))


class Segment(NamedTuple):
    """Consecutive query rows of one class, and the references of that class."""

    rows: slice  # query rows
    columns: slice  # reference rows


class ClassOrder:
    """Queries and references, both ordered by class, so that "same class" is a slice instead of a mask.

    Args:
        query_labels: Labels (Q,), int64.
        reference_labels: Labels (M,), int64.

    Example:
        >>> order = ClassOrder(torch.tensor([1, 0, 1]), torch.tensor([0, 1]))
        >>> order.queries
        tensor([1, 0, 2])
        >>> [(segment.rows, segment.columns) for segment in order.segments(slice(1, 3))]
        [(slice(1, 3, None), slice(1, 2, None))]
    """

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
        """Yield the parts of `rows`, a slice of the ordered queries, that belong to one class each."""
        for start, stop, low, high in self._classes[bisect_right(self._stops, rows.start) :]:
            if start >= rows.stop:
                return
            yield Segment(slice(max(start, rows.start), min(stop, rows.stop)), slice(low, high))
