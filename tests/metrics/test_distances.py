import math
from dataclasses import astuple
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dml_lightning.metrics.distances import anchor_distances, class_distance_table, gap_summary
from dml_lightning.metrics.functional import distance_summary
from dml_lightning.pairs import distances as blocks
from tests.ranks import Gloo

NAN = float("nan")


def sample(seed: int, n: int, classes: int, dim: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=generator)
    return x, torch.randint(classes, (n,), generator=generator)


def dist(x: Tensor, i: int, j: int) -> float:
    return math.dist(x[i].tolist(), x[j].tolist())


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else NAN


def slow_summary(x: Tensor, y: Tensor) -> tuple[float, ...]:
    intra, inter = [], []
    for i, j in combinations(range(len(x)), 2):
        (intra if y[i] == y[j] else inter).append(dist(x, i, j))
    ratio = mean(inter) / mean(intra) if intra and mean(intra) else NAN
    return mean(intra), mean(inter), ratio, min(inter, default=NAN), max(intra, default=NAN)


def slow_triplets(x: Tensor, y: Tensor) -> list[tuple[float, float, int]]:
    """(d(a, p), d(a, n), a) of every valid triplet."""
    return [
        (dist(x, a, p), dist(x, a, n), a)
        for a, p in permutations(range(len(x)), 2)
        for n in range(len(x))
        if y[a] == y[p] and y[a] != y[n]
    ]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 14), classes=st.integers(1, 6))
def test_summary_equals_the_definition(seed: int, n: int, classes: int) -> None:
    x, y = sample(seed, n, classes)
    assert distance_summary(x, y) == pytest.approx(slow_summary(x, y), rel=1e-9, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 12), classes=st.integers(1, 5), margin=st.floats(0, 2))
def test_gaps_equal_the_definition(seed: int, n: int, classes: int, margin: float) -> None:
    x, y = sample(seed, n, classes)
    triplets = slow_triplets(x, y)
    gaps = gap_summary(x, y, margin)
    if not triplets:
        assert all(math.isnan(value) for value in gaps)
        return
    intra, inter = mean([t[0] for t in triplets]), mean([t[1] for t in triplets])
    worst = min(t[1] for t in triplets) - max(t[0] for t in triplets) - margin
    per_anchor = min(n - p for p, n, _ in triplets) - margin
    expected = (intra, inter, inter - intra - margin, worst, per_anchor)
    assert gaps == pytest.approx(expected, rel=1e-9, abs=1e-9)
    loss = mean([max(0.0, p - n + margin) for p, n, _ in triplets])
    assert loss >= max(0.0, -gaps.mean_gap) - 1e-9  # Jensen: a gap below 0 forces a loss
    active = any(n - p < margin - 1e-9 for p, n, _ in triplets)
    assert active == (gaps.worst_anchor_gap < -1e-9)
    assert gaps.worst_gap <= gaps.worst_anchor_gap + 1e-12 <= gaps.mean_gap + 1e-9


def test_a_mean_gap_above_the_margin_does_not_mean_zero_loss() -> None:
    # The first point has its positive at 0.5 and its negatives at 0.4 and 1.2.
    x = torch.tensor([[0.0], [0.5], [-0.4], [1.2]])
    y = torch.tensor([0, 0, 1, 2])
    anchor = slow_triplets(x, y)[:2]
    assert mean([n - p for p, n, _ in anchor]) == pytest.approx(0.3)  # above m = 0.2
    assert mean([max(0.0, p - n + 0.2) for p, n, _ in anchor]) == pytest.approx(0.15)
    assert gap_summary(x, y, 0.2).worst_anchor_gap < 0


def test_pair_and_triplet_means_differ_under_imbalance_and_agree_when_balanced() -> None:
    x, _ = sample(1, 12, 2)
    for y, agree in ((torch.tensor([0, 1, 2] * 4), True), (torch.tensor([0] * 7 + [1] * 5), False)):
        pairs, triplets = distance_summary(x, y), gap_summary(x, y, 0.0)
        same = triplets.triplet_intra == pytest.approx(pairs.intra, rel=1e-9)
        assert same == agree


def test_squared_distances() -> None:
    x, y = sample(3, 9, 2)
    plain, squared = anchor_distances(x, y), anchor_distances(x, y, squared=True)
    torch.testing.assert_close(squared.positive_max, plain.positive_max.square())
    torch.testing.assert_close(squared.negative_min, plain.negative_min.square())


def test_class_table_equals_the_definition() -> None:
    x, y = sample(4, 15, 3)
    y[0] = 9  # a class of one sample
    classes, table = class_distance_table(x, y)
    assert classes.tolist() == [0, 1, 2, 9]
    for (a, first), (b, second) in permutations(enumerate(classes.tolist()), 2):
        expected = mean([dist(x, i, j) for i in range(15) for j in range(15) if (y[i], y[j]) == (first, second)])
        assert table[a, b] == pytest.approx(expected)
    for a, label in enumerate([0, 1, 2]):
        own = [i for i in range(15) if y[i] == label]
        assert table[a, a] == pytest.approx(mean([dist(x, i, j) for i, j in combinations(own, 2)]))
    assert math.isnan(table[3, 3])


