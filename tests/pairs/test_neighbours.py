from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dml_lightning.pairs import distances as blocks
from dml_lightning.pairs import neighbours
from dml_lightning.pairs.neighbours import Neighbours, nearest_neighbours


def slow_differences(queries: Tensor, references: Tensor) -> Tensor:
    """Differences (Q, M, D) in float64."""
    return queries.double()[:, None] - references.double()


def slow(queries: Tensor, references: Tensor, k: int) -> Tensor:
    """Distances (Q, k), ascending, from differences in float64."""
    return slow_differences(queries, references).square().sum(2).sqrt().sort(1).values[:, :k]


def check(found: Neighbours, queries: Tensor, references: Tensor) -> None:
    """The k smallest distances, and rows at these distances, each reference at most once."""
    k = found.rows.shape[1]
    # Distances that are equal as float32 may come in either order.
    torch.testing.assert_close(found.distances, slow(queries, references, k), rtol=1e-7, atol=0)
    difference = queries.double()[:, None] - references.double()[found.rows]
    lengths = difference.square().sum(2).sqrt()
    torch.testing.assert_close(found.distances, lengths, rtol=1e-7, atol=0)
    assert all(len(set(row)) == k for row in found.rows.tolist())


def unit(n: int, dim: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, dim, generator=generator), dim=1)


def far_clusters(n: int) -> Tensor:
    """Two clusters 2000 apart whose members differ in the last few bits."""
    near = 1e-3 * unit(n, 8, seed=3)
    return near + 1e3 * torch.tensor([1.0, -1.0]).repeat(n)[:n, None]


def near_ties(n: int, gap: float) -> Tensor:
    """A few directions, again and again, with steps of `gap` between the copies."""
    return unit(n // 20, 16, seed=1).double().repeat(20, 1) * (1 + gap * torch.arange(n).double()[:, None])


CASES: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "directions": lambda: (unit(70, 16), unit(900, 16, seed=1)),
    "duplicates": lambda: (unit(60, 16), unit(60, 16).repeat(12, 1)),
    "offset": lambda: (1e3 + 1e-2 * unit(50, 8), 1e3 + 1e-2 * unit(700, 8, seed=1)),
    "far clusters": lambda: (far_clusters(50), far_clusters(800)),
    "lattice": lambda: ((3 * unit(80, 4)).round(), (3 * unit(900, 4, seed=1)).round()),
    "few": lambda: (unit(50, 16), unit(200, 16, seed=1)),
    "collapsed": lambda: (torch.full((20, 4), 0.3), torch.full((500, 4), 0.3)),
    "outlier": lambda: (unit(40, 8), torch.cat([unit(600, 8, seed=1), torch.full((1, 8), 1e7)])),
    "far queries": lambda: (1e30 * unit(10, 4).double(), 1e-3 * unit(600, 4, seed=1).double()),
    "farther than float32 reaches": lambda: (1e60 * unit(10, 4).double(), unit(600, 4, seed=1).double()),
    "near ties": lambda: (unit(40, 16).double(), near_ties(600, 1e-8)),
    "nearer ties": lambda: (unit(40, 16).double(), near_ties(600, 1e-14)),
    "zeros": lambda: (unit(30, 8).round(), torch.cat([torch.zeros(300, 8), unit(300, 8, seed=1)])),
    "half precision": lambda: (unit(40, 16).half(), unit(600, 16, seed=1).half()),
    "small": lambda: (1e-12 * unit(30, 8), 1e-12 * unit(600, 8, seed=1)),
    "doubles": lambda: (1 + 1e-9 * unit(30, 8).double(), 1 + 1e-9 * unit(600, 8, 1).double()),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 5])
def test_equals_the_definition(case: str, k: int) -> None:
    queries, references = CASES[case]()
    check(nearest_neighbours(queries, references, k), queries, references)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(0, 12), m=st.integers(1, 400), share=st.floats(0, 1), coarse=st.booleans()
)
def test_any_number_of_neighbours(seed: int, n: int, m: int, share: float, coarse: bool) -> None:
    queries, references = unit(n, 3, seed), unit(m, 3, seed + 1)
    if coarse:
        queries, references = (2 * queries).round(), (2 * references).round()
    found = nearest_neighbours(queries, references, 1 + int(share * (m - 1)))
    check(found, queries, references)


