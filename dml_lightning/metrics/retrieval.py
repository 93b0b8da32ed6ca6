"""Recall@k, R-precision and MAP@R: means over the queries of the results of `query_ranks`."""

from collections.abc import Sequence
from dataclasses import dataclass

from dml_lightning.metrics.ranks import QueryRanks, query_ranks
from dml_lightning.pairs.blocks import Vectors


@dataclass(frozen=True)
class RetrievalSummary:
    """Means over the queries with at least one reference of their class; NaN if there is none."""

    recall_at: dict[int, float]  # k -> share of queries with their class among the k nearest
    r_precision: float
    map_at_r: float
    queries: int  # number of queries in the means
    left_out: int  # number of queries with R = 0


def summarise_retrieval(ranks: QueryRanks, ks: Sequence[int] = (1,)) -> RetrievalSummary:
    """Average the results of the queries with at least one reference of their class.

    Raises:
        ValueError: If a k is below 1.

    Example:
        >>> import torch
        >>> ranks = query_ranks(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 0]))
        >>> summarise_retrieval(ranks, ks=(1, 2)).recall_at
        {1: 0.6666666666666666, 2: 1.0}
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
    groups: Vectors | None = None,
    reference_groups: Vectors | None = None,
    ks: Sequence[int] = (1,),
    seed: int = 0,
    split_over_ranks: bool = False,
) -> RetrievalSummary:
    """Recall@k for every k of `ks`, R-precision and MAP@R in one pass; arguments as in `query_ranks`.

    Example:
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 0])
        >>> summary = retrieval_summary(points, labels, groups=torch.tensor([5, 5, 6, 7]), ks=(1, 2))
        >>> summary.recall_at, summary.queries, summary.left_out
        ({1: 0.0, 2: 1.0}, 3, 1)
    """
    ranks = query_ranks(
        queries,
        query_labels,
        references,
        reference_labels,
        groups=groups,
        reference_groups=reference_groups,
        seed=seed,
        split_over_ranks=split_over_ranks,
    )
    return summarise_retrieval(ranks, ks)


def recall_at_k(
    queries: Vectors,
    query_labels: Vectors,
    references: Vectors | None = None,
    reference_labels: Vectors | None = None,
    k: int = 1,
    *,
    groups: Vectors | None = None,
    reference_groups: Vectors | None = None,
    seed: int = 0,
) -> float:
    """Share of queries with a sample of their class among the `k` nearest; other arguments as in `query_ranks`.

    Example:
        >>> import torch
        >>> recall_at_k(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 0]), k=1)
        0.6666666666666666
    """
    args = queries, query_labels, references, reference_labels
    summary = retrieval_summary(*args, groups=groups, reference_groups=reference_groups, ks=(k,), seed=seed)
    return summary.recall_at[k]


def r_precision(
    queries: Vectors,
    query_labels: Vectors,
    references: Vectors | None = None,
    reference_labels: Vectors | None = None,
    *,
    groups: Vectors | None = None,
    reference_groups: Vectors | None = None,
    seed: int = 0,
) -> float:
    """Mean share of the query's class among the R nearest; arguments as in `query_ranks`.

    Example:
        >>> import torch
        >>> r_precision(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 0]))
        0.5
    """
    args = queries, query_labels, references, reference_labels
    return retrieval_summary(*args, groups=groups, reference_groups=reference_groups, seed=seed).r_precision


def map_at_r(
    queries: Vectors,
    query_labels: Vectors,
    references: Vectors | None = None,
    reference_labels: Vectors | None = None,
    *,
    groups: Vectors | None = None,
    reference_groups: Vectors | None = None,
    seed: int = 0,
) -> float:
    """Mean average precision at R: (1/R) sum over ranks i <= R of precision(i) rel(i); arguments as in `query_ranks`.

    Source: Musgrave, Belongie and Lim, A Metric Learning Reality Check, ECCV 2020, eq. (4) and (5).

    Example:
        >>> import torch
        >>> map_at_r(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 0]))
        0.4166666666666667
    """
    args = queries, query_labels, references, reference_labels
    return retrieval_summary(*args, groups=groups, reference_groups=reference_groups, seed=seed).map_at_r
