import pytest
import torch

from dml_lightning import distributed
from dml_lightning.distributed import whole, without_copies
from tests.ranks import Gloo


def rows_of(rank: int) -> torch.Tensor:
    return torch.arange(3.0 * (rank + 1)).view(-1, 3) + 100 * rank


def gather_rows(unused: int) -> tuple[torch.Tensor, distributed.GlobalBatch, int]:
    own = rows_of(distributed.rank())
    batch = distributed.global_batch(own, own[:, 0].long())
    return distributed.gather(own), batch, distributed.world_size()


def weigh(weights: torch.Tensor) -> torch.Tensor:
    own = rows_of(distributed.rank()).requires_grad_()
    (distributed.gather_with_grad(own) * weights).sum().backward()
    assert own.grad is not None
    return own.grad


def mean(total: float, count: float | None) -> tuple[float, float]:
    x = torch.tensor(total, dtype=torch.float64, requires_grad=True)
    value = distributed.global_mean(x, None if count is None else torch.tensor(count))
    value.backward()
    return value.item(), x.grad.item()


@pytest.mark.parametrize("world", [2, 4])
def test_gather_keeps_rank_order_with_unequal_rows(gloo: Gloo, world: int) -> None:
    expected = torch.cat([rows_of(r) for r in range(world)])
    for rank, (rows, batch, size) in enumerate(gloo(world).run(gather_rows, 0)):
        assert torch.equal(rows, expected)
        assert torch.equal(batch.embeddings, expected)
        assert torch.equal(batch.labels, expected[:, 0].long())
        assert batch.offset == rank * (rank + 1) // 2
        assert size == world


@pytest.mark.parametrize("world", [2, 4])
def test_backward_sums_what_all_ranks_send(gloo: Gloo, world: int) -> None:
    n = world * (world + 1) // 2
    weights = [torch.rand(n, 3, generator=torch.Generator().manual_seed(r)) for r in range(world)]
    total = sum(weights)
    for rank, gradient in enumerate(gloo(world).run(weigh, weights)):
        start = rank * (rank + 1) // 2
        torch.testing.assert_close(gradient, total[start : start + rank + 1])


def test_global_mean_divides_by_all_counts_and_scales_for_averaging(gloo: Gloo) -> None:
    answers = gloo(2).run(mean, [6.0, 2.0], [1.0, 3.0])
    for value, slope in answers:
        assert value == 2.0
        assert slope == 2 / 4
    for value, slope in gloo(2).run(mean, [6.0, 2.0], None):
        assert value == 8.0
        assert slope == 2.0


def test_global_mean_of_nothing_is_zero_with_a_gradient(gloo: Gloo) -> None:
    assert gloo(2).run(mean, [0.0, 0.0], [0.0, 0.0]) == [(0.0, 2.0)] * 2


def test_small_sums_of_weights_divide(gloo: Gloo) -> None:
    assert gloo(2).run(mean, [1.0, 1.0], [0.1, 0.15])[0][0] == pytest.approx(8.0)


def test_alone_nothing_is_copied() -> None:
    x = torch.rand(3, 2, requires_grad=True)
    assert distributed.gather_with_grad(x) is x
    assert distributed.global_batch(x, torch.arange(3)).embeddings is x
    assert distributed.global_batch(x, torch.arange(3)).offset == 0
    assert not distributed.gather(x).requires_grad


def test_what_has_no_shards_is_whole() -> None:
    tensor = torch.ones(3)
    assert whole(tensor) is tensor


def test_of_copies_the_first_stays() -> None:
    index = torch.tensor([7, 2, 7, -1, 2, 9])
    assert without_copies(index).tolist() == [3, 1, 0, 5]
    assert without_copies(index[:0]).tolist() == []
