"""Rows that are kept until an epoch ends, on one rank and on several that hold unequal shares."""

import itertools
import pickle

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from dml_lightning.distributed import rank
from dml_lightning.metrics.rows import INTEGERS, RowMetric, gather_rows
from tests.metrics.made import SHARES, Batch, N, computed, crops, part, shared
from tests.ranks import Gloo

COLUMNS = ("embeddings", "labels", "known", "index", "groups")


class Kept(RowMetric):
    """Its value is the rows themselves."""

    columns = {  # noqa: RUF012
        "embeddings": torch.empty(0, 1),
        "labels": INTEGERS,
        "known": torch.empty(0, dtype=torch.bool),
        "index": INTEGERS,
        "groups": INTEGERS,
    }

    def update(
        self,
        embeddings: Tensor,
        labels: Tensor,
        known: Tensor | None = None,
        index: Tensor | None = None,
        groups: Tensor | None = None,
    ) -> None:
        self.keep(embeddings=embeddings, labels=labels, known=known, index=index, groups=groups)

    def compute(self) -> Batch:
        return self.rows()


def rows_of(seed: int = 0) -> Batch:
    batch = crops(seed)
    return {name: batch[name] for name in COLUMNS}


def in_order(batch: Batch) -> Batch:
    """The columns without the index, by the index."""
    found = part(batch, batch["index"].argsort())
    del found["index"]
    return found


def same(first: Batch, second: Batch) -> bool:
    """Equal in every bit and type."""
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )


def test_each_crop_comes_once_in_the_order_of_its_index() -> None:
    metric = Kept()
    for epoch in range(2):  # a reset forgets the epoch before
        batch = rows_of(epoch)
        for rows in (slice(0, 0), slice(0, 30), slice(30, 31), slice(20, N)):  # ten of them come twice
            metric.update(**part(batch, rows))
        assert same(metric.compute(), in_order(batch))
        metric.reset()


def test_of_copies_the_first_stays() -> None:
    """An embedding is not equal to its copy to the last bit: another batch size rounds otherwise."""
    metric = Kept()
    metric.update(torch.tensor([[1.0], [2.0]]), torch.tensor([5, 6]), index=torch.tensor([8, 3]))
    metric.update(torch.tensor([[1.5], [3.0]]), torch.tensor([5, 7]), index=torch.tensor([8, 1]))
    found = metric.compute()
    assert found["embeddings"][:, 0].tolist() == [3.0, 2.0, 1.0]
    assert found["labels"].tolist() == [7, 6, 5]


def test_without_an_index_every_row_counts_as_it_came() -> None:
    batch = rows_of()
    del batch["index"]
    metric = Kept()
    for rows in (slice(40, N), slice(0, 45)):
        metric.update(**part(batch, rows))
    assert same(metric.compute(), part(batch, [*range(40, N), *range(45)]))


def test_columns_that_never_came_are_absent() -> None:
    batch = rows_of()
    metric = Kept()
    metric.update(batch["embeddings"], batch["labels"])
    assert metric.compute().keys() == {"embeddings", "labels"}


def test_no_rows_have_every_column_and_its_type() -> None:
    empty = {"embeddings": torch.empty(0, 1), **{name: rows_of()[name][:0] for name in ("labels", "known", "groups")}}
    assert same(computed(Kept()), empty)
    metric = Kept()
    metric.update(**part(rows_of(), slice(0, 0)))
    assert same(metric.compute(), empty)


def test_what_comes_later_does_not_change_what_was_kept() -> None:
    batch = rows_of()
    batch["embeddings"].requires_grad_()
    whole = {name: column.detach().clone() for name, column in batch.items()}
    metric = Kept()
    metric.update(**batch)
    for column in batch.values():
        column.detach().zero_()
    found = metric.compute()
    assert same(found, in_order(whole))
    assert not found["embeddings"].requires_grad


def test_a_pickled_copy_goes_on() -> None:
    batch = rows_of()
    metric = Kept()
    metric.update(**part(batch, slice(0, 40)))
    copy = pickle.loads(pickle.dumps(metric))
    copy.update(**part(batch, slice(40, N)))
    assert same(copy.compute(), in_order(batch))
    assert len(metric.compute()["labels"]) == 40


def test_updates_that_do_not_fit_together() -> None:
    x, y = rows_of()["embeddings"], rows_of()["labels"]
    metric = Kept()
    metric.update(x, y)
    with pytest.raises(ValueError, match="embeddings have 3 dimensions and those before 5: embed all with one encoder"):
        metric.update(x[:, :3], y)
    metric.update(x, y, groups=y)
    with pytest.raises(ValueError, match=f"groups came with {N} of {2 * N} crops: give it in each update or in none"):
        metric.compute()
    clash = Kept()  # two loaders that both count from 0
    clash.update(x[:3], torch.tensor([0, 1, 2]), index=torch.tensor([0, 1, 2]))
    clash.update(x[3:5], torch.tensor([0, 3]), index=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="index 1 stands for crops that differ in labels: number the crops of all"):
        clash.compute()
    flags = Kept()
    flags.update(x[:2], y[:2] * 0, torch.tensor([True, False]), index=torch.tensor([4, 4]))
    with pytest.raises(ValueError, match="index 4 stands for crops that differ in known"):
        flags.compute()


