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

from dml_lightning.distributed import rank
from dml_lightning.metrics import ranks as ranking
from dml_lightning.metrics.functional import map_at_r, recall_at_k
from dml_lightning.metrics.ranks import query_ranks
from dml_lightning.metrics.retrieval import RetrievalSummary, r_precision, retrieval_summary, summarise_retrieval
from dml_lightning.pairs import distances as blocks
from dml_lightning.pairs.shares import over_threads, share_of, slices


def sample(seed: int, n: int, classes: int, dim: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=generator)
    centres = torch.randn(classes, dim, generator=generator)
    return centres[y] + torch.randn(n, dim, generator=generator), y


def slow(
    x: Tensor,
    y: Tensor,
    z: Tensor | None = None,
    w: Tensor | None = None,
    k: int = 1,
    groups: Tensor | None = None,
    reference_groups: Tensor | None = None,
) -> tuple[float, float, float, int]:
    """Recall@k, R-precision, MAP@R and queries left out, from the definitions."""
    recall, precision, average = [], [], []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i] if z is None else list(range(len(z)))
        targets, labels = (x, y) if z is None or w is None else (z, w)
        if groups is not None:
            flights = groups if reference_groups is None else reference_groups
            others = [j for j in others if flights[j] != groups[i]]
        others.sort(key=lambda j: math.dist(x[i].tolist(), targets[j].tolist()))
        hits = [bool(labels[j] == y[i]) for j in others]
        r = sum(hits)
        if r == 0:
            continue
        recall.append(any(hits[:k]))
        precision.append(sum(hits[:r]) / r)
        average.append(sum(sum(hits[:j]) / j * hits[j - 1] for j in range(1, r + 1)) / r)
    means = [float(np.mean(v)) if v else math.nan for v in (recall, precision, average)]
    return means[0], means[1], means[2], len(x) - len(recall)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 25), classes=st.integers(1, 8), k=st.integers(1, 30))
def test_leave_one_out_equals_the_definition(seed: int, n: int, classes: int, k: int) -> None:
    x, y = sample(seed, n, classes)
    found = retrieval_summary(x, y, ks=(k,))
    values = (found.recall_at[k], found.r_precision, found.map_at_r, found.left_out)
    assert values == pytest.approx(slow(x, y, k=k), rel=1e-12, nan_ok=True)
    assert found.queries == n - found.left_out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 20),
    m=st.integers(1, 20),
    classes=st.integers(1, 6),
    k=st.integers(1, 8),
)
def test_separate_references_equal_the_definition(seed: int, n: int, m: int, classes: int, k: int) -> None:
    x, y = sample(seed, n + m, classes)
    x, z, y, w = x[:n], x[n:], y[:n], y[n:]
    expected = slow(x, y, z, w, k=k)
    assert recall_at_k(x, y, z, w, k=k) == pytest.approx(expected[0], nan_ok=True)
    assert r_precision(x, y, z, w) == pytest.approx(expected[1], nan_ok=True)
    assert map_at_r(x, y, z, w) == pytest.approx(expected[2], nan_ok=True)
    assert retrieval_summary(x, y, z, w).left_out == expected[3]


def flights(seed: int, n: int, count: int) -> Tensor:
    """Groups of very different sizes, with numbers that are neither small nor in a row."""
    share = 2.0 ** -torch.arange(count)
    return torch.multinomial(share, n, replacement=True, generator=torch.Generator().manual_seed(seed)) * 1000 - 7


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 25),
    classes=st.integers(1, 5),
    count=st.integers(1, 6),
    k=st.integers(1, 8),
)
def test_leaving_out_the_own_group_equals_the_definition(seed: int, n: int, classes: int, count: int, k: int) -> None:
    x, y = sample(seed, n, classes)
    groups = flights(seed, n, count)
    found = retrieval_summary(x, y, groups=groups, ks=(k,))
    values = (found.recall_at[k], found.r_precision, found.map_at_r, found.left_out)
    assert values == pytest.approx(slow(x, y, k=k, groups=groups), rel=1e-12, nan_ok=True)
    assert found.queries == n - found.left_out
    assert recall_at_k(x, y, k=k, groups=groups) == pytest.approx(values[0], nan_ok=True)
    assert r_precision(x, y, groups=groups) == pytest.approx(values[1], nan_ok=True)
    assert map_at_r(x, y, groups=groups) == pytest.approx(values[2], nan_ok=True)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 20), m=st.integers(1, 20), count=st.integers(1, 5), k=st.integers(1, 8)
)
def test_groups_of_separate_references_equal_the_definition(seed: int, n: int, m: int, count: int, k: int) -> None:
    x, y = sample(seed, n + m, 4)
    groups = flights(seed, n + m, count)
    given = (x[:n], y[:n], x[n:], y[n:])
    of_groups = {"groups": groups[:n], "reference_groups": groups[n:]}
    expected = slow(*given, k=k, **of_groups)
    assert recall_at_k(*given, k=k, **of_groups) == pytest.approx(expected[0], nan_ok=True)
    assert r_precision(*given, **of_groups) == pytest.approx(expected[1], nan_ok=True)
    assert map_at_r(*given, **of_groups) == pytest.approx(expected[2], nan_ok=True)
    assert retrieval_summary(*given, **of_groups).left_out == expected[3]


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_a_group_of_its_own_for_each_crop_leaves_out_nothing_more(scale: float) -> None:
    x, y = sample(4, 80, 3)
    x = scale * x.round()  # with ties
    for alone, grouped in zip(query_ranks(x, y), query_ranks(x, y, groups=torch.arange(80).flip(0)), strict=True):
        assert torch.equal(alone, grouped)


