"""The nearest references of every query, exact, by a float32 matrix product wherever that suffices.

A float32 matrix product is twice as fast as a float64 one, and its error has a bound. It only selects candidates:
every reference within that bound of the k-th nearest is one, and the candidates' distances are computed from
differences in float64. Queries with too many candidates, as when many references nearly coincide, go through the
slower float64 pass of `PairwiseDistances`, which gives the same result.

Q queries, M references, D embedding size.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dml_lightning.pairs.blocks import Vectors, as_vectors, check_widths, full_precision, row_blocks
from dml_lightning.pairs.distances import DEVICE_ELEMENTS, PairwiseDistances
from dml_lightning.pairs.keys import first_places

SLACK = 2  # candidates beyond k
GROUP = 32  # most references that share one minimum
PRODUCT_ELEMENTS = 1 << 22  # float32 products held at once on the CPU: 16 MiB
CANDIDATE_ELEMENTS = 1 << 18  # float64 differences to candidates held at once: 2 MiB
FEW = 256  # most references of which a float64 product with all is faster than candidates
QUERIES = 1 << 12  # queries whose candidates are kept at once, near the cache


class Neighbours(NamedTuple):
    """The nearest references of each query, nearest first."""

    distances: Tensor  # (Q, k) float64
    rows: Tensor  # (Q, k) int64, positions among the references


def nearest_neighbours(queries: Vectors, references: Vectors, k: int = 1, *, seed: int = 0) -> Neighbours:
    """Find the `k` nearest references of every query, exactly; equal distances in a random, seeded order.

    Memory beyond the result is a few blocks, however many queries.

    Args:
        queries: Vectors (Q, D).
        references: Vectors (M, D).
        k: Number of neighbours, from 1 to M.
        seed: Seed of the order of references at equal distance (as float32), the same for every query.

    Raises:
        ValueError: If k is out of range, or the embedding sizes disagree.

    Example:
        >>> nearest_neighbours(torch.tensor([[0.9]]), torch.tensor([[0.0], [1.0], [5.0]]), k=2).rows
        tensor([[1, 0]])
    """
    vectors, targets = as_vectors(queries, "queries"), as_vectors(references, "references")
    check_widths(vectors, targets)
    if not 1 <= k <= len(targets):
        raise ValueError(f"k must lie between 1 and the number of references, {len(targets)}, got {k}.")
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    order = order.to(targets.device)
    targets = targets[order].double()
    distances = vectors.new_empty(len(vectors), k, dtype=torch.float64)
    columns = vectors.new_empty(len(vectors), k, dtype=torch.int64)
    nominate = _Nomination(targets, k)
    for rows in row_blocks(len(vectors), 1, QUERIES):
        block = vectors[rows]
        if len(targets) <= FEW:
            distances[rows], columns[rows] = _search_all(block, targets, k)
            continue
        candidates, certain = nominate(block)  # (rows, k + SLACK), (rows,)
        distances[rows], columns[rows] = _nearest_of(block, targets, candidates, k)
        rest = (~certain).nonzero()[:, 0]
        if len(rest):
            distances[rows.start + rest], columns[rows.start + rest] = _search_all(block[rest], targets, k)
    return Neighbours(distances, order[columns])


class _Nomination:
    """Candidates for the `k` nearest of `targets` (M, D) by a float32 product.

    The columns are dealt out to groups, and only the groups with the smallest minima are searched for candidates.
    """

    def __init__(self, targets: Tensor, k: int):
        self.count = min(k + SLACK, len(targets))
        self.k, self.last = k, len(targets) - 1
        self.centre = targets.double().mean(0)
        points = targets - self.centre  # (M, D) float64
        low, high = points.aminmax()
        self.scale = torch.maximum(-low, high).clamp(min=torch.finfo(torch.float64).tiny)
        points /= self.scale  # neither overflows nor underflows in float32
        norms = torch.einsum("md,md->m", points, points)
        self.largest = norms.max().sqrt()
        self.width = max(1, min(GROUP, len(targets) // (16 * self.count)))  # columns of a group
        self.groups = -(-len(targets) // self.width)
        # |x - y|^2 = [x, |x|^2, 1] . [-2 y, 1, |y|^2]; columns that fill the last groups are farther than any.
        self.right = torch.zeros(
            self.groups * self.width, points.shape[1] + 2, dtype=torch.float32, device=points.device
        )
        self.right[:, -2], self.right[:, -1] = 1.0, torch.inf
        self.right[: len(points), :-2] = points.mul_(-2)
        self.right[: len(points), -1] = norms

    def __call__(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Candidate columns (Q, k + SLACK), and whether (Q,) the k nearest are certain to be among them."""
        columns = queries.new_empty(len(queries), self.count, dtype=torch.int64)
        certain = queries.new_empty(len(queries), dtype=torch.bool)
        on_cpu = queries.device.type == "cpu"
        elements = PRODUCT_ELEMENTS if on_cpu else DEVICE_ELEMENTS
        buffer: Tensor | None = None
        with full_precision(queries):
            for rows in row_blocks(len(queries), len(self.right), elements):
                if buffer is None:
                    buffer = self.right.new_empty(rows.stop - rows.start, len(self.right))
                left, norms = self._left(queries[rows])
                block = buffer[: len(left)]
                torch.mm(left, self.right.T, out=block)
                columns[rows], certain[rows] = self._choose(block, self._error(norms))
        return columns, certain

    def _left(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Left factor (rows, D + 2) float32 of the product for queries (rows, D), and their squared norms (rows,)."""
        points = (queries.double() - self.centre).div_(self.scale)
        norms = torch.einsum("nd,nd->n", points, points)
        left = torch.ones(len(points), points.shape[1] + 2, dtype=torch.float32, device=points.device)
        left[:, :-2], left[:, -2] = points, norms
        return left, norms

    def _error(self, norms: Tensor) -> Tensor:
        """Bound (rows,) on the error of |x - y|^2 in float32, for all references y, given |x|^2 (rows,).

        A sum of D + 2 products of rounded factors is off by at most (D + 4) u of the sum of their magnitudes, to
        first order, which is below (|x| + |y|)^2 (Higham, Accuracy and Stability of Numerical Algorithms, 3.1).
        The rest covers the second order, and distances that are equal only after rounding to float32.
        """
        unit = torch.finfo(torch.float32).eps / 2
        return (self.right.shape[1] + 6) * unit * (norms.sqrt() + self.largest).square()

    def _choose(self, block: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """Columns of the `count` smallest of each row (rows, M padded), and whether they surely hold the k nearest."""
        minima = block.view(len(block), self.width, self.groups).amin(1).clamp_(min=0)  # (rows, groups)
        leading = first_places(minima, min(self.count + 1, self.groups))
        offsets = self.groups * torch.arange(self.width, device=block.device)
        columns = (leading[:, : self.count, None] + offsets).flatten(1)
        inside = block.gather(1, columns).clamp_(min=0)  # (rows, count * width)
        best = first_places(inside, min(self.count + 1, inside.shape[1]))
        limit = inside.gather(1, best[:, self.k - 1, None]).double() + 2 * error[:, None]
        outside = minima.gather(1, leading[:, self.count :]), inside.gather(1, best[:, self.count :])
        certain = (torch.cat(outside, 1) > limit).all(1)
        # A query that overflows in float32 may get columns that only fill a group; it is not certain.
        return columns.gather(1, best[:, : self.count]).clamp_(max=self.last), certain


def _nearest_of(queries: Tensor, targets: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances and columns (Q, k) of the nearest among the candidate columns (Q, C), from differences."""
    candidates = candidates.sort(1).values
    squared = queries.new_empty(candidates.shape, dtype=torch.float64)
    for rows in row_blocks(len(queries), candidates.shape[1] * queries.shape[1], CANDIDATE_ELEMENTS):
        difference = targets[candidates[rows]]  # (rows, C, D)
        difference -= queries[rows, None].double()
        squared[rows] = difference.square_().sum(2)
    places = first_places(squared.float(), k)
    return squared.gather(1, places).sqrt(), candidates.gather(1, places)


def _search_all(queries: Tensor, targets: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances and columns (Q, k) of the nearest of all targets, by the float64 product."""
    distances = queries.new_empty(len(queries), k, dtype=torch.float64)
    columns = queries.new_empty(len(queries), k, dtype=torch.int64)
    for rows, block in PairwiseDistances(queries, targets).blocks():
        columns[rows] = first_places(block.float(), k)
        distances[rows] = block.gather(1, columns[rows]).sqrt()
    return distances, columns
