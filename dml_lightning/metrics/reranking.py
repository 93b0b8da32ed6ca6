"""Better rankings from the same embeddings, without labels: k-reciprocal re-ranking and query expansion.

Both learn from the neighbours of the neighbours, so that the ranking for one query depends on which other rows there
are. `query_ranks` takes the distances of the first as `distances=`, and the queries of the second as its queries:

>>> import torch
>>> from dml_lightning.metrics.ranks import query_ranks
>>> points = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 1.2], [0.0, 1.0], [0.1, 1.0]]))
>>> labels, rows = torch.tensor([0, 0, 1, 1, 1]), torch.arange(5)
>>> query_ranks(points, labels, distances=KReciprocalDistances(points, k1=2, k2=2)).first
tensor([1, 1, 1, 1, 1])
>>> expanded = expanded_queries(points, count=1)  # a crop does not find itself: each is a group of its own
>>> query_ranks(expanded, labels, points, labels, groups=rows, reference_groups=rows).first
tensor([1, 1, 1, 1, 1])

Q queries, M references, N = Q + M rows of both, or N = Q where queries search each other; D embedding size.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from dml_lightning.pairs.blocks import Vectors, as_vectors, check_widths, row_blocks
from dml_lightning.pairs.distances import PairwiseDistances
from dml_lightning.pairs.neighbours import nearest_neighbours

UNIT_TOLERANCE = 2**-8  # deviation of a unit vector's length; bfloat16, with 8 digits, stays within it


def others_nearest(vectors: Tensor, k: int) -> Tensor:
    """The `k` nearest other rows (N, k) of each row, nearest first.

    Raises:
        ValueError: If there are not that many.

    Example:
        >>> others_nearest(torch.tensor([[0.0], [1.0], [3.0]]), k=1)
        tensor([[1],
                [0],
                [1]])
    """
    if not 1 <= k < len(vectors):
        raise ValueError(f"k must lie between 1 and the number of other rows, {len(vectors) - 1}, got {k}.")
    rows = nearest_neighbours(vectors, vectors, k + 1).rows
    own = rows == torch.arange(len(rows), device=rows.device)[:, None]
    own[:, -1] |= ~own.any(1)  # among more than k copies of itself a row may be missing: the last one goes
    return rows[~own].view(len(rows), k)


# Query expansion ---------------------------------------------------------------------------------


def expanded_queries(
    queries: Vectors, references: Vectors | None = None, *, count: int = 10, alpha: float = 3.0
) -> Tensor:
    """Queries (Q, D) of unit length, each the weighted sum of itself and its nearest references.

    With `alpha` 0 all weigh the same: average query expansion (Chum et al., Total Recall, ICCV 2007, section 5.2).
    Above it the i-th neighbour weighs (q·x_i)^α (Radenović, Tolias and Chum, Fine-tuning CNN Image Retrieval with No
    Human Annotation, TPAMI 2018, section 3.3, which takes 50 neighbours among 5,063 images and α = 3). A neighbour with
    a negative product weighs 0 there. One search of the neighbours: time O(Q M D), memory O(Q (D + count)) and a block.

    Args:
        queries: Unit vectors (Q, D).
        references: Unit vectors (M, D); None takes the neighbours from the other queries.
        count: Number of neighbours, lowered to the number of references.
        alpha: Exponent α, at least 0.

    Raises:
        ValueError: If the embedding sizes disagree, a row is not finite or not of unit length, there is nothing to
            find, or count or alpha is out of range.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> expanded_queries(points[:1], points[1:], count=1, alpha=0.0)
        tensor([[0.7071, 0.7071]])
    """
    if count < 1 or not 0 <= alpha < float("inf"):
        raise ValueError(f"count must be at least 1 and alpha at least 0, got {count} and {alpha}.")
    vectors = _units(as_vectors(queries, "queries"), "queries")
    if references is None:
        targets, rows = vectors, others_nearest(vectors, min(count, max(1, len(vectors) - 1)))
    else:
        targets = _units(as_vectors(references, "references"), "references")
        rows = nearest_neighbours(vectors, targets, min(count, max(1, len(targets)))).rows  # (Q, k)
    sums = vectors.to(torch.float64, copy=True)
    for part in row_blocks(len(vectors), rows.shape[1] * vectors.shape[1]):
        near = targets[rows[part]].double()  # (part, k, D)
        products = torch.einsum("qd,qkd->qk", vectors[part].double(), near)
        sums[part] += torch.einsum("qk,qkd->qd", products.clamp_min(0) ** alpha, near)
    return torch.nn.functional.normalize(sums).to(vectors.dtype)


def _units(vectors: Tensor, name: str) -> Tensor:
    lengths = vectors.norm(dim=1)
    for row in ((lengths - 1).abs() > UNIT_TOLERANCE).nonzero()[:1, 0].tolist():
        raise ValueError(
            f"{name} must be unit vectors, whose dot products weigh neighbours, but row {row} has length "
            f"{float(lengths[row]):.4g}: divide each row by its length."
        )
    return vectors


# k-reciprocal re-ranking -------------------------------------------------------------------------


class _Sparse(NamedTuple):
    """Rows of a sparse matrix (N, N), as in scipy's csr_array."""

    indptr: NDArray[np.int64]  # (N + 1,)
    indices: NDArray[np.int64]  # (nonzeros,)
    data: NDArray[np.float64]  # (nonzeros,)