def test_one_group_leaves_nothing_to_find() -> None:
    x, y = sample(4, 30, 3)
    found = retrieval_summary(x, y, groups=torch.full((30,), 9))
    assert (found.queries, found.left_out) == (0, 30)
    assert math.isnan(found.recall_at[1])


def test_a_near_copy_of_the_same_flight_no_longer_counts() -> None:
    x = torch.tensor([[0.0], [0.1], [1.0], [1.1], [9.0]])
    y, groups = torch.tensor([0, 0, 1, 1, 0]), torch.tensor([0, 0, 1, 1, 2])
    assert recall_at_k(x, y) == 0.8
    assert recall_at_k(x, y, groups=groups) == 0.0  # the two of class 1 have nothing to find
    assert retrieval_summary(x, y, groups=groups).left_out == 2


def test_equals_the_accuracy_calculator_of_pytorch_metric_learning() -> None:
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    x, y = sample(0, 600, 7, dim=16)
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    peer = AccuracyCalculator(include=names, device=torch.device("cpu"))
    theirs = peer.get_accuracy(x, y)
    ours = retrieval_summary(x, y)
    assert ours.recall_at[1] == pytest.approx(theirs[names[0]], abs=1e-6)
    assert ours.r_precision == pytest.approx(theirs[names[1]], abs=1e-6)
    assert ours.map_at_r == pytest.approx(theirs[names[2]], abs=1e-6)


def test_per_query_results_keep_the_order_of_the_queries() -> None:
    x, y = sample(1, 40, 5)
    ranks = query_ranks(x, y)
    for i in (0, 7, 39):
        alone = query_ranks(x, y, rows=torch.tensor([i]))
        assert [float(v[0]) for v in alone] == [float(v[i]) for v in ranks]
        order = sorted(set(range(40)) - {i}, key=lambda j: float((x[i] - x[j]).norm()))
        expected = 1 + [bool(y[j] == y[i]) for j in order].index(True)
        assert int(ranks.first[i]) == expected


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
    assert all(torch.equal(a, b) for a, b in zip(query_ranks(x, y, groups=groups), whole, strict=True))


def test_a_collapsed_space_scores_by_chance_not_by_the_order_of_its_rows() -> None:
    n, classes = 400, 4
    y = torch.arange(classes).repeat_interleave(n // classes)
    r = n // classes - 1
    chance = r / (n - 1)
    expected = sum((1 + (i - 1) * (r - 1) / (n - 2)) / i for i in range(1, r + 1)) * chance / r
    values = [map_at_r(torch.ones(n, 3), y, seed=seed) for seed in range(20)]
    assert np.mean(values) == pytest.approx(expected, rel=0.03)
    assert np.std(values) > 0
    recalls = [recall_at_k(torch.ones(n, 3), y, seed=seed) for seed in range(20)]
    assert np.mean(recalls) == pytest.approx(chance, abs=0.02)


def test_ties_within_one_query_are_ordered_uniformly() -> None:
    # One query, a tie between one reference of its class and two others: first with probability 1/3.
    x, y = torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)
    z, w = torch.ones(3, 2), torch.tensor([1, 0, 2])
    first = [int(query_ranks(x, y, z, w, seed=s).first) for s in range(900)]
    assert np.bincount(first)[1:] / 900 == pytest.approx([1 / 3] * 3, abs=0.06)


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
    assert map_at_r(x, y, seed=1) == map_at_r(x, y, seed=1)
    assert map_at_r(x, y, seed=1) != map_at_r(x, y, seed=2)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    map_at_r(x, y)
    assert torch.equal(state, torch.get_rng_state())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_ties_within_a_class_do_not_matter(seed: int) -> None:
    x = torch.eye(4).repeat_interleave(5, 0)  # every class is one point
    y = torch.arange(4).repeat_interleave(5)
    assert map_at_r(x, y, seed=seed) == 1.0


