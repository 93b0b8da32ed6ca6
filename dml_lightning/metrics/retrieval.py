"""Retrieval: Recall@k, R-precision and MAP@R, exact, in one pass over blocks of queries.

For one query, R counts the references of its class. Only the R nearest references matter to R-precision and
MAP@R, and only the nearest one of the class to Recall@k, so no full ranking is ever made:

- the references are ordered by class, so that "same class" is a slice;
- each squared distance becomes one 64-bit key: float32 bits above, random bits below, relevance in the lowest;
- a partition and a sort of the R smallest keys give the ranks of the relevant references.

Distances that are equal in float32 are therefore ordered at random, by a seed, and differently for each query:
a collapsed space must not score by the order of its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dml_lightning.metrics.blocks import (
    ClassOrder,
    PairwiseDistances,
    Vectors,
    as_labels,
    as_vectors,
)
from dml_lightning.metrics.ranking import LAST, halves, smallest


class QueryRanks(NamedTuple):
    """Results per query; those with `relevant` 0 hold 0 and are left out of every mean."""

    relevant: Tensor  # (Q,) int64: R, references of the query's class without the query itself
    first: Tensor  # (Q,) int64: rank of the nearest of them, from 1
    r_precision: Tensor  # (Q,) float64: share of relevant ones among the R nearest
    average_precision: Tensor  # (Q,) float64: average precision at R


@dataclass(frozen=True)
class RetrievalSummary:
    """Means over the queries that have something to find; NaN if none has."""

    recall_at: dict[int, float]  # k -> share of queries with their class among the k nearest
    r_precision: float
    map_at_r: float
    queries: int  # counted in the means
    left_out: int  # queries with R = 0


def query_ranks(
    queries: Vectors,
    query_labels: Vectors,
    references: Vectors | None = None,
    reference_labels: Vectors | None = None,
    *,
    rows: Tensor | None = None,
    seed: int = 0,
) -> QueryRanks:
    """Rank the references for every query, as far as Recall@k, R-precision and MAP@R need it.

    Args:
        queries: (Q, D).
        query_labels: (Q,) integers.
        references: (M, D); None searches the queries themselves, each without itself.
        reference_labels: (M,) integers, together with `references`.
        rows: (P,) the queries to rank, for example one process's share; None ranks all. The results of
            shares, put together, are those of one call.
        seed: Orders equal distances.

    Returns:
        Results in the order of `rows`, on the device of `queries`.

    Raises:
        ValueError: If shapes or embedding sizes disagree, an embedding is not finite, or only one of
            `references` and `reference_labels` is given.
    """
    if (references is None) != (reference_labels is None):
        raise ValueError("references and reference_labels belong together: give both or neither.")
    vectors = as_vectors(queries, "queries")
    labels = as_labels(query_labels, vectors, "query_labels")
    alone = references is None or reference_labels is None
    targets = vectors if references is None else as_vectors(references, "references")
    target_labels = (
        labels
        if reference_labels is None
        else as_labels(reference_labels, targets, "reference_labels")
    )
    chosen = torch.arange(len(vectors)) if rows is None else rows
    return _rank(vectors, labels, targets, target_labels, chosen.to(vectors.device), alone, seed)


def _rank(
    vectors: Tensor,
    labels: Tensor,
    targets: Tensor,
    target_labels: Tensor,
    chosen: Tensor,
    alone: bool,
    seed: int,
) -> QueryRanks:
    """Rank `targets` for the queries `chosen`, in class order, and return to the caller's order."""
    order = ClassOrder(labels[chosen], target_labels)
    asked = chosen[order.queries]  # (P,) query rows, by class
    ties, factors = (
        part[where].to(vectors.device)
        for part, where in zip(
            _tie_breakers(len(targets), len(vectors), seed),
            (order.references.cpu(), asked.cpu()),
            strict=True,
        )
    )
    own = order.references.argsort()[asked] if alone else None  # (P,) columns
    counts = torch.zeros(2, len(asked), dtype=torch.int64, device=vectors.device)
    shares = torch.zeros(2, len(asked), dtype=torch.float64, device=vectors.device)
    pairs = PairwiseDistances(vectors[asked], targets[order.references], own)
    for rows, block in pairs.blocks():
        keys, lower = halves(block)
        torch.mul(ties, factors[rows, None], out=lower)  # even, and stays so modulo 2**32
        if own is not None:
            keys[torch.arange(len(keys), device=keys.device), own[rows]] = LAST
        for segment, columns in order.segments(rows):
            part = keys[segment.start - rows.start : segment.stop - rows.start]
            relevant = columns.stop - columns.start - alone
            if relevant:
                part[:, columns] |= 1
                counts[0, segment] = relevant
                counts[1, segment], shares[0, segment], shares[1, segment] = _scores(part, relevant)
    back = order.queries.argsort()
    return QueryRanks(*counts[:, back], *shares[:, back])