def test_if_every_triplet_is_satisfied_classes_are_a_margin_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 10 * torch.eye(3).repeat_interleave(4, 0) + torch.rand(12, 3, generator=generator)
    y = torch.arange(3).repeat_interleave(4)
    margin = gap_summary(x, y, 0.0).worst_anchor_gap  # the largest margin that is met
    _, table = class_distance_table(x, y)
    for a, b in combinations(range(3), 2):
        assert table[a, b] >= max(table[a, a], table[b, b]) + margin


def test_undefined_values() -> None:
    one_class = distance_summary(torch.randn(5, 3), torch.zeros(5, dtype=torch.int64))
    assert one_class.intra > 0
    assert math.isnan(one_class.inter)
    assert math.isnan(one_class.ratio)
    assert math.isnan(one_class.min_inter)
    singles = distance_summary(torch.randn(5, 3), torch.arange(5))
    assert math.isnan(singles.intra)
    assert math.isnan(singles.max_intra)
    assert singles.inter > 0
    assert all(math.isnan(v) for v in distance_summary(torch.empty(0, 3), torch.empty(0).long()))


def test_collapse_gives_zero_distances_and_no_ratio() -> None:
    x = torch.full((40, 8), 0.3)
    summary = distance_summary(x, torch.arange(40) % 4)
    assert (summary.intra, summary.inter, summary.min_inter, summary.max_intra) == (0, 0, 0, 0)
    assert math.isnan(summary.ratio)
    tight = distance_summary(torch.eye(4).repeat(3, 1), torch.arange(12) % 4)
    assert tight.ratio == math.inf


def test_identical_rows_are_exactly_zero_apart_where_cdist_fails() -> None:
    x = torch.nn.functional.normalize(torch.randn(300, 128), dim=1).repeat(2, 1)
    assert torch.cdist(x, x)[torch.arange(300), torch.arange(300) + 300].max() > 1e-5  # the trap
    assert distance_summary(x, torch.arange(600) % 300).max_intra == 0.0
    assert distance_summary(x, torch.arange(600)).min_inter == 0.0


@pytest.mark.parametrize(("offset", "spread"), [(0.0, 1.0), (1e4, 1.0), (0.0, 1e-6), (3.0, 1e-5)])
def test_distances_are_right_far_from_the_origin_and_close_together(offset: float, spread: float) -> None:
    x = (offset + spread * torch.randn(60, 4)).to(torch.float32)
    x[7] = x[3]
    pairs = blocks.PairwiseDistances(x, x)
    direct = (x.double()[:, None] - x.double()[None]).square().sum(2)
    for rows, block in pairs.blocks():
        torch.testing.assert_close(block, direct[rows], rtol=1e-7, atol=0)


@pytest.mark.parametrize("elements", [1, 7, 100, 10**6])
def test_any_block_size_gives_the_same(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    x, y = sample(5, 23, 4)
    whole = distance_summary(x, y)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", elements)
    monkeypatch.setattr(blocks, "FEWEST_ROWS", 1)
    assert distance_summary(x, y) == pytest.approx(whole, rel=1e-12)


def test_memory_is_one_block() -> None:
    assert all(s.stop - s.start == 1 for s in blocks.row_blocks(3, 10**9))
    sizes = [(s.stop - s.start) * 1000 for s in blocks.row_blocks(10_000, 1000)]
    assert max(sizes) <= blocks.BLOCK_ELEMENTS
    assert sum(sizes) == 10_000 * 1000


def test_numpy_integers_and_half_precision_are_accepted() -> None:
    x, y = sample(6, 10, 2)
    expected = distance_summary(x, y)
    assert distance_summary(x.numpy(), y.numpy()) == expected
    assert distance_summary(x.half(), y).intra == pytest.approx(expected.intra, rel=1e-2)
    grid = np.array([[0, 0], [3, 4]])
    assert distance_summary(grid, np.array([0, 0])).intra == 5.0


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(3), torch.zeros(3).long(), r"shape \(N, D\)"),
        (torch.zeros(3, 2), torch.zeros(2).long(), "one label per row"),
        (torch.zeros(3, 2), torch.zeros(3), "integers"),
        (torch.tensor([[0.0], [NAN]]), torch.zeros(2).long(), "row 1"),
        (torch.tensor([[math.inf], [0.0]]), torch.zeros(2).long(), "row 0"),
    ],
)
def test_unusable_input_is_named(x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distance_summary(x, y)


@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_float32_blocks_are_float64_ones_rounded_once(scale: float) -> None:
    x = (3.0 + scale * torch.randn(70, 4)).to(torch.float32)
    x[7] = x[3]
    own = torch.arange(70)
    wide, narrow = (blocks.PairwiseDistances(x, x, own, t) for t in (torch.float64, torch.float32))
    for (_, expected), (_, block) in zip(wide.blocks(), narrow.blocks(), strict=True):
        assert block.dtype == torch.float32
        torch.testing.assert_close(block.double(), expected, rtol=1e-7, atol=0)
        assert block[7, 3] == 0


def _split(x: Tensor, y: Tensor) -> tuple[Any, ...]:
    anchors = anchor_distances(x, y, split_over_ranks=True)
    return *astuple(anchors), *class_distance_table(x, y, split_over_ranks=True)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_ranks_together_equal_one_process(gloo: Gloo, world: int, n: int) -> None:
    x, y = sample(8, n, 3)
    whole = (*astuple(anchor_distances(x, y)), *class_distance_table(x, y))
    for answer in gloo(world).run(_split, x, y):
        for column, expected in zip(answer, whole, strict=True):
            torch.testing.assert_close(column, expected, rtol=1e-12, atol=0, equal_nan=True)