class KReciprocalDistances:
    """Distances after k-reciprocal re-ranking, for `query_ranks(..., distances=...)` or as `matrix()`.

    Source: Zhong, Zheng, Cao and Li, Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017,
    equations 2 to 12. As in the authors' code, and not said in the paper: a row is its own neighbour, beside k others;
    neighbours come from queries and references together; the original distance d is the squared Euclidean one divided
    by the row's largest; N(p, k2) are k2 rows with p itself; half of an odd k1 is rounded to the even number.

    Time is O(N² D + N v²) and memory O(N k1² + N v), where v is the number of rows that an encoding holds, at most k2
    times the size of an expanded neighbourhood, some hundred; `matrix()` takes Q M numbers more. Everything is computed
    on the processor.

    Args:
        queries: Embeddings (Q, D).
        references: Embeddings (M, D); None re-ranks the queries among themselves.
        k1: Number of neighbours that are searched for reciprocal ones, lowered to the number of other rows.
        k2: Number of encodings that are averaged (local query expansion); 1 averages none.
        weight: Weight λ of the original distance, in [0, 1].

    Raises:
        ValueError: If the embedding sizes disagree, a row is not finite, there are fewer than two rows in all, or a
            setting is out of range.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
        >>> KReciprocalDistances(points, k1=1, k2=1, weight=0.0).matrix().round(decimals=2)[0]
        tensor([0.0000, 0.0300, 1.0000, 1.0000], dtype=torch.float64)
    """

    def __init__(
        self, queries: Vectors, references: Vectors | None = None, *, k1: int = 20, k2: int = 6, weight: float = 0.3
    ):
        if k1 < 1 or not 1 <= k2 <= k1 + 1 or not 0 <= weight <= 1:
            raise ValueError(
                f"k1 must be at least 1, k2 lie in 1..k1 + 1 and weight in [0, 1], got {k1}, {k2} and {weight}."
            )
        self.vectors = as_vectors(queries, "queries").cpu().double()
        self.queries, self.weight = len(self.vectors), weight
        self.first = 0  # row of the first reference among all
        if references is not None:
            targets = as_vectors(references, "references").cpu().double()
            check_widths(self.vectors, targets)
            self.vectors, self.first = torch.cat([self.vectors, targets]), self.queries
        if len(self.vectors) < 2:
            raise ValueError(f"re-ranking needs at least two rows, got {len(self.vectors)}.")
        k1 = min(k1, len(self.vectors) - 1)
        own = torch.arange(len(self.vectors))[:, None]
        nearest = torch.cat([own, others_nearest(self.vectors, k1)], dim=1).numpy()  # (N, k1 + 1)
        self._largest = _largest_distances(self.vectors)
        encodings = _encodings(self.vectors, _expanded_neighbourhoods(nearest), self._largest)
        averaged = _indicator(nearest[:, :k2], len(nearest)) @ encodings / min(k2, k1 + 1)  # equation 11
        self._sums = np.asarray(averaged.sum(axis=1))
        self._rows, self._columns = _arrays(averaged), _arrays(averaged.T.tocsr())

    def matrix(self) -> Tensor:
        """All distances (Q, M), or (Q, Q) of the queries among themselves, float64."""
        columns = torch.arange(len(self.vectors) - self.first)
        return self(torch.arange(self.queries), columns)

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Distances (P, C) float64 of the queries at `rows` (P,) to the references at `columns` (C,)."""
        places, targets = rows.cpu(), columns.cpu() + self.first
        jaccard = np.stack([self._jaccard(row)[targets.numpy()] for row in places.tolist()] or [np.empty(len(targets))])
        result = torch.from_numpy(jaccard[: len(places)]).mul_(1 - self.weight)
        pairs = PairwiseDistances(self.vectors[places], self.vectors[targets])
        for part, squared in pairs.blocks():
            result[part] += self.weight * squared / self._largest[places[part], None]
        return result.clamp_min_(0).to(rows.device)

    def _jaccard(self, row: int) -> NDArray[np.float64]:
        """Jaccard distances (N,) of a row's encoding to all, equation 10, from the rows that share its entries."""
        own = slice(self._rows.indptr[row], self._rows.indptr[row + 1])
        starts = self._columns.indptr[self._rows.indices[own]]
        counts = self._columns.indptr[self._rows.indices[own] + 1] - starts
        ends = counts.cumsum()
        shared = np.repeat(starts - ends + counts, counts) + np.arange(ends[-1])  # places in the columns
        least = np.minimum(np.repeat(self._rows.data[own], counts), self._columns.data[shared])
        both = np.bincount(self._columns.indices[shared], least, minlength=len(self._sums))
        result: NDArray[np.float64] = 1 - both / (self._sums[row] + self._sums - both)  # sums of minima and maxima
        return result


