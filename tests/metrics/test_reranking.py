"""Re-ranking and query expansion, step by step from their papers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dml_lightning.metrics.ranks import query_ranks
from dml_lightning.metrics.reranking import KReciprocalDistances, expanded_queries, others_nearest
from dml_lightning.metrics.retrieval import retrieval_summary, summarise_retrieval
from tests.metrics.made import flights, sample
from tests.ranks import Gloo


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x.double())


# Query expansion ---------------------------------------------------------------------------------


def slow_expansion(x: Tensor, y: Tensor | None, count: int, alpha: float) -> list[list[float]]:
    """Chum et al. 2007 (alpha 0) and Radenović et al. 2018, section 3.3, a query at a time."""
    result = []
    for i, query in enumerate(x.tolist()):
        others = [row for j, row in enumerate(x.tolist()) if j != i] if y is None else y.tolist()
        others.sort(key=lambda row: math.dist(row, query))
        total = list(query)
        for row in others[:count]:
            product = sum(a * b for a, b in zip(query, row, strict=True))
            weight = max(product, 0.0) ** alpha
            total = [a + weight * b for a, b in zip(total, row, strict=True)]
        length = math.sqrt(sum(a * a for a in total))
        result.append([a / length for a in total])
    return result


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 15),
    m=st.integers(0, 15),
    count=st.integers(1, 20),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
def test_expansion_by_the_papers(seed: int, n: int, m: int, count: int, alpha: float) -> None:
    """Among the other queries where m is 0."""
    x = unit(sample(seed, n + m, 3)[0])
    before = x.clone()
    references = x[n:] if m else None
    result = expanded_queries(x[:n], references, count=count, alpha=alpha)
    assert result.numpy() == pytest.approx(np.array(slow_expansion(x[:n], references, count, alpha)), abs=1e-9)
    assert torch.equal(x, before)


def test_expansion_keeps_the_type_and_finds_what_lies_behind() -> None:
    """Along an arc the last crops are nearer to an expanded query than to the query."""
    angles = torch.linspace(0, 1.2, 13)
    arc = torch.stack([angles.cos(), angles.sin()], 1)
    expanded = expanded_queries(arc[:1], arc[1:], count=4, alpha=0.0)
    assert expanded.dtype == arc.dtype
    assert math.dist(expanded[0].tolist(), arc[-1].tolist()) < math.dist(arc[0].tolist(), arc[-1].tolist())
    weighted = expanded_queries(arc[:1], arc[1:], count=4, alpha=50.0)  # nearer ones count for more
    assert math.dist(weighted[0].tolist(), arc[0].tolist()) < math.dist(expanded[0].tolist(), arc[0].tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dim", [2, 128])
def test_unit_vectors_in_half_precision_are_expanded(dtype: torch.dtype, dim: int) -> None:
    rounded = unit(torch.randn(500, dim, generator=torch.Generator().manual_seed(0))).to(dtype)
    exact = expanded_queries(unit(rounded.float()), count=3)
    assert (expanded_queries(rounded, count=3) - exact).abs().max() < 0.02


def test_what_cannot_be_expanded() -> None:
    x = unit(torch.randn(4, 3))
    for wrong in ({"count": 0}, {"alpha": -1.0}, {"alpha": math.nan}, {"alpha": math.inf}):
        with pytest.raises(ValueError, match="count must be at least 1 and alpha at least 0"):
            expanded_queries(x, **wrong)  # type: ignore[arg-type]
    scaled = x.clone()
    scaled[2] *= 3
    with pytest.raises(ValueError, match=r"queries must be unit vectors, .*, but row 2 has length 3: divide"):
        expanded_queries(scaled)
    with pytest.raises(ValueError, match="references must be unit vectors"):
        expanded_queries(x, scaled)
    with pytest.raises(ValueError, match="number of other rows, 0"):
        expanded_queries(x[:1])
    with pytest.raises(ValueError, match="number of references, 0"):
        expanded_queries(x, x[:0])
    with pytest.raises(ValueError, match="queries have 3 dimensions and references 2"):
        expanded_queries(x, unit(torch.randn(4, 2)))


# k-reciprocal re-ranking -------------------------------------------------------------------------


def slow_reranking(x: Tensor, k1: int, k2: int, weight: float) -> list[list[float]]:
    """Zhong et al. 2017, equations 2 to 12, for rows that search each other, with sets."""
    points = x.double().tolist()
    everyone = range(len(points))
    raw = [[math.dist(p, g) ** 2 for g in points] for p in points]
    d = [[value / (max(row) or 1) for value in row] for row in raw]

    def nearest(p: int, k: int) -> list[int]:  # equation 2, p itself among them
        return [p, *sorted((g for g in everyone if g != p), key=lambda g: raw[p][g])[:k]]

    def reciprocal(p: int, k: int) -> set[int]:  # equation 3
        return {g for g in nearest(p, k) if p in nearest(g, k)}

    def expanded(p: int) -> set[int]:  # equation 5
        result = set(reciprocal(p, k1))
        for q in reciprocal(p, k1):
            candidates = reciprocal(q, round(k1 / 2))
            if len(reciprocal(p, k1) & candidates) >= 2 / 3 * len(candidates) - 1e-12:
                result |= candidates
        return result

    encodings = [[math.exp(-d[p][g]) if g in own else 0.0 for g in everyone] for p in everyone for own in [expanded(p)]]
    averaged = []  # equation 11
    for p in everyone:
        rows = [encodings[g] for g in nearest(p, k1)[:k2]]
        averaged.append([sum(column) / len(rows) for column in zip(*rows, strict=True)])
    final = []
    for p in everyone:
        row = []
        for g in everyone:
            least = sum(min(a, b) for a, b in zip(averaged[p], averaged[g], strict=True))
            most = sum(max(a, b) for a, b in zip(averaged[p], averaged[g], strict=True))
            row.append((1 - weight) * (1 - least / most) + weight * d[p][g])  # equations 10 and 12
        final.append(row)
    return final


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 16),
    k1=st.integers(1, 9),
    k2=st.integers(1, 6),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_re_ranking_by_the_paper(seed: int, n: int, k1: int, k2: int, weight: float) -> None:
    x, _ = sample(seed, n, 3)
    k2 = min(k2, k1 + 1)
    result = KReciprocalDistances(x, k1=k1, k2=k2, weight=weight).matrix()
    assert result.numpy() == pytest.approx(np.array(slow_reranking(x, min(k1, n - 1), k2, weight)), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 8), m=st.integers(1, 8))
def test_references_and_queries_are_neighbours_of_each_other(seed: int, n: int, m: int) -> None:
    x, _ = sample(seed, n + m, 3)
    whole = KReciprocalDistances(x, k1=3, k2=2).matrix()
    part = KReciprocalDistances(x[:n], x[n:], k1=3, k2=2)
    torch.testing.assert_close(part.matrix(), whole[:n, n:])
    torch.testing.assert_close(part(torch.tensor([n - 1]), torch.tensor([m - 1, 0])), whole[n - 1 : n, [n + m - 1, n]])


def test_equal_rows_have_distance_zero() -> None:
    same = torch.ones(12, 3)
    assert not KReciprocalDistances(same, k1=11, k2=3).matrix().any()
    assert others_nearest(same, 4).shape == (12, 4)
    assert not (others_nearest(same, 4) == torch.arange(12)[:, None]).any()


def test_settings_are_checked() -> None:
    x = torch.randn(5, 2)
    for wrong in ({"k1": 0}, {"k2": 0}, {"k1": 3, "k2": 5}, {"weight": -0.1}, {"weight": 1.1}):
        with pytest.raises(ValueError, match="k1 must be at least 1, k2 lie in "):
            KReciprocalDistances(x, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least two rows, got 1"):
        KReciprocalDistances(x[:1])
    with pytest.raises(ValueError, match="queries have 2 dimensions and references 3"):
        KReciprocalDistances(x, torch.randn(5, 3))
    with pytest.raises(ValueError, match="row 1 holds NaN"):
        KReciprocalDistances(x.index_fill(0, torch.tensor([1]), torch.nan))


# Ranked by them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
def test_ranks_by_given_distances_are_those_of_the_embeddings(grouped: bool) -> None:
    x, y = sample(5, 60, 4)
    groups = {"groups": flights(5, 60, 4)} if grouped else {}
    squared = torch.cdist(x.double(), x.double()).square()
    kept = squared.clone()
    for column, expected in zip(
        query_ranks(x, y, **groups, distances=lambda rows, columns: squared[rows][:, columns]),
        query_ranks(x, y, **groups),
        strict=True,
    ):
        torch.testing.assert_close(column, expected)
    single = squared.float()
    query_ranks(x, y, distances=lambda rows, columns: single)  # of all rows in one block: not overwritten
    assert torch.equal(single, kept.float())
    for bad in (-1.0, torch.nan):
        with pytest.raises(ValueError, match="distances must be at least 0, and one of them is negative or NaN"):
            query_ranks(x, y, distances=lambda rows, columns, bad=bad: torch.full((len(rows), len(columns)), bad))


def two_arcs(n: int = 60) -> tuple[Tensor, Tensor]:
    """Two classes on arcs of the sphere, whose far ends are nearer to the other arc than to each other."""
    along = torch.linspace(0, 3.0, n)
    height = torch.tensor([0.35, -0.35])
    arcs = [torch.stack([along.cos(), along.sin(), torch.full_like(along, z)], 1) for z in height]
    return unit(torch.cat(arcs)), torch.arange(2).repeat_interleave(n)


def test_they_help_where_classes_are_curved() -> None:
    x, y = two_arcs()
    rows = torch.arange(len(x))
    plain = retrieval_summary(x, y).map_at_r
    reranked = summarise_retrieval(query_ranks(x, y, distances=KReciprocalDistances(x))).map_at_r
    expanded = expanded_queries(x, count=10, alpha=0.0)
    by_expansion = retrieval_summary(expanded, y, x, y, groups=rows, reference_groups=rows).map_at_r
    assert plain < 0.65
    assert reranked > plain + 0.02
    assert by_expansion != pytest.approx(plain, abs=1e-3)


def ranked(x: Tensor, y: Tensor) -> Any:
    return query_ranks(x, y, distances=KReciprocalDistances(x, k1=5, k2=2), split_over_ranks=True)


def test_ranks_share_the_work(gloo: Gloo) -> None:
    x, y = sample(3, 41, 4)
    alone = ranked(x, y)
    for result in gloo(2).run(ranked, x, y):
        for column, expected in zip(result, alone, strict=True):
            assert torch.equal(column, expected)