def test_a_duplicate_is_found_at_distance_zero() -> None:
    x = torch.nn.functional.normalize(torch.randn(200, 64), dim=1).repeat(2, 1)
    assert recall_at_k(x, torch.arange(400) % 200) == 1.0
    assert recall_at_k(x, torch.arange(200).repeat_interleave(2)) < 0.1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30))
def test_properties(seed: int, n: int) -> None:
    x, y = sample(seed, n, 3)
    found = retrieval_summary(x, y, ks=(1, 2, 5, n))
    if found.queries == 0:
        return
    recalls = list(found.recall_at.values())
    assert recalls == sorted(recalls)
    assert found.recall_at[n] == 1.0
    assert 0 <= found.map_at_r <= found.r_precision <= 1
    moved = retrieval_summary(4 * x - 8, y)  # exact in float32
    assert moved.map_at_r == pytest.approx(found.map_at_r, abs=1e-12)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert map_at_r(x[order], y[order]) == pytest.approx(found.map_at_r, abs=1e-12)


def test_lone_queries_are_left_out_and_counted() -> None:
    x = torch.tensor([[0.0], [1.0], [5.0]])
    found = retrieval_summary(x, torch.tensor([0, 0, 1]))
    assert (found.queries, found.left_out, found.map_at_r) == (2, 1, 1.0)
    nothing = retrieval_summary(x, torch.arange(3))
    assert nothing.left_out == 3
    assert math.isnan(nothing.map_at_r)
    assert math.isnan(nothing.recall_at[1])
    assert retrieval_summary(torch.empty(0, 2), torch.empty(0).long()).queries == 0


def test_errors() -> None:
    x, y = sample(0, 5, 2)
    with pytest.raises(ValueError, match="both or neither"):
        recall_at_k(x, y, x)
    with pytest.raises(ValueError, match="4 dimensions and references 3"):
        recall_at_k(x, y, x[:, :3], y)
    with pytest.raises(ValueError, match="at least 1"):
        summarise_retrieval(query_ranks(x, y), ks=(0,))
    with pytest.raises(ValueError, match="one label per row"):
        recall_at_k(x, y[:3])
    with pytest.raises(ValueError, match=r"groups must hold one group per row, shape \(5,\), got \(3,\)"):
        recall_at_k(x, y, groups=y[:3])
    with pytest.raises(ValueError, match=r"groups must be integers, got <U1: np.unique\(groups"):
        recall_at_k(x, y, groups=np.array(list("abcde")))
    for groups, reference_groups in ((y, None), (None, y)):
        with pytest.raises(ValueError, match="reference_groups must be given if both"):
            recall_at_k(x, y, x, y, groups=groups, reference_groups=reference_groups)
    with pytest.raises(ValueError, match="reference_groups must be given if both"):
        recall_at_k(x, y, groups=y, reference_groups=y)


@pytest.mark.parametrize(
    ("positions", "relevant", "outcomes"),
    [
        # (first, R-precision, average precision) with equal chances
        ([1, 1, 2], [1, 0, 1], [(1, 0.5, 0.5), (2, 0.5, 0.25)]),  # a tie before the cut
        ([1, 2, 2], [1, 0, 1], [(1, 1.0, 1.0), (1, 0.5, 0.5)]),  # a tie at the cut
        ([1, 2, 2, 2], [0, 1, 0, 0], [(2, 0.0, 0.0), (3, 0.0, 0.0), (4, 0.0, 0.0)]),  # beyond it
        ([2, 2, 2], [1, 1, 0], [(1, 1.0, 1.0), (1, 0.5, 0.5), (2, 0.5, 0.25)]),
    ],
)
def test_ties_take_every_order_equally_often(
    positions: list[int], relevant: list[int], outcomes: list[tuple[int, float, float]]
) -> None:
    x, y = torch.zeros(1, 1), torch.ones(1, dtype=torch.int64)
    z, w = torch.tensor(positions)[:, None].float(), torch.tensor(relevant)
    draws = [query_ranks(x, y, z, w, seed=s) for s in range(900)]
    found = [(int(r.first), float(r.r_precision), float(r.average_precision)) for r in draws]
    assert set(found) == set(outcomes)
    shares = [found.count(outcome) / 900 for outcome in outcomes]
    assert shares == pytest.approx([1 / len(outcomes)] * len(outcomes), abs=0.06)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_many_ties_average_to_their_expectation(scale: float, grouped: bool) -> None:
    """Coarse vectors: ties in the R nearest, at the cut and beyond, against orders drawn one by one."""
    groups = flights(5, 60, 4) if grouped else torch.arange(60)
    x, y = sample(5, 60, 3, dim=3)
    x = scale * x.round()
    rng = np.random.default_rng(0)
    squared = (x.double()[:, None] - x.double()).square().sum(2).numpy()
    expected = []
    for _ in range(60):
        for i in range(60):
            others = np.array([j for j in rng.permutation(60) if groups[j] != groups[i]])
            hits = y[others[np.argsort(squared[i, others], kind="stable")]] == y[i]
            r = int(hits.sum())
            if r == 0:
                continue
            ranks = torch.arange(1, r + 1)
            expected.append(float((hits[:r].cumsum(0) * hits[:r] / ranks).sum() / r))
    values = [map_at_r(x, y, groups=groups if grouped else None, seed=seed) for seed in range(60)]
    assert np.mean(values) == pytest.approx(np.mean(expected), abs=0.004)


