"""Retrieval: Recall@k, R-precision and MAP@R, exact, in one pass over blocks of queries.

For one query, R counts the references of its class. Only the R nearest references matter to R-precision and
MAP@R, and only the nearest one of the class to Recall@k, so no full ranking is ever made:

- the references are ordered by class, so that "same class" is a slice;
- each squared distance, rounded to float32, becomes one 32-bit key whose lowest bit says "relevant";
- a partition and a sort of the R smallest keys give the ranks of the relevant references;
- where a relevant and an irrelevant reference are equally far, 64-bit keys with random bits decide.

Distances that are equal in float32 are therefore ordered at random, by a seed, and differently for each query:
a collapsed space must not score by the order of its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors, row_blocks
from dml_lightning.pairs.distances import PairwiseDistances
from dml_lightning.pairs.keys import LAST, narrow_keys, smallest, wide_keys
from dml_lightning.pairs.order import ClassOrder
from dml_lightning.pairs.shares import joined, over_threads, share_of, slices


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
    split_over_ranks: bool = False,
) -> QueryRanks:
    """Rank the references for every query, as far as Recall@k, R-precision and MAP@R need it.

    Args:
        queries: (Q, D).
        query_labels: (Q,) integers.
        references: (M, D); None searches the queries themselves, each without itself.
        reference_labels: (M,) integers, together with `references`.
        rows: (P,) the queries to rank; None ranks all. The results of parts, put together, are those of one call.
        seed: Orders equal distances.
        split_over_ranks: Each process ranks its share of `rows`, and every process returns them all. All must
            call this with the same arguments.

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
    target_labels = labels if reference_labels is None else as_labels(reference_labels, targets, "reference_labels")
    chosen = torch.arange(len(vectors)) if rows is None else rows
    share = share_of(chosen.to(vectors.device), split_over_ranks)
    ranks = _rank(vectors, labels, targets, target_labels, share, alone, seed)
    return QueryRanks(*(joined(column, split_over_ranks) for column in ranks))


def _rank(
    vectors: Tensor, labels: Tensor, targets: Tensor, target_labels: Tensor, chosen: Tensor, alone: bool, seed: int
) -> QueryRanks:
    """Rank `targets` for the queries `chosen`, in class order, and return to the caller's order."""
    order = ClassOrder(labels[chosen], target_labels)
    asked = chosen[order.queries]  # (P,) query rows, by class
    ties, factors = _tie_breakers(len(targets), len(vectors), seed)
    ties, factors = ties.to(vectors.device), factors.to(vectors.device)[asked]
    own = order.references.argsort()[asked] if alone else None  # (P,) columns
    counts = torch.zeros(2, len(asked), dtype=torch.int64, device=vectors.device)
    shares = torch.zeros(2, len(asked), dtype=torch.float64, device=vectors.device)
    pairs = PairwiseDistances(vectors[asked], targets[order.references], own, torch.float32)

    def rank_part(part: slice) -> None:
        for rows, block in pairs.blocks(part):
            keys = narrow_keys(block)
            for segment, columns in order.segments(rows):
                own_keys = keys[segment.start - rows.start : segment.stop - rows.start]
                relevant = columns.stop - columns.start - alone
                if relevant:
                    own_keys[:, columns] |= 1
                    first, hits = _ordered_hits(own_keys, relevant, ties, factors[segment])
                    counts[0, segment], counts[1, segment] = relevant, first
                    shares[0, segment], shares[1, segment] = _precisions(hits)

    over_threads(rank_part, lambda parts: slices(len(asked), parts), vectors.device)
    back = order.queries.argsort()
    return QueryRanks(*counts[:, back], *shares[:, back])


def _tie_breakers(references: int, queries: int, seed: int) -> tuple[Tensor, Tensor]:
    """Even random numbers per reference and odd ones per query, int64: their products order ties."""
    generator = torch.Generator().manual_seed(seed)
    limit = 2**30
    ties = torch.randint(limit, (references,), generator=generator) * 2
    factors = torch.randint(limit, (queries,), generator=generator) * 2 + 1
    return ties, factors


def _ordered_hits(keys: Tensor, relevant: int, ties: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of the first hit (rows,), and which of the R nearest are relevant (rows, R), 0 or 1.

    Args:
        keys: (rows, M) narrow keys whose lowest bit says "relevant"; each row is left in another order.
        relevant: R.
        ties: (M,), by place in a row, and
        factors: (rows,), whose products order equal distances.
    """
    leading = smallest(keys, min(relevant + 1, keys.shape[1]))  # of equal ones irrelevant first
    nearest, beyond = leading[:, :relevant], leading[:, relevant:]
    hits = nearest & 1
    tied = ((nearest[:, 1:] ^ nearest[:, :-1]) == 1).any(1)  # a relevant and an irrelevant one
    if bool(tied.any()):
        shuffled = wide_keys(nearest[tied], ties[:relevant] * factors[tied, None])
        hits[tied] = smallest(shuffled, relevant).int() & 1
    first = 1 + hits.bool().max(1).indices  # of the first; a quarter of argmax's time
    # The R nearest do not decide where equal distances lie on both sides of the cut, or none is a hit.
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
    found = hits.cumsum(1, dtype=torch.int32)  # (rows, R)
    size = hits.shape[1]
    ranks = torch.arange(1, size + 1, dtype=torch.float64, device=hits.device)
    return found[:, -1].double() / size, (found * hits / ranks).sum(1) / size


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
    split_over_ranks: bool = False,
) -> RetrievalSummary:
    """Recall@k for every k of `ks`, R-precision and MAP@R in one pass; arguments as in `query_ranks`."""
    ranks = query_ranks(
        queries, query_labels, references, reference_labels, seed=seed, split_over_ranks=split_over_ranks
    )
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
    return retrieval_summary(queries, query_labels, references, reference_labels, ks=(k,), seed=seed).recall_at[k]


def r_precision(
    queries: Vectors,
    query_labels: Vectors,
    references: Vectors | None = None,
    reference_labels: Vectors | None = None,
    *,
    seed: int = 0,
) -> float:
    """Mean share of the query's class among the R nearest; see `query_ranks`."""
    return retrieval_summary(queries, query_labels, references, reference_labels, seed=seed).r_precision


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
    return retrieval_summary(queries, query_labels, references, reference_labels, seed=seed).map_at_r