def _largest_distances(vectors: Tensor) -> Tensor:
    """Largest squared distance (N,) of each row; 1 where all rows are equal."""
    largest = torch.ones(len(vectors), dtype=torch.float64)
    for rows, squared in PairwiseDistances(vectors, vectors).blocks():
        largest[rows] = squared.amax(1)
    return torch.where(largest > 0, largest, 1.0)


def _indicator(rows: NDArray[np.int64], size: int) -> csr_array:
    """Matrix (N, size) with 1 at the columns (N, k) of each row."""
    indptr = np.arange(len(rows) + 1) * rows.shape[1]
    return csr_array((np.ones(rows.size), rows.ravel(), indptr), shape=(len(rows), size))


def _expanded_neighbourhoods(nearest: NDArray[np.int64]) -> csr_array:
    """R*(p, k1) as a matrix (N, N) with positive entries, equations 2 to 5.

    Args:
        nearest: Each row itself and its k1 nearest others (N, k1 + 1).
    """
    size, k1 = len(nearest), nearest.shape[1] - 1
    whole, half = (
        searched.multiply(searched.T).tocsr()  # equation 3: neighbours of each other
        for searched in (_indicator(nearest[:, : k + 1], size) for k in (k1, round(k1 / 2)))
    )
    common = (whole @ half.T).multiply(whole).tocoo()  # of p and q in R(p, k1): how many of R(q, k1/2) are in R(p, k1)
    needed = np.asarray(half.sum(axis=1))[common.coords[1]]  # |R(q, k1/2)|
    taken = 3 * common.data >= 2 * needed
    added = csr_array((np.ones(taken.sum()), tuple(place[taken] for place in common.coords)), shape=(size, size))
    expanded: csr_array = (whole + added @ half).tocsr()
    return expanded


def _encodings(vectors: Tensor, neighbourhoods: csr_array, largest: Tensor) -> csr_array:
    """exp(−d) of each row (N, N) within its neighbourhood, 0 elsewhere: equation 7."""
    pairs = neighbourhoods.tocoo()
    rows, columns = (torch.from_numpy(place.astype(np.int64)) for place in pairs.coords)
    squared = vectors.new_empty(len(rows))
    for part in row_blocks(len(rows), vectors.shape[1]):
        squared[part] = (vectors[rows[part]] - vectors[columns[part]]).square().sum(1)
    values = torch.exp(-squared / largest[rows]).numpy()
    return csr_array((values, pairs.coords), shape=pairs.shape)


def _arrays(matrix: csr_array) -> _Sparse:
    return _Sparse(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data)
