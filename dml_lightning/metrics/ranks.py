"""Ranks of the references for every query, exact, in one pass over blocks of queries.

For one query, R is the number of references of its class. R-precision and MAP@R depend on the R nearest references
alone, and Recall@k on the nearest one of the class, so no full ranking is ever made:

- the references are ordered by class, so that "same class" is a slice;
- each squared distance, rounded to float32, becomes one 32-bit key whose lowest bit marks a relevant reference;
- a partition and a sort of the R smallest keys give the ranks of the relevant references;
- where a relevant and an irrelevant reference are equally far, 64-bit keys with random bits decide;
- references of the query's own group, where groups are given, get a key behind all others. Queries of one class are
  ordered by how many references that excludes, so that R is one number for consecutive rows.

Distances that are equal in float32 are therefore ordered at random, by a seed, and differently for each query:
a collapsed space must not score by the order of its rows.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors, row_blocks
from dml_lightning.pairs.distances import BLOCK_ELEMENTS, PairwiseDistances
from dml_lightning.pairs.keys import EXCLUDED, LAST, narrow_keys, smallest, wide_keys
from dml_lightning.pairs.order import ClassOrder
from dml_lightning.pairs.shares import joined, over_threads, share_of, slices


class QueryRanks(NamedTuple):
    """Results per query; those with `relevant` 0 hold 0 and are left out of every mean."""

    relevant: Tensor  # (Q,) int64: R, number of references of the query's class without itself or its group
    first: Tensor  # (Q,) int64: rank of the nearest of them, from 1
    r_precision: Tensor  # (Q,) float64: share of relevant ones among the R nearest
    average_precision: Tensor  # (Q,) float64: average precision at R


class Distances(Protocol):
    """Distances to rank by, instead of those of the embeddings; threads may call it at once."""

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Distances (P, C), at least 0, of the queries at `rows` (P,) to the references at `columns` (C,)."""


class _Rows(NamedTuple):
    """Checked queries or references."""

    vectors: Tensor  # (N, D)
    labels: Tensor  # (N,) int64
    groups: Tensor | None  # (N,) int64


def query_ranks(
    queries: Vectors,
    query_labels: Vectors,
    references: Vectors | None = None,
    reference_labels: Vectors | None = None,
    *,
    groups: Vectors | None = None,
    reference_groups: Vectors | None = None,
    rows: Tensor | None = None,
    distances: Distances | None = None,
    seed: int = 0,
    split_over_ranks: bool = False,
) -> QueryRanks:
    """Rank the references for every query, as far as Recall@k, R-precision and MAP@R need it.

    Crops of one flight resemble each other: with `groups`, references of a query's own group are left out, of its
    class and of others, and R counts the rest.

    Args:
        queries: Embeddings (Q, D).
        query_labels: Labels (Q,), integers.
        references: Embeddings (M, D); None searches the queries themselves, each without itself.
        reference_labels: Labels (M,), integers, given together with `references`.
        groups: Group (Q,) of each query, such as its flight, integers; None leaves out nothing but the query itself.
        reference_groups: Group (M,) of each reference, given if both `references` and `groups` are.
        rows: Positions (P,) of the queries to rank; None ranks all. Results of parts, concatenated, are those of one
            call.
        distances: Function of the distances to rank by, such as `metrics.reranking.KReciprocalDistances`; None takes
            the Euclidean ones of the embeddings.
        seed: Seed of the order of equal distances.
        split_over_ranks: Whether each process ranks its share of `rows`. Every process returns all of them, and all
            must call this with the same arguments.

    Returns:
        Results in the order of `rows`, on the device of `queries`.

    Raises:
        ValueError: If shapes or embedding sizes disagree, an embedding is not finite, a given distance is negative or
            NaN, or references, their labels and their groups do not go together.

    Example:
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 0])
        >>> query_ranks(points, labels).first
        tensor([1, 1, 0, 2])
        >>> query_ranks(points, labels, groups=torch.tensor([5, 5, 6, 7])).first  # the first two are of one flight
        tensor([2, 2, 0, 2])
    """
    if (references is None) != (reference_labels is None):
        raise ValueError("references and reference_labels belong together: give both or neither.")
    if (reference_groups is None) != (references is None or groups is None):
        raise ValueError("reference_groups must be given if both references and groups are, and not otherwise.")
    checked = _checked("queries", queries, "query_labels", query_labels, "groups", groups)
    leave_one_out = references is None or reference_labels is None
    targets = checked
    if references is not None and reference_labels is not None:
        names = "references", references, "reference_labels", reference_labels
        targets = _checked(*names, "reference_groups", reference_groups)
    device = checked.labels.device
    chosen = torch.arange(len(checked.labels), device=device) if rows is None else rows.to(device)
    ranks = _rank(checked, targets, share_of(chosen, split_over_ranks), leave_one_out, seed, distances)
    return QueryRanks(*(joined(column, split_over_ranks) for column in ranks))