def test_many_queries_equal_a_plain_sort() -> None:
    x, y = sample(6, 1500, 6, dim=32)
    squared = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf)
    hits = y[squared.argsort(1)[:, :-1]] == y[:, None]  # (N, N - 1)
    r = hits.sum(1)
    ranks = torch.arange(1, 1500)
    counted = hits.double() * (ranks <= r[:, None])
    found = query_ranks(x, y)
    assert torch.equal(found.relevant, r)
    assert torch.equal(found.first, 1 + hits.double().argmax(1))
    torch.testing.assert_close(found.r_precision, counted.sum(1) / r, rtol=1e-12, atol=0)
    average = (counted * hits.cumsum(1) / ranks).sum(1) / r
    torch.testing.assert_close(found.average_precision, average, rtol=1e-12, atol=0)


def _split(*arguments: Tensor, **groups: Tensor) -> tuple[Tensor, ...]:
    return tuple(query_ranks(*arguments, split_over_ranks=True, **groups))


def _split_with_groups(groups: Tensor, *arguments: Tensor) -> tuple[Tensor, ...]:
    return _split(*arguments, groups=groups)


def _shares(n: int) -> int:
    return len(share_of(torch.arange(n), True))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("n", [1, 2, 31, 200])
@pytest.mark.parametrize("kind", ["plain", "collapsed", "references"])
def test_ranks_together_equal_one_process(gloo: Callable[[int], Any], world: int, n: int, kind: str) -> None:
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
def test_ranks_together_leave_out_the_own_group(gloo: Callable[[int], Any], world: int, n: int, scale: float) -> None:
    x, y = sample(7, n, 4)
    groups = flights(7, n, 6)
    whole = query_ranks(scale * x, y, groups=groups)
    for answer in gloo(world).run(_split_with_groups, groups, scale * x, y):
        for column, expected in zip(answer, whole, strict=True):
            torch.testing.assert_close(column, expected, rtol=1e-12, atol=0)


def test_ranks_share_the_queries_evenly(gloo: Callable[[int], Any]) -> None:
    assert gloo(3).run(_shares, 31) == [11, 10, 10]
    assert gloo(3).run(_shares, 2) == [1, 1, 0]


def test_one_process_of_a_group_may_compute_alone(gloo: Callable[[int], Any]) -> None:
    x, y = sample(9, 20, 3)
    answers = gloo(2).run(_alone, x, y)
    assert answers == [retrieval_summary(x, y), None]


def _alone(x: Tensor, y: Tensor) -> RetrievalSummary | None:
    return retrieval_summary(x, y) if rank() == 0 else None  # hangs if it waits for the other


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
        assert all(torch.equal(a, b) for a, b in zip(query_ranks(x, y), alone, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(query_ranks(x, y, groups=groups), grouped, strict=True))
    assert torch.get_num_threads() == 3
    assert threading.get_ident() not in {thread for thread, _ in seen}
    assert {count for _, count in seen} == {1}


def test_what_fails_in_a_thread_fails_in_the_caller(threads: Callable[[int], None]) -> None:
    threads(2)
    done = []

    def work(part: slice) -> None:
        done.append((part.start, part.stop, torch.get_num_threads()))
        if part.start:
            raise ArithmeticError("in a thread")

    with pytest.raises(ArithmeticError, match="in a thread"):
        over_threads(work, lambda parts: slices(5, parts), torch.device("cpu"))
    assert sorted(done) == [(0, 2, 1), (2, 5, 1)]
    assert torch.get_num_threads() == 2
