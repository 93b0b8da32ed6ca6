"""Retrieval by re-ranked distances and by expanded queries beside the plain one."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dml_lightning.evaluation.evidence import SEEN_AND_NOVEL, Evidence
from dml_lightning.evaluation.retrieval import OTHER_GROUPS
from dml_lightning.metrics.ranks import QueryRanks, query_ranks
from dml_lightning.metrics.reranking import UNIT_TOLERANCE, KReciprocalDistances, expanded_queries
from dml_lightning.metrics.retrieval import summarise_retrieval
from dml_lightning.pairs.blocks import Vectors
from dml_lightning.types import Embeddings

EXPANSIONS = {"average expansion": 0.0, "alpha expansion": 3.0}  # exponent by method


def reranking_table(evidence: Evidence) -> pd.DataFrame:
    """Retrieval of known and of novel crops among themselves by every method, with the papers' settings.

    Neighbours are searched among all crops of a set, those of the query's flight too; only the ranking leaves them out
    in columns that end in `_other_groups`. Time and memory are those of `metrics.reranking`.

    Args:
        evidence: Embeddings of one split.

    Returns:
        A row per set and method (none, k-reciprocal, average expansion, alpha expansion) with recall_at_1, r_precision
        and map_at_r, and recall_at_1_other_groups and map_at_r_other_groups unless `evidence.other_groups` is False.
        Expansions are missing where embeddings of the set are not of unit length, and sets of fewer than two crops are
        left out.
    """
    rows = [
        {"set": name, "method": method, **_values(rank, evidence, evidence.groups[name])}
        for name in SEEN_AND_NOVEL.values()
        if len(evidence.sets[name]) > 1
        for method, rank in _methods(evidence.sets[name])
    ]
    return pd.DataFrame(rows)


def _methods(chosen: Embeddings) -> Iterator[tuple[str, "partial[QueryRanks]"]]:
    """Functions by method that rank the crops of a set for each other, but for a group (N,) that they are given."""
    vectors, labels = chosen.vectors, chosen.labels
    yield "none", partial(query_ranks, vectors, labels)
    yield "k-reciprocal", partial(query_ranks, vectors, labels, distances=KReciprocalDistances(vectors))
    if bool(((vectors.norm(dim=1) - 1).abs() <= UNIT_TOLERANCE).all()):
        for method, alpha in EXPANSIONS.items():
            yield method, partial(_rank_expanded, expanded_queries(vectors, alpha=alpha), vectors, labels)


def _rank_expanded(queries: Tensor, vectors: Tensor, labels: Tensor, groups: Vectors) -> QueryRanks:
    return query_ranks(queries, labels, vectors, labels, groups=groups, reference_groups=groups)


def _values(rank: "partial[QueryRanks]", evidence: Evidence, flights: np.ndarray) -> dict[str, float]:
    each = torch.arange(len(flights))  # a group of its own: nothing but the crop itself is left out
    plain = summarise_retrieval(rank(groups=each))
    values = {"recall_at_1": plain.recall_at[1], "r_precision": plain.r_precision, "map_at_r": plain.map_at_r}
    if evidence.other_groups:
        others = summarise_retrieval(rank(groups=torch.from_numpy(np.unique(flights, return_inverse=True)[1])))
        values[f"recall_at_1{OTHER_GROUPS}"] = others.recall_at[1]
        values[f"map_at_r{OTHER_GROUPS}"] = others.map_at_r
    return values
