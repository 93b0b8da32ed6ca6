"""Retrieval by every method, computed again from whole matrices of distances."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.reranking import reranking_table
from dml_lightning.evaluation.retrieval import retrieval_values
from dml_lightning.metrics.reranking import KReciprocalDistances, expanded_queries

METHODS = ["none", "k-reciprocal", "average expansion", "alpha expansion"]


def slow(distances: torch.Tensor, labels: torch.Tensor, groups: np.ndarray) -> tuple[float, float]:
    """Recall@1 and MAP@R where candidates of the query's group are left out."""
    first, average = [], []
    for i, row in enumerate(distances.tolist()):
        others = sorted((j for j in range(len(row)) if groups[j] != groups[i]), key=row.__getitem__)
        hits = np.array([bool(labels[j] == labels[i]) for j in others])
        if r := int(hits.sum()):
            first.append(hits[0])
            average.append((np.cumsum(hits)[:r] / np.arange(1, r + 1) * hits[:r]).sum() / r)
    return float(np.mean(first)), float(np.mean(average))


def test_every_method_by_the_definition(split: Evidence) -> None:
    table = reranking_table(split).set_index(["set", "method"])
    assert list(table.index) == [(name, method) for name in ("known", "novel") for method in METHODS]
    for name in ("known", "novel"):
        part = split.sets[name]  # type: ignore[index]
        x = part.vectors.double()
        queries = {
            "none": x,
            "average expansion": expanded_queries(x, alpha=0.0),
            "alpha expansion": expanded_queries(x),
        }
        matrices = {method: torch.cdist(each, x) for method, each in queries.items()}
        matrices["k-reciprocal"] = KReciprocalDistances(x).matrix()
        for method, matrix in matrices.items():
            row = table.loc[(name, method)]
            each = np.arange(len(x))
            for suffix, groups in {"": each, "_other_groups": split.groups[name]}.items():  # type: ignore[index]
                values = [row[f"recall_at_1{suffix}"], row[f"map_at_r{suffix}"]]
                assert values == pytest.approx(slow(matrix, part.labels, groups)), (name, method, suffix)


def test_without_a_method_it_is_what_every_test_has(split: Evidence) -> None:
    table, values = reranking_table(split).set_index(["set", "method"]), retrieval_values(split)
    for prefix, name in {"": "known", "novel_": "novel"}.items():
        for column in table:
            assert table.loc[(name, "none"), column] == values[f"{prefix}{column}"]


def test_what_cannot_be_computed_is_left_out(split: Evidence) -> None:
    longer = {name: replace(part, vectors=2 * part.vectors) for name, part in split.sets.items()}
    table = reranking_table(replace(split, sets=longer, other_groups=False))
    assert table["method"].to_list() == METHODS[:2] * 2  # expansion is for unit vectors
    assert list(table) == ["set", "method", "recall_at_1", "r_precision", "map_at_r"]
    novel = split.sets["novel"]
    vectors = novel.vectors.clone()
    vectors[0] = 0  # not of unit length, as the reference is
    table = reranking_table(replace(split, sets={**split.sets, "novel": replace(novel, vectors=vectors)}))
    assert table["method"].to_list() == METHODS + METHODS[:2]
