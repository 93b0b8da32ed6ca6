"""Exact pairwise distances, a few rows at a time.

A matrix product is the only fast way to all pairs, and in float32 it is wrong for close ones: two identical
rows come out up to 1e-3 apart. `PairwiseDistances` therefore multiplies centred vectors in float64, and computes
pairs that are too close even for that from their difference. Identical rows are exactly 0 apart, and every squared
distance is right to float32 rounding. Memory is one block, whatever the number of rows.

`product_distances` serves losses, which compute in the precision of the embeddings: by a product in that precision,
with close pairs computed from their difference.

Q queries, M references; B anchors, N references of a loss; D embedding size.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dml_lightning.pairs.blocks import TILE_ELEMENTS, Vectors, as_vectors, check_widths, row_blocks

BLOCK_ELEMENTS = 1 << 23  # float32 distances held at once, 32 MiB, or half as many in float64
FEWEST_ROWS = 64  # of a block, however many columns: fewer make a slow matrix product
DEVICE_ELEMENTS = 1 << 26  # the same on an accelerator, which needs large blocks
CLOSE_FLOAT64 = 1e-7  # share of the squared norms below which the float64 product has fewer than nine digits left
DIRECT_ELEMENTS = 1 << 22  # differences held at once
DIRECT_PAIRS = 2**18  # pairs of rows up to which all are subtracted; beyond, a matrix product does the bulk
CLOSE_FLOAT32 = 2**-6  # pairs nearer than this share of |a|² + |r|² lose digits in a matrix product
MOSTLY_CLOSE = 1 / 16  # share of close pairs above which a whole block is computed from differences


def direct_distances(queries: Tensor, references: Tensor, squared: bool = False) -> Tensor:
    """Distances (Q, M) from differences, in the vectors' own precision: identical rows are exactly 0 apart.

    Args:
        queries: Vectors (Q, D).
        references: Vectors (M, D).
        squared: Whether distances are squared.

    Example:
        >>> direct_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[5., 0.]])
    """
    if squared and len(queries) * references.numel() <= DIRECT_ELEMENTS:
        return (queries.unsqueeze(1) - references).square().sum(2)
    lengths = torch.cdist(queries, references, compute_mode="donot_use_mm_for_euclid_dist")
    return lengths.square_() if squared else lengths


def distances_to(embeddings: Vectors, points: Tensor) -> Tensor:
    """Distances (N, C) float64 of embeddings (N, D) to a few points (C, D), from differences.

    Raises:
        ValueError: If the embedding sizes disagree.

    Example:
        >>> distances_to(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[5.]], dtype=torch.float64)
    """
    vectors = as_vectors(embeddings)
    check_widths(vectors, points)
    out = vectors.new_empty(len(vectors), len(points), dtype=torch.float64)
    for rows in row_blocks(len(vectors), len(points) + vectors.shape[1]):
        out[rows] = direct_distances(vectors[rows].double(), points.double())
    return out


def _with_room(vectors: Tensor, centre: Tensor | float) -> tuple[Tensor, Tensor]:
    """Centred float64 copies (N, D + 2) of vectors (N, D), the last two columns unset, and their squared norms (N,)."""
    out = vectors.new_empty(len(vectors), vectors.shape[1] + 2, dtype=torch.float64)
    points = out[:, :-2]
    points.copy_(vectors).sub_(centre)
    return out, torch.einsum("nd,nd->n", points, points)


class PairwiseDistances:
    """Squared Euclidean distances of `queries` (Q, D) to `references` (M, D), block by block.

    `blocks()` yields slices of the query rows with their squared distances (rows, M). The block is a buffer
    that the next step overwrites.

    Args:
        queries: Vectors (Q, D).
        references: Vectors (M, D).
        own: Position (Q,) of each query itself among the references; that distance comes out as infinite.
        dtype: Type of the blocks: float64, or float32 for the same distances rounded once.

    Raises:
        ValueError: If the embedding sizes differ.

    Example:
        >>> points = torch.tensor([[0.0], [2.0], [4.0]])
        >>> [block.tolist() for _, block in PairwiseDistances(points, points, own=torch.arange(3)).blocks()]
        [[[inf, 4.0, 16.0], [4.0, inf, 4.0], [16.0, 4.0, inf]]]
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
        """Yield (query rows, their squared distances), of all query rows or of a part of them.

        Threads may take a part each: their buffers together are no larger than one block.
        """
        columns, on_cpu = len(self.right), self.left.device.type == "cpu"
        if columns == 0:
            return
        elements = (BLOCK_ELEMENTS if on_cpu else DEVICE_ELEMENTS) * 4 // self.dtype.itemsize
        first, stop, _ = (part or slice(None)).indices(len(self.left))
        share = elements * (stop - first) // max(1, len(self.left))
        elements = max(share, FEWEST_ROWS * columns)
        buffer: Tensor | None = None
        for local in row_blocks(stop - first, columns, elements):
            rows = slice(first + local.start, first + local.stop)
            if buffer is None:
                buffer = self.left.new_empty(rows.stop - rows.start, columns, dtype=self.dtype)
            block = buffer[: rows.stop - rows.start]
            self._multiply(block, rows)
            self._exclude_own(block, rows)
            limit = CLOSE_FLOAT64 * (self.query_norms[rows] + self.largest)  # (rows,)
            if bool((block.amin(1) <= limit).any()):
                self._recompute(block, rows, block <= limit[:, None])
            yield rows, block

    def _multiply(self, block: Tensor, rows: slice) -> None:
        """Fill `block` with the float64 product; a float32 block is filled a few columns at a time."""
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