def test_the_fast_pass_decides_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references = CASES["directions"]()
    asked: list[int] = []
    complete = neighbours._search_all

    def spy(queries: Tensor, targets: Tensor, k: int) -> tuple[Tensor, Tensor]:
        asked.append(len(queries))
        return complete(queries, targets, k)

    monkeypatch.setattr(neighbours, "_search_all", spy)
    nearest_neighbours(queries, references, 5)
    assert asked == []
    nearest_neighbours(*CASES["far clusters"](), 5)
    assert asked == [50]


@pytest.mark.parametrize("case", ["directions", "duplicates", "lattice", "far clusters"])
def test_both_passes_give_the_same_neighbours(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references = CASES[case]()
    found = nearest_neighbours(queries, references, 4, seed=2)
    monkeypatch.setattr(neighbours._Nomination, "_error", lambda self, norms: norms * 0 + 1e9)
    complete = nearest_neighbours(queries, references, 4, seed=2)
    torch.testing.assert_close(found.distances, complete.distances, rtol=1e-7, atol=0)
    same = found.rows == complete.rows  # but for distances that are equal to the last digits
    assert same.double().mean() > 0.99


@pytest.mark.parametrize("case", ["directions", "lattice"])
def test_any_block_size_gives_the_same(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references = CASES[case]()
    whole = nearest_neighbours(queries, references, 3)
    for module, name in (
        (neighbours, "PRODUCT_ELEMENTS"),
        (neighbours, "QUERIES"),
        (blocks, "BLOCK_ELEMENTS"),
        (blocks, "TILE_ELEMENTS"),
    ):
        monkeypatch.setattr(module, name, 7)
    monkeypatch.setattr(blocks, "FEWEST_ROWS", 1)
    parts = nearest_neighbours(queries, references, 3)
    assert torch.equal(parts.rows, whole.rows)
    torch.testing.assert_close(parts.distances, whole.distances, rtol=1e-12, atol=0)


def test_a_coarse_product_setting_does_not_reach_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references = CASES["directions"]()
    settings_seen = set()
    choose = neighbours._Nomination._choose

    def spy(self: neighbours._Nomination, block: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        settings_seen.add((torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))
        return choose(self, block, error)

    monkeypatch.setattr(neighbours._Nomination, "_choose", spy)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = nearest_neighbours(queries, references, 5)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert settings_seen == {("highest", False)}
    check(found, queries, references)


@pytest.mark.parametrize("together", [False, True])
def test_candidates_are_certain_only_if_all_that_are_close_have_a_place(together: bool) -> None:
    nominate = neighbours._Nomination(unit(2000, 4), 3)
    places, groups = nominate.count, nominate.groups
    assert nominate.width > places + 1
    steps = groups if together else 1  # columns of one group are that far apart
    error = torch.full((1,), 0.1, dtype=torch.float64)
    for close, certain in ((places, True), (places + 1, False)):
        block = torch.full((1, len(nominate.right)), 10.0)
        block[0, 5 : 5 + steps * close : steps] = 1.0
        columns, sure = nominate._choose(block, error)
        assert bool(sure) == certain
        assert (block[0, columns[0]] == 1).all()


def test_the_callers_arrays_are_left_as_they_are() -> None:
    queries, references = unit(5, 4).double(), unit(300, 4, seed=1).double()
    kept = queries.clone(), references.clone()
    nearest_neighbours(queries, references, 2)
    assert torch.equal(queries, kept[0])
    assert torch.equal(references, kept[1])


def test_the_bound_holds_and_is_not_idle() -> None:
    references = unit(4000, 128, seed=1)
    queries = unit(300, 128)
    nominate = neighbours._Nomination(references, 5)
    left, norms = nominate._left(queries)
    rounded = left @ nominate.right[:4000].T
    exact = (slow_differences(queries, references) / nominate.scale).square().sum(2)
    ratio = (rounded.double() - exact).abs().amax(1) / nominate._error(norms)
    assert 1e-3 < float(ratio.max()) < 1


def test_numpy_and_half_precision() -> None:
    queries, references = unit(5, 8), unit(300, 8, seed=1)
    found = nearest_neighbours(queries.numpy(), references.numpy().astype(np.float64), 2)
    check(found, queries, references)
    check(nearest_neighbours(queries.half(), references, 2), queries.half(), references)
