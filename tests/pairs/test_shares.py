"""Rows split over ranks and threads: each is computed once, in its place."""

from collections.abc import Iterator
from threading import Lock

import pytest
import torch
from torch import Tensor

from dml_lightning.pairs.shares import MOST_THREADS, joined, over_threads, share_of, slices
from tests.ranks import Gloo

CPU = torch.device("cpu")


def split_and_join(rows: Tensor, split: bool) -> tuple[Tensor, Tensor]:
    part = share_of(rows, split)
    return part, joined(part * 2, split)


@pytest.mark.parametrize("rows", [0, 1, 3, 8])
def test_ranks_take_consecutive_parts_that_differ_by_one_row_at_most(gloo: Gloo, rows: int) -> None:
    x = torch.arange(2.0 * rows).view(rows, 2)
    answers = gloo(3).run(split_and_join, x, True)
    parts = [part for part, _ in answers]
    assert torch.equal(torch.cat(parts), x)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(torch.equal(whole, 2 * x) for _, whole in answers)


def test_nothing_is_split_unless_asked_for(gloo: Gloo) -> None:
    x = torch.arange(6.0).view(3, 2)
    for part, whole in gloo(2).run(split_and_join, x, False):
        assert torch.equal(part, x)
        assert torch.equal(whole, 2 * x)
    assert share_of(x, True) is not None
    assert torch.equal(share_of(x, True), x)  # one process has all


@pytest.fixture(params=[1, 2, 12])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Torch's threads, put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_threads_make_up_all_rows_once(threads: int, rows: int) -> None:
    seen, inner, lock = torch.zeros(rows), [], Lock()

    def work(part: slice) -> None:
        with lock:
            seen[part] += 1
            inner.append((torch.get_num_threads(), torch.is_grad_enabled()))

    over_threads(work, lambda parts: slices(rows, parts), CPU)
    assert (seen == 1).all()
    used = min(threads, rows, MOST_THREADS)
    assert len(inner) == used
    if used > 1:
        assert set(inner) == {(1, False)}
    assert torch.get_num_threads() == threads


def test_inference_mode_reaches_the_threads(threads: int) -> None:
    modes = []
    with torch.inference_mode():
        over_threads(lambda part: modes.append(torch.is_inference_mode_enabled()), lambda parts: slices(40, parts), CPU)
    assert set(modes) == {True}


def test_an_error_of_a_thread_is_raised_and_the_threads_are_put_back(threads: int) -> None:
    def work(part: slice) -> None:
        raise ValueError("this row")

    with pytest.raises(ValueError, match="this row"):
        over_threads(work, lambda parts: slices(30, parts), CPU)
    assert torch.get_num_threads() == threads