# Ranks ---------------------------------------------------------------------------------------------


def _three_times(batches: list[Batch], compute_groups: bool) -> list[Batch]:
    """What two metrics of a collection keep: of an epoch, of the same once more, and of a new epoch."""
    metrics = MetricCollection({"first": Kept(), "second": Kept()}, compute_groups=compute_groups)
    answers = []
    for again in (False, True, False):
        for batch in batches:
            metrics.update(**batch)
        answers.append(computed(metrics))
        if again:  # the second time goes on from the first, with copies alone
            metrics.reset()
    return answers


@pytest.mark.parametrize("compute_groups", [False, True])
@pytest.mark.parametrize(("world", "way"), [(w, i) for w, ways in SHARES.items() for i in range(len(ways))])
def test_every_rank_has_all_rows_whoever_held_them(gloo: Gloo, world: int, way: int, compute_groups: bool) -> None:
    batch = rows_of()
    expected = {f"{own}_{name}": column for own in ("first", "second") for name, column in in_order(batch).items()}
    for answers in gloo(world).run(_three_times, shared(batch, SHARES[world][way]), compute_groups):
        assert [same(answer, expected) for answer in answers] == [True] * 3


def _once(batch: Batch) -> Batch:
    metric = Kept()
    metric.update(**batch)
    return metric.compute()


@pytest.mark.parametrize("world", [2, 3])
def test_without_an_index_ranks_count_every_row_in_their_order(gloo: Gloo, world: int) -> None:
    batch = rows_of()
    del batch["index"]
    starts = [0, 4, 50, N][: world + 1]
    shares = [part(batch, slice(a, b)) for a, b in itertools.pairwise(starts)]
    for answer in gloo(world).run(_once, shares):
        assert same(answer, part(batch, slice(0, starts[world])))


def _nothing(empty: bool) -> Batch:
    metric = Kept()
    if empty:
        metric.update(**part(rows_of(), slice(0, 0)))
    return computed(metric)


def test_ranks_that_all_hold_nothing(gloo: Gloo) -> None:
    for answer in gloo(3).run(_nothing, [False, True, False]):
        assert {len(column) for column in answer.values()} == {0}


def _fails(batch: Batch) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        _once(batch)
    return str(error.value)


def test_every_rank_refuses_what_does_not_fit_together(gloo: Gloo) -> None:
    batch = {name: rows_of()[name] for name in ("embeddings", "labels", "index")}
    some = part(batch, slice(0, 4))
    bare = {name: column for name, column in part(batch, slice(4, N)).items() if name != "index"}
    message = f"index came with 4 of {N} crops: give it in each update or in none."
    assert gloo(2).run(_fails, [some, bare]) == [message] * 2
    narrow = {**part(batch, slice(4, N)), "embeddings": batch["embeddings"][4:, :3]}
    for answer in gloo(2).run(_fails, [some, narrow]):
        assert answer.startswith("ranks must keep rows of one shape and type")
    other = {**some, "labels": some["labels"] + 1}
    for answer in gloo(2).run(_fails, [some, other]):
        assert answer.endswith("stands for crops that differ in labels: number the crops of all loaders apart.")


def test_a_rank_without_rows_takes_the_shape_and_type_of_the_others(gloo: Gloo) -> None:
    held = [torch.zeros(0), torch.arange(6, dtype=torch.int64).view(2, 3), torch.ones(1, 3, dtype=torch.int64)]
    for answer in gloo(3).run(gather_rows, held):
        assert [each.shape for each in answer] == [(0, 3), (2, 3), (1, 3)]
        assert {each.dtype for each in answer} == {torch.int64}
        assert torch.equal(torch.cat(answer), torch.cat(held[1:]))


def _of_a_pair(rows: Tensor) -> list[Tensor] | None:
    """The first two ranks gather among themselves."""
    pair = torch.distributed.new_group([0, 1])
    return gather_rows(rows, pair) if rank() < 2 else None


def test_a_group_gathers_its_own_rows_alone(gloo: Gloo) -> None:
    answers = gloo(3).run(_of_a_pair, [torch.tensor([1.0]), torch.tensor([2.0, 3.0]), torch.tensor([9.0])])
    assert [[each.tolist() for each in answer] for answer in answers[:2]] == [[[1.0], [2.0, 3.0]]] * 2
    assert answers[2] is None