def _rank(
    queries: _Rows, targets: _Rows, chosen: Tensor, leave_one_out: bool, seed: int, distances: Distances | None
) -> QueryRanks:
    """Rank `targets` for the queries `chosen` (P,), in class order, and put the results back into theirs."""
    excluded = _excluded(queries, targets, leave_one_out)[chosen]  # (P,)
    by_excluded = excluded.argsort(stable=True)
    order = ClassOrder(queries.labels[chosen[by_excluded]], targets.labels)
    places = by_excluded[order.queries]  # (P,) by class, then by what is excluded of it
    ordered, excluded, device = chosen[places], excluded[places], chosen.device
    ties, factors = _tie_breakers(len(targets.labels), len(queries.labels), seed)
    ties, factors = ties.to(device), factors.to(device)[ordered]
    own = order.references.argsort()[ordered] if leave_one_out else None  # (P,) columns
    counts = torch.zeros(2, len(ordered), dtype=torch.int64, device=device)
    shares = torch.zeros(2, len(ordered), dtype=torch.float64, device=device)
    pairs: PairwiseDistances | _GivenDistances
    if distances is None:
        pairs = PairwiseDistances(queries.vectors[ordered], targets.vectors[order.references], own, torch.float32)
    else:
        pairs = _GivenDistances(distances, ordered, order.references, own)
    own_group = None if queries.groups is None else queries.groups[ordered, None]  # (P, 1)
    groups = None if targets.groups is None else targets.groups[order.references]  # (M,)

    def rank_part(part: slice) -> None:
        for rows, block in pairs.blocks(part):
            keys = narrow_keys(block)
            for segment, columns in order.segments(rows):
                own_keys = keys[segment.start - rows.start : segment.stop - rows.start]
                own_keys[:, columns] |= 1
                if own_group is not None and groups is not None:
                    own_keys.masked_fill_(own_group[segment] == groups, EXCLUDED)
                for run, left_out in _runs(excluded[segment]):
                    relevant = columns.stop - columns.start - left_out
                    if relevant:
                        at = slice(segment.start + run.start, segment.start + run.stop)
                        first, hits = _ordered_hits(own_keys[run], relevant, ties, factors[at])
                        counts[0, at], counts[1, at] = relevant, first
                        shares[0, at], shares[1, at] = _precisions(hits)

    over_threads(rank_part, lambda parts: slices(len(ordered), parts), device)
    back = places.argsort()
    return QueryRanks(*counts[:, back], *shares[:, back])


class _GivenDistances(NamedTuple):
    """Blocks of given distances, as `PairwiseDistances` yields those of embeddings."""

    distances: Distances
    queries: Tensor  # (P,)
    references: Tensor  # (M,)
    own: Tensor | None  # (P,)

    def blocks(self, part: slice) -> Iterator[tuple[slice, Tensor]]:
        """Yield (query rows, their float32 distances) of a part of the queries."""
        for local in row_blocks(part.stop - part.start, len(self.references), BLOCK_ELEMENTS):
            rows = slice(part.start + local.start, part.start + local.stop)
            block = self.distances(self.queries[rows], self.references)
            if not bool((block >= 0).all()):
                raise ValueError("distances must be at least 0, and one of them is negative or NaN.")
            block = block.to(torch.float32, copy=True, memory_format=torch.contiguous_format)  # will be overwritten
            if self.own is not None:
                block[torch.arange(len(block), device=block.device), self.own[rows]] = torch.inf
            yield rows, block


