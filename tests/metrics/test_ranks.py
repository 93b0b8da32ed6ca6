"""Ranks of the references: the definition, ties by chance, groups left out, and shares that add up to the whole."""

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dml_lightning.metrics import ranks as ranking
from dml_lightning.metrics.ranks import QueryRanks, query_ranks
from dml_lightning.pairs import distances as blocks
from tests.metrics.made import flights, sample
from tests.metrics.slow_ranks import slow_ranks
from tests.ranks import Gloo


def equal(first: QueryRanks, second: QueryRanks) -> bool:
    """To the last bit."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def mean_average_precision(ranks: QueryRanks) -> float:
    return float(ranks.average_precision[ranks.relevant > 0].mean())


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 20),
    m=st.integers(0, 20),
    classes=st.integers(1, 6),
    count=st.integers(0, 5),
)
def test_every_query_is_ranked_as_defined(seed: int, n: int, m: int, classes: int, count: int) -> None:
    """Leave one out where m is 0, no groups where count is."""
    x, y = sample(seed, n + m, classes)
    given_rows: tuple[Any, ...] = (x[:n], y[:n], x[n:], y[n:]) if m else (x, y)
    groups: dict[str, Any] = {}
    if count:
        own = flights(seed, n + m, count)
        groups = {"groups": own[:n], "reference_groups": own[n:]} if m else {"groups": own}
    found = query_ranks(*given_rows, **groups)
    assert [column.dtype for column in found] == 2 * [torch.int64] + 2 * [torch.float64]
    expected = np.array(slow_ranks(*given_rows, **groups))
    assert torch.stack([column.double() for column in found], 1).numpy() == pytest.approx(expected, rel=1e-12)


def test_many_queries_equal_a_plain_sort() -> None:
    """Queries with two distances that are equal in float32, of which chance decides, are left out."""
    n = 800
    x, y = sample(6, n, 6, dim=16)
    squared = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    nearest, order = squared.fill_diagonal_(math.inf).float().sort(1)
    clear = (nearest[:, 1:] > nearest[:, :-1]).all(1)
    assert clear.sum() > n / 2
    hits = y[order[:, :-1]] == y[:, None]  # (N, N - 1)
    r = hits.sum(1)
    ranks = torch.arange(1, n)
    counted = hits.double() * (ranks <= r[:, None])
    expected = r, 1 + hits.double().argmax(1), counted.sum(1) / r, (counted * hits.cumsum(1) / ranks).sum(1) / r
    for column, own in zip(query_ranks(x, y), expected, strict=True):
        torch.testing.assert_close(column[clear], own[clear], rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_a_group_of_its_own_for_each_crop_leaves_out_nothing_more(scale: float) -> None:
    x, y = sample(4, 80, 3)
    x = scale * x.round()  # with ties
    assert equal(query_ranks(x, y), query_ranks(x, y, groups=torch.arange(80).flip(0)))


def test_per_query_results_keep_the_order_of_the_queries() -> None:
    x, y = sample(1, 40, 5)
    ranks = query_ranks(x, y)
    for i in (0, 7, 39):
        alone = query_ranks(x, y, rows=torch.tensor([i]))
        assert [float(v[0]) for v in alone] == [float(v[i]) for v in ranks]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("collapsed", [False, True])
def test_shares_of_the_queries_together_equal_one_call(collapsed: bool, grouped: bool) -> None:
    x, y = sample(2, 31, 4)
    x = x * 0 if collapsed else x
    groups = flights(2, 31, 5) if grouped else None
    whole = query_ranks(x, y, groups=groups, seed=3)
    shares = [query_ranks(x, y, groups=groups, rows=torch.arange(31)[r::3], seed=3) for r in range(3)]
    for column, parts in zip(whole, zip(*shares, strict=True), strict=True):
        for r in range(3):
            assert torch.equal(column[r::3], parts[r])


@pytest.mark.parametrize("groups", [None, flights(3, 40, 4)])
@pytest.mark.parametrize("elements", [1, 40, 10**7])
def test_any_block_size_gives_the_same(monkeypatch: pytest.MonkeyPatch, elements: int, groups: Tensor | None) -> None:
    x, y = sample(3, 40, 5)
    x = x.round()  # with ties
    whole = query_ranks(x, y, groups=groups)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", elements)
    monkeypatch.setattr(blocks, "TILE_ELEMENTS", elements)
    monkeypatch.setattr(blocks, "FEWEST_ROWS", 1)
    assert equal(query_ranks(x, y, groups=groups), whole)


# Ties ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("positions", "relevant", "outcomes"),
    [
        # (first, R-precision, average precision) with equal chances
        ([1, 1, 1], [1, 0, 0], [(1, 1.0, 1.0), (2, 0.0, 0.0), (3, 0.0, 0.0)]),
        ([1, 1, 2], [1, 0, 1], [(1, 0.5, 0.5), (2, 0.5, 0.25)]),  # a tie before the cut
        ([1, 2, 2], [1, 0, 1], [(1, 1.0, 1.0), (1, 0.5, 0.5)]),  # a tie at the cut
        ([1, 2, 2, 2], [0, 1, 0, 0], [(2, 0.0, 0.0), (3, 0.0, 0.0), (4, 0.0, 0.0)]),  # beyond it
        ([2, 2, 2], [1, 1, 0], [(1, 1.0, 1.0), (1, 0.5, 0.5), (2, 0.5, 0.25)]),
    ],
)
def test_ties_take_every_order_equally_often(
    positions: list[int], relevant: list[int], outcomes: list[tuple[int, float, float]]
) -> None:
    """Whatever the seed and whichever the query: 30 of each."""
    x, y = torch.zeros(30, 1), torch.ones(30, dtype=torch.int64)
    z, w = torch.tensor(positions)[:, None].float(), torch.tensor(relevant)
    found: list[tuple[int, float, float]] = []
    for seed in range(30):
        ranks = query_ranks(x, y, z, w, seed=seed)
        columns = ranks.first.tolist(), ranks.r_precision.tolist(), ranks.average_precision.tolist()
        found += zip(*columns, strict=True)
    assert set(found) == set(outcomes)
    shares = [found.count(outcome) / 900 for outcome in outcomes]
    assert shares == pytest.approx([1 / len(outcomes)] * len(outcomes), abs=0.06)


def test_ties_of_one_query_differ_between_seeds() -> None:
    x, y, z, w = torch.zeros(1, 2), torch.zeros(1).long(), torch.ones(3, 2), torch.tensor([1, 0, 2])
    first = [int(query_ranks(x, y, z, w, seed=seed).first) for seed in range(150)]
    assert np.bincount(first)[1:] / 150 == pytest.approx([1 / 3] * 3, abs=0.12)


def test_ties_are_ordered_differently_for_each_query() -> None:
    y = torch.tensor([0, 1] * 200)
    first = query_ranks(torch.zeros(400, 2), y).first
    for label in (0, 1):  # one order for all would find the same class first for every query
        assert (first[y == label] == 1).double().mean() == pytest.approx(0.5, abs=0.15)

    z, w = torch.tensor([[1.0], [1.0], [2.0]]), torch.tensor([1, 0, 1])  # a tie before the cut
    first = query_ranks(torch.zeros(400, 1), torch.ones(400).long(), z, w).first
    assert (first == 1).double().mean() == pytest.approx(0.5, abs=0.1)


def test_the_seed_decides_and_nothing_else() -> None:
    x, y = torch.zeros(50, 2), torch.arange(50) % 5
    assert equal(query_ranks(x, y, seed=1), query_ranks(x, y, seed=1))
    assert not equal(query_ranks(x, y, seed=1), query_ranks(x, y, seed=2))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    query_ranks(x, y)
    assert torch.equal(state, torch.get_rng_state())


def drawn_average_precisions(squared: Tensor, y: Tensor, groups: Tensor, draws: int) -> float:
    """Mean over the queries of their average precision at R, over orders drawn anew for each of them.

    Of squared distances (N, N), labels (N,) and groups (N,): lexsort orders by distance, then at random.
    """
    rng, n = np.random.default_rng(0), len(y)
    left_out = groups[:, None] == groups
    same = ((y[:, None] == y) & ~left_out).numpy()
    distance = np.broadcast_to(squared.masked_fill(left_out, math.inf).numpy(), (draws, n, n))
    order = np.lexsort((rng.random((draws, n, n)), distance))
    hits = np.take_along_axis(np.broadcast_to(same, order.shape), order, 2)  # nearest first
    r, ranks = same.sum(1)[:, None], np.arange(1, n + 1)
    sums = (hits.cumsum(2) / ranks * hits * (ranks <= r)).sum(2)  # (draws, N)
    asked = r[:, 0] > 0
    return float((sums[:, asked] / r[asked, 0]).mean())


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_many_ties_average_to_their_expectation(scale: float, grouped: bool) -> None:
    """Coarse vectors: ties in the R nearest, at the cut and beyond, against orders drawn one by one."""
    groups = flights(5, 60, 4) if grouped else torch.arange(60)
    x, y = sample(5, 60, 3, dim=3)
    x = scale * x.round()
    squared = (x.double()[:, None] - x.double()).square().sum(2)
    expected = drawn_average_precisions(squared, y, groups, 100)
    options = {"groups": groups} if grouped else {}
    found = [mean_average_precision(query_ranks(x, y, seed=seed, **options)) for seed in range(60)]
    assert np.mean(found) == pytest.approx(expected, abs=0.004)


# Ranks and threads ---------------------------------------------------------------------------------


def _split(*arguments: Tensor, **groups: Tensor) -> tuple[Tensor, ...]:
    return tuple(query_ranks(*arguments, split_over_ranks=True, **groups))


def _split_with_groups(groups: Tensor, *arguments: Tensor) -> tuple[Tensor, ...]:
    return _split(*arguments, groups=groups)


def _queries_ranked(x: Tensor, y: Tensor) -> int:
    """How many queries this process ranks by itself."""
    seen, own = [], ranking._rank

    def spy(queries: Any, targets: Any, chosen: Tensor, *more: Any) -> QueryRanks:
        seen.append(len(chosen))
        return own(queries, targets, chosen, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_rank", spy)
        _split(x, y)
    return sum(seen)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("n", [1, 2, 31, 200])
@pytest.mark.parametrize("kind", ["plain", "collapsed", "references"])
def test_ranks_together_equal_one_process(gloo: Gloo, world: int, n: int, kind: str) -> None:
    x, y = sample(7, n, 4)
    x = x * 0 if kind == "collapsed" else x
    arguments = (x, y, *sample(8, 50, 4)) if kind == "references" else (x, y)
    whole = query_ranks(*arguments)
    for answer in gloo(world).run(_split, *arguments):
        for column, expected in zip(answer, whole, strict=True):
            torch.testing.assert_close(column, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("n", [1, 31, 200])
@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_ranks_together_leave_out_the_own_group(gloo: Gloo, world: int, n: int, scale: float) -> None:
    x, y = sample(7, n, 4)
    groups = flights(7, n, 6)
    whole = query_ranks(scale * x, y, groups=groups)
    for answer in gloo(world).run(_split_with_groups, groups, scale * x, y):
        for column, expected in zip(answer, whole, strict=True):
            torch.testing.assert_close(column, expected, rtol=1e-12, atol=0)


def test_ranks_share_the_queries_evenly(gloo: Gloo) -> None:
    assert gloo(3).run(_queries_ranked, *sample(0, 31, 3)) == [11, 10, 10]
    assert gloo(3).run(_queries_ranked, *sample(0, 2, 1)) == [1, 1, 0]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("inference", [False, True])
def test_any_number_of_threads_gives_the_same(
    threads: Callable[[int], None], inference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = sample(4, 101, 5)
    x = x.round()  # with ties
    groups = flights(4, 101, 4)
    threads(1)
    alone = query_ranks(x, y)
    grouped = query_ranks(x, y, groups=groups)
    threads(3)
    own = ranking._ordered_hits
    seen = set()

    def spy(*given: Any) -> Any:
        seen.add((threading.get_ident(), torch.get_num_threads()))
        return own(*given)

    monkeypatch.setattr(ranking, "_ordered_hits", spy)
    with torch.inference_mode(inference):
        assert equal(query_ranks(x, y), alone)
        assert equal(query_ranks(x, y, groups=groups), grouped)
    assert torch.get_num_threads() == 3
    assert threading.get_ident() not in {thread for thread, _ in seen}
    assert {count for _, count in seen} == {1}


def test_errors() -> None:
    x, y = sample(0, 5, 2)
    with pytest.raises(ValueError, match="both or neither"):
        query_ranks(x, y, x)
    with pytest.raises(ValueError, match="4 dimensions and references 3"):
        query_ranks(x, y, x[:, :3], y)
    with pytest.raises(ValueError, match="query_labels must hold one label per row"):
        query_ranks(x, y[:3])
    with pytest.raises(ValueError, match="reference_labels must hold one label per row"):
        query_ranks(x, y, x, y[:3])
    with pytest.raises(ValueError, match="queries must be finite, but row 0"):
        query_ranks(x * math.nan, y)
    with pytest.raises(ValueError, match=r"groups must hold one group per row, shape \(5,\), got \(3,\)"):
        query_ranks(x, y, groups=y[:3])
    with pytest.raises(ValueError, match=r"groups must be integers, got <U1: np.unique\(groups"):
        query_ranks(x, y, groups=np.array(list("abcde")))
    for groups, reference_groups in ((y, None), (None, y)):
        with pytest.raises(ValueError, match="reference_groups must be given if both"):
            query_ranks(x, y, x, y, groups=groups, reference_groups=reference_groups)
    with pytest.raises(ValueError, match="reference_groups must be given if both"):
        query_ranks(x, y, groups=y, reference_groups=y)
