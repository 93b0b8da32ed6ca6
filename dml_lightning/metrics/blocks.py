"""Exact pairwise distances, a few rows at a time.

A matrix product is the only fast way to all pairs, and in float32 it is wrong for close ones: two identical
rows come out up to 1e-3 apart. Here the product runs in float64 on centred vectors, and the pairs that are still
too close for it are recomputed from their difference. Identical rows are exactly 0 apart, and every squared
distance is right to float32 rounding. Memory is one block, whatever the number of rows.
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Vectors = Tensor | NDArray[Any]

BLOCK_ELEMENTS = 1 << 23  # float32 distances held at once, 32 MiB, or half as many in float64
TILE_ELEMENTS = 1 << 19  # of them in float64 before they are rounded: 4 MiB, near the cache
FEWEST_ROWS = 64  # in a block, however many columns: fewer make a slow matrix product
DEVICE_ELEMENTS = 1 << 26  # on an accelerator, which needs large blocks
CLOSE = 1e-7  # of the squared norms: below it the float64 product has fewer than nine digits left
DIRECT_ELEMENTS = 1 << 22  # differences held at once
MOSTLY_CLOSE = 1 / 16  # share of close pairs above which a whole block is computed from differences


def as_vectors(values: Vectors, name: str = "embeddings") -> Tensor:
    """Check that `values` are finite vectors, one per row, and return them as a detached (N, D) tensor.

    Raises:
        ValueError: If the shape is not (N, D), or an entry is NaN or infinite.
    """
    vectors = torch.as_tensor(values).detach()
    if vectors.ndim != 2:
        raise ValueError(f"{name} must have shape (N, D), one row each, got {tuple(vectors.shape)}.")
    if not vectors.is_floating_point():
        vectors = vectors.double()
    if vectors.itemsize < 4:
        vectors = vectors.float()  # half precision has no NumPy form, and too few digits for distances
    if not bool(torch.isfinite(vectors.sum())):  # 20 times as fast as looking at each; may overflow
        finite = torch.isfinite(vectors).all(dim=1)
        for row in torch.nonzero(~finite)[:1, 0].tolist():
            raise ValueError(f"{name} must be finite, but row {row} holds NaN or infinity.")
    return vectors


def as_labels(values: Vectors, like: Tensor, name: str = "labels") -> Tensor:
    """Check that there is one integer label per row of `like` and return them as int64 on its device.

    Raises:
        ValueError: If there is not one label per row, or the labels are not integers.
    """
    labels = torch.as_tensor(values)
    if labels.shape != like.shape[:1]:
        raise ValueError(f"{name} must hold one label per row, shape ({len(like)},), got {tuple(labels.shape)}.")
    if labels.is_floating_point():
        raise ValueError(f"{name} must be integers, got {labels.dtype}.")
    return labels.to(like.device, torch.int64)


def check_widths(queries: Tensor, references: Tensor) -> None:
    """Refuse two sets of vectors that do not share a space.

    Raises:
        ValueError: If the embedding sizes differ.
    """
    if queries.shape[1] != references.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} dimensions and references {references.shape[1]}: "
            "embed both with the same encoder."
        )


def row_blocks(rows: int, columns: int, elements: int = TILE_ELEMENTS) -> Iterator[slice]:
    """Slices over `rows` such that a block of that many rows and `columns` stays within `elements`."""
    step = max(1, elements // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def direct_distances(queries: Tensor, references: Tensor, squared: bool = False) -> Tensor:
    """Distances (Q, M) from differences, in the vectors' own precision: identical rows are exactly 0 apart."""
    if squared and len(queries) * references.numel() <= DIRECT_ELEMENTS:
        return (queries.unsqueeze(1) - references).square().sum(2)
    lengths = torch.cdist(queries, references, compute_mode="donot_use_mm_for_euclid_dist")
    return lengths.square_() if squared else lengths


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """No autocast, and no TF32 or bfloat16 inside float32 products: they cost distances 3 digits."""
    with _exact_products(), torch.autocast(tensor.device.type, enabled=False):
        yield


@contextmanager
def _exact_products() -> Iterator[None]:
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the precision of one backend has been set, which the common setting does not know
        with _exact_backends():
            yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _exact_backends() -> Iterator[None]:
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
    before = [each.fp32_precision for each in backends]
    try:
        for each in backends:
            each.fp32_precision = "ieee"
        yield
    finally:
        for each, precision in zip(backends, before, strict=True):
            each.fp32_precision = precision


def _with_room(vectors: Tensor, centre: Tensor | float) -> tuple[Tensor, Tensor]:
    """Centred float64 copies with two columns to fill (N, D + 2), and their squared norms (N,)."""
    out = vectors.new_empty(len(vectors), vectors.shape[1] + 2, dtype=torch.float64)
    points = out[:, :-2]
    points.copy_(vectors).sub_(centre)
    return out, torch.einsum("nd,nd->n", points, points)