def _checked(
    name: str, vectors: Vectors, label_name: str, labels: Vectors, group_name: str, groups: Vectors | None
) -> _Rows:
    """Checked vectors with a label and, if given, a group per row; errors use the names."""
    rows = as_vectors(vectors, name)
    own_groups = None if groups is None else as_labels(groups, rows, group_name, "group")
    return _Rows(rows, as_labels(labels, rows, label_name), own_groups)


def _excluded(queries: _Rows, targets: _Rows, leave_one_out: bool) -> Tensor:
    """Number (Q,) of references of each query's class that are left out: itself, or all of its group."""
    if queries.groups is None or targets.groups is None:
        return torch.full_like(queries.labels, int(leave_one_out))
    labels, groups = torch.cat([queries.labels, targets.labels]), torch.cat([queries.groups, targets.groups])
    _, pairs = torch.unique(torch.stack([labels, groups]), dim=1, return_inverse=True)
    of_queries, of_targets = pairs.split([len(queries.labels), len(targets.labels)])
    return torch.bincount(of_targets, minlength=len(pairs))[of_queries]


def _runs(values: Tensor) -> Iterator[tuple[slice, int]]:
    """Yield the stretches of equal consecutive `values`, as slices with their value."""
    distinct, lengths = torch.unique_consecutive(values, return_counts=True)
    start = 0
    for value, length in zip(distinct.tolist(), lengths.tolist(), strict=True):
        yield slice(start, start + length), value
        start += length


def _tie_breakers(references: int, queries: int, seed: int) -> tuple[Tensor, Tensor]:
    """Even random numbers of the references and odd ones of the queries, int64, whose products order ties."""
    generator = torch.Generator().manual_seed(seed)
    limit = 2**30
    ties = torch.randint(limit, (references,), generator=generator) * 2
    factors = torch.randint(limit, (queries,), generator=generator) * 2 + 1
    return ties, factors


def _ordered_hits(keys: Tensor, relevant: int, ties: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of the first hit (rows,), and which of the R nearest are relevant (rows, R), 0 or 1.

    Args:
        keys: Narrow keys (rows, M) whose lowest bit marks a relevant reference; rows are reordered in place.
        relevant: R, number of relevant references of each row.
        ties: Random numbers (M,) by position in a row.
        factors: Random numbers (rows,) by row; the products with `ties` order equal distances.
    """
    leading = smallest(keys, min(relevant + 1, keys.shape[1]))  # irrelevant ones first at equal distance
    nearest, beyond = leading[:, :relevant], leading[:, relevant:]
    hits = nearest & 1
    tied = ((nearest[:, 1:] ^ nearest[:, :-1]) == 1).any(1)  # a relevant and an irrelevant one
    if bool(tied.any()):
        shuffled = wide_keys(nearest[tied], ties[:relevant] * factors[tied, None])
        hits[tied] = smallest(shuffled, relevant).int() & 1
    first = 1 + hits.bool().max(1).indices  # max gives the first maximum, in a quarter of argmax's time
    # The R nearest do not suffice where equal distances lie on both sides of the cut, or none of them is a hit.
    cut = ((nearest[:, -1:] ^ beyond) >> 1 == 0).any(1)
    undecided = (cut | (hits.amax(1) == 0)).nonzero()[:, 0]
    for part in row_blocks(len(undecided), keys.shape[1]):
        rows = undecided[part]
        shuffled = wide_keys(keys[rows], ties * factors[rows, None])
        hits[rows] = smallest(shuffled, relevant).int() & 1
        nearest_hit = torch.where((shuffled & 1).bool(), shuffled, LAST).amin(1, keepdim=True)
        first[rows] = 1 + (shuffled < nearest_hit).sum(1)
    return first, hits


def _precisions(hits: Tensor) -> tuple[Tensor, Tensor]:
    """R-precision and average precision at R (rows,) of hits (rows, R)."""
    total = hits.cumsum(1, dtype=torch.int32)  # (rows, R)
    size = hits.shape[1]
    ranks = torch.arange(1, size + 1, dtype=torch.float64, device=hits.device)
    return total[:, -1].double() / size, (total * hits / ranks).sum(1) / size
