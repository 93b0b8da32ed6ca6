"""Recall@k, R-precision and MAP@R as means over the queries, against the definition and against a peer."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dml_lightning.distributed import rank
from dml_lightning.metrics.functional import map_at_r, recall_at_k
from dml_lightning.metrics.ranks import query_ranks
from dml_lightning.metrics.retrieval import RetrievalSummary, r_precision, retrieval_summary, summarise_retrieval
from tests.metrics.made import flights, sample
from tests.metrics.slow_ranks import slow_ranks
from tests.ranks import Gloo


def slow(*arguments: Tensor, k: int, **groups: Tensor) -> tuple[float, float, float, int]:
    """Recall@k, R-precision, MAP@R and queries left out, from the definitions."""
    every = slow_ranks(*arguments, **groups)
    counted = [found for found in every if found[0] > 0]
    columns = [first <= k for _, first, _, _ in counted], [each[2] for each in counted], [each[3] for each in counted]
    recall, precision, average = (float(np.mean(column)) if column else math.nan for column in columns)
    return recall, precision, average, len(every) - len(counted)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 20),
    m=st.integers(0, 15),
    classes=st.integers(1, 6),
    count=st.integers(0, 5),
    k=st.integers(1, 25),
)
def test_means_equal_the_definition(seed: int, n: int, m: int, classes: int, count: int, k: int) -> None:
    """Leave one out where m is 0, no groups where count is."""
    x, y = sample(seed, n + m, classes)
    given_rows: tuple[Any, ...] = (x[:n], y[:n], x[n:], y[n:]) if m else (x, y)
    groups: dict[str, Any] = {}
    if count:
        own = flights(seed, n + m, count)
        groups = {"groups": own[:n], "reference_groups": own[n:]} if m else {"groups": own}
    found = retrieval_summary(*given_rows, ks=(k,), **groups)
    values = (found.recall_at[k], found.r_precision, found.map_at_r, found.left_out)
    assert values == pytest.approx(slow(*given_rows, k=k, **groups), rel=1e-12, nan_ok=True)
    assert found.queries == n - found.left_out
    alone = [recall_at_k(*given_rows, **{"k": k, **groups}), r_precision(*given_rows, **groups)]
    alone += [map_at_r(*given_rows, **groups)]
    assert alone == pytest.approx(values[:3], rel=1e-12, nan_ok=True)


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

    x, y = sample(0, 300, 7, dim=16)
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    peer = AccuracyCalculator(include=names, device=torch.device("cpu"))
    theirs = peer.get_accuracy(x, y)
    ours = retrieval_summary(x, y)
    assert ours.recall_at[1] == pytest.approx(theirs[names[0]], abs=1e-6)
    assert ours.r_precision == pytest.approx(theirs[names[1]], abs=1e-6)
    assert ours.map_at_r == pytest.approx(theirs[names[2]], abs=1e-6)


def test_a_collapsed_space_scores_by_chance_not_by_the_order_of_its_rows() -> None:
    n, classes = 240, 4
    y = torch.arange(classes).repeat_interleave(n // classes)
    r = n // classes - 1
    chance = r / (n - 1)
    expected = sum((1 + (i - 1) * (r - 1) / (n - 2)) / i for i in range(1, r + 1)) * chance / r
    found = [retrieval_summary(torch.ones(n, 3), y, seed=seed) for seed in range(20)]
    values = [each.map_at_r for each in found]
    assert np.mean(values) == pytest.approx(expected, rel=0.03)
    assert np.std(values) > 0
    assert np.mean([each.recall_at[1] for each in found]) == pytest.approx(chance, abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_ties_within_a_class_do_not_matter(seed: int) -> None:
    x = torch.eye(4).repeat_interleave(5, 0)  # every class is one point
    y = torch.arange(4).repeat_interleave(5)
    assert map_at_r(x, y, seed=seed) == 1.0


def test_the_seed_reaches_every_function() -> None:
    x, y = torch.zeros(50, 2), torch.arange(50) % 5
    for function in (recall_at_k, r_precision, map_at_r, retrieval_summary):
        assert function(x, y, seed=1) == function(x, y, seed=1) != function(x, y, seed=2)


def test_a_duplicate_is_found_at_distance_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(200, 64, generator=generator), dim=1).repeat(2, 1)
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


def test_a_k_below_one_is_refused() -> None:
    x, y = sample(0, 5, 2)
    with pytest.raises(ValueError, match="at least 1, got"):
        summarise_retrieval(query_ranks(x, y), ks=(1, 0))
    with pytest.raises(ValueError, match="at least 1, got"):
        recall_at_k(x, y, k=0)


def _alone(x: Tensor, y: Tensor) -> RetrievalSummary | None:
    return retrieval_summary(x, y) if rank() == 0 else None  # hangs if it waits for the other


def test_one_process_of_a_group_may_compute_alone(gloo: Gloo) -> None:
    x, y = sample(9, 20, 3)
    answers = gloo(2).run(_alone, x, y)
    assert answers == [retrieval_summary(x, y), None]


def _together(x: Tensor, y: Tensor) -> RetrievalSummary:
    return retrieval_summary(x, y, split_over_ranks=True)


def test_ranks_together_have_one_summary(gloo: Gloo) -> None:
    x, y = sample(9, 20, 3)
    assert gloo(2).run(_together, x, y) == [retrieval_summary(x, y)] * 2