def _tie_breakers(references: int, queries: int, seed: int) -> tuple[Tensor, Tensor]:
    """Even random numbers per reference and odd ones per query: their products order ties."""
    generator = torch.Generator().manual_seed(seed)
    limit = 2**30
    ties = torch.randint(limit, (references,), generator=generator, dtype=torch.int32) * 2
    factors = torch.randint(limit, (queries,), generator=generator, dtype=torch.int32) * 2 + 1
    return ties, factors


def _scores(keys: Tensor, relevant: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rank of the first hit, R-precision and average precision at R of each row of keys."""
    hits = smallest(keys, relevant) & 1  # (rows, R)
    found = hits.cumsum(1)  # (rows, R)
    ranks = torch.arange(1, relevant + 1, dtype=torch.float64, device=keys.device)
    first = 1 + (found == 0).sum(1)
    missed = found[:, -1] == 0
    if bool(missed.any()):
        nearest = torch.where((keys[missed] & 1).bool(), keys[missed], LAST).amin(1, keepdim=True)
        first[missed] = 1 + (keys[missed] < nearest).sum(1)
    average = (found * hits / ranks).sum(1) / relevant
    return first, found[:, -1].double() / relevant, average


def summarise_retrieval(ranks: QueryRanks, ks: Sequence[int] = (1,)) -> RetrievalSummary:
    """Average the results of the queries that have something to find.

    Raises:
        ValueError: If a k is below 1.
    """
    if any(k < 1 for k in ks):
        raise ValueError(f"Recall@k needs k of at least 1, got {tuple(ks)}.")
    counted = ranks.relevant > 0
    first = ranks.first[counted]
    return RetrievalSummary(
        recall_at={k: float((first <= k).double().mean()) for k in ks},
        r_precision=float(ranks.r_precision[counted].mean()),
        map_at_r=float(ranks.average_precision[counted].mean()),
        queries=int(counted.sum()),
        left_out=int((~counted).sum()),
    )


def retrieval_summary(
    queries: Vectors,
    query_labels: Vectors,
    references: Vectors | None = None,
    reference_labels: Vectors | None = None,
    *,
    ks: Sequence[int] = (1,),
    seed: int = 0,
) -> RetrievalSummary:
    """Recall@k for every k of `ks`, R-precision and MAP@R in one pass; arguments as in `query_ranks`."""
    ranks = query_ranks(queries, query_labels, references, reference_labels, seed=seed)
    return summarise_retrieval(ranks, ks)


def recall_at_k(
    queries: Vectors,
    query_labels: Vectors,
    references: Vectors | None = None,
    reference_labels: Vectors | None = None,
    k: int = 1,
    *,
    seed: int = 0,
) -> float:
    """Share of queries with a sample of their class among the `k` nearest; see `query_ranks`."""
    return retrieval_summary(
        queries, query_labels, references, reference_labels, ks=(k,), seed=seed
    ).recall_at[k]


def r_precision(
    queries: Vectors,
    query_labels: Vectors,
    references: Vectors | None = None,
    reference_labels: Vectors | None = None,
    *,
    seed: int = 0,
) -> float:
    """Mean share of the query's class among the R nearest; see `query_ranks`."""
    return retrieval_summary(
        queries, query_labels, references, reference_labels, seed=seed
    ).r_precision


def map_at_r(
    queries: Vectors,
    query_labels: Vectors,
    references: Vectors | None = None,
    reference_labels: Vectors | None = None,
    *,
    seed: int = 0,
) -> float:
    """Mean of (1/R) sum over the first R ranks i of precision(i) rel(i); see `query_ranks`.

    Source: Musgrave, Belongie and Lim, A Metric Learning Reality Check, ECCV 2020, eq. (4) and (5).
    """
    return retrieval_summary(
        queries, query_labels, references, reference_labels, seed=seed
    ).map_at_r