class PairwiseDistances:
    """Squared Euclidean distances of `queries` (Q, D) to `references` (M, D), block by block.

    `blocks()` yields a slice of the query rows and their squared distances, (rows, M). The block is a buffer
    that the next step overwrites.

    Args:
        queries: (Q, D).
        references: (M, D).
        own: (Q,) the reference that is the query itself; that distance comes out as infinite.
        dtype: Of the blocks: float64, or float32 for the same distances rounded once.
    """

    def __init__(
        self, queries: Tensor, references: Tensor, own: Tensor | None = None, dtype: torch.dtype = torch.float64
    ):
        check_widths(queries, references)
        self.dim, self.own, self.dtype = queries.shape[1], own, dtype
        centre = references.double().mean(0) if len(references) else 0.0
        # |x - y|^2 = [x, |x|^2, 1] . [-2 y, 1, |y|^2]: the product adds the norms on its way.
        self.left, self.query_norms = _with_room(queries, centre)  # (Q, D + 2), (Q,)
        self.right, norms = _with_room(references, centre)  # (M, D + 2), (M,)
        self.largest = norms.max() if len(norms) else norms.sum()
        self.left[:, self.dim], self.left[:, self.dim + 1] = self.query_norms, 1.0
        self.right[:, self.dim], self.right[:, self.dim + 1] = 1.0, norms
        self.right[:, : self.dim] *= -2

    def blocks(self, part: slice | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Yield (query rows, squared distances of these rows), of all rows or a part of them.

        Threads may each take a part of their own: the parts' buffers together are one block.
        """
        columns, on_cpu = len(self.right), self.left.device.type == "cpu"
        if columns == 0:
            return
        elements = (BLOCK_ELEMENTS if on_cpu else DEVICE_ELEMENTS) * 4 // self.dtype.itemsize
        first, stop, _ = (part or slice(None)).indices(len(self.left))
        share = elements * (stop - first) // max(1, len(self.left))
        elements = max(share, FEWEST_ROWS * columns)
        buffer: Tensor | None = None
        for found in row_blocks(stop - first, columns, elements):
            rows = slice(first + found.start, first + found.stop)
            if buffer is None:
                buffer = self.left.new_empty(rows.stop - rows.start, columns, dtype=self.dtype)
            block = buffer[: rows.stop - rows.start]
            self._multiply(block, rows)
            self._exclude_own(block, rows)
            limit = CLOSE * (self.query_norms[rows] + self.largest)  # (rows,)
            if bool((block.amin(1) <= limit).any()):
                self._recompute(block, rows, block <= limit[:, None])
            yield rows, block

    def _multiply(self, block: Tensor, rows: slice) -> None:
        """Fill `block` with the float64 product, narrow parts at a time where that has to be rounded."""
        left = self.left[rows]
        if block.dtype == left.dtype:
            torch.mm(left, self.right.T, out=block)
            return
        width = max(1, TILE_ELEMENTS // len(left)) if block.device.type == "cpu" else len(self.right)
        room = left.new_empty(len(left) * min(width, len(self.right)))
        for start in range(0, len(self.right), width):
            part = self.right[start : start + width]
            tile = room[: len(left) * len(part)].view(len(left), len(part))
            block[:, start : start + width] = torch.mm(left, part.T, out=tile)

    def _exclude_own(self, block: Tensor, rows: slice) -> None:
        if self.own is not None:
            block[torch.arange(len(block), device=block.device), self.own[rows]] = torch.inf

    def _recompute(self, block: Tensor, rows: slice, close: Tensor) -> None:
        """Replace the pairs marked `close` (rows, M) by the sum of their squared differences."""
        queries, references = self.left[rows, : self.dim], self.right[:, : self.dim]  # x, -2 y
        if int(close.count_nonzero()) > MOSTLY_CLOSE * close.numel():
            for part in row_blocks(len(references), self.dim):
                y = references[part] / -2
                block[:, part] = direct_distances(queries, y, squared=True).to(block.dtype)
            self._exclude_own(block, rows)
            return
        pairs = close.nonzero()  # (pairs, 2)
        for part in row_blocks(len(pairs), self.dim):
            i, j = pairs[part].unbind(1)
            difference = queries[i] + references[j] / 2  # (part, D)
            block[i, j] = difference.square().sum(1).to(block.dtype)


def to_numpy(values: Vectors) -> NDArray[Any]:
    """A tensor on any device, or an array, as an array."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    if values.is_floating_point() and values.itemsize < 4:
        values = values.float()  # NumPy has no bfloat16
    return values.detach().cpu().numpy()


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