class Centred(NamedTuple):
    """References less a centre, made once for all anchors that they are multiplied with."""

    rows: Tensor  # (N, D) the references themselves
    centre: Tensor  # (D,)
    points: Tensor  # (N, D) rows - centre
    norms: Tensor  # (N,) squared norms of the points


def centred(references: Tensor, centre: Tensor) -> Centred:
    """Subtract a centre (D,) from references (N, D): best a point in the middle of the anchors that will follow."""
    points = references - centre
    return Centred(references, centre, points, points.square().sum(1))


def product_distances(anchors: Tensor, references: Centred, squared: bool) -> Tensor:
    """Distances (B, N) of anchors (B, D) to references (N, D) by a matrix product, with close pairs subtracted instead.

    |a|² + |r|² − 2 a·r is off by a few roundings of |a|² + |r|², which can be more than a small distance
    itself: identical float32 rows would come out up to 1e-3 apart. A centre amid the anchors leaves few close pairs,
    fewest if the anchors are of one class.

    Example:
        >>> anchors, references = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [9.0]])
        >>> product_distances(anchors, centred(references, anchors.mean(0)), squared=True)
        tensor([[ 0., 64.],
                [ 0., 64.]])
    """
    near = anchors - references.centre
    scale = near.square().sum(1, keepdim=True) + references.norms  # (B, N)
    squares = torch.addmm(scale, near, references.points.T, alpha=-2)
    rows, columns = _at_most(squares, scale.mul_(CLOSE_FLOAT32))
    if len(rows) > squares.numel() // 4:
        return direct_distances(anchors, references.rows, squared)
    length = max(1, DIRECT_ELEMENTS // (2 * anchors.shape[1]))
    for i, j in zip(torch.split(rows, length), torch.split(columns, length), strict=True):
        gaps = anchors.index_select(0, i).sub_(references.rows.index_select(0, j))
        squares[i, j] = gaps.square_().sum(1)
    return squares if squared else squares.sqrt_()


def _at_most(values: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the values (B, N) that are no greater than their limits (B, N)."""
    if values.device.type != "cpu":
        return (values <= limits).nonzero().unbind(1)  # type: ignore[return-value]
    # on the processor NumPy compares and lists in a fifth of the time
    found = np.flatnonzero(values.numpy() <= limits.numpy())
    rows, columns = np.divmod(found, values.shape[1])
    return torch.from_numpy(rows), torch.from_numpy(columns)


class BlockDistances:
    """(Squared) distances of anchors (B, D) to references (N, D), a block of anchors at a time.

    Few pairs are computed from differences, and many by `product_distances`.

    Example:
        >>> points = torch.tensor([[0.0], [3.0], [5.0]])
        >>> BlockDistances(points, points, squared=False).of(slice(0, 2), around=slice(0, 3))
        tensor([[0., 3., 5.],
                [3., 0., 2.]])
    """

    def __init__(self, anchors: Tensor, references: Tensor, squared: bool) -> None:
        self.anchors, self.references, self.squared = anchors, references, squared
        self.direct = len(anchors) * len(references) <= DIRECT_PAIRS
        self._centred: Centred | None = None
        self._around = slice(0)

    def of(self, block: slice, around: slice) -> Tensor:
        """Distances (b, N) of a block of b anchors.

        Args:
            block: The anchors.
            around: Anchors whose mean a product subtracts; references stay as they are made until it changes.
        """
        anchors = self.anchors[block]
        if self.direct:
            return direct_distances(anchors, self.references, self.squared)
        if self._centred is None or around != self._around:
            self._centred, self._around = centred(self.references, self.anchors[around].mean(0)), around
        return product_distances(anchors, self._centred, self.squared)
