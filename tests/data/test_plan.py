"""What all batch samplers share: shuffled walks, a plan for all ranks, and the state to resume from."""

import pickle
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.data.plan import Indices, PlannedBatch, PlannedBatchSampler, Walk

patient = settings(deadline=None)  # the machine may be busy


class Counting(PlannedBatchSampler):
    """Three global batches of four numbers, 100 * epoch + 0 to 11; each rank takes every `world_size`-th slot."""

    def __init__(self, rank: int = 0, world_size: int = 1, batches: int = 3) -> None:
        super().__init__(4, seed=0, rank=rank, world_size=world_size, batches=batches)

    def plan(self, epoch: int) -> Iterator[Indices]:
        yield from (100 * epoch + np.arange(12)).reshape(3, 4)

    def slots(self) -> Indices:
        return np.arange(self.rank, 4, self.world_size)


def test_ranks_take_their_slots_of_the_plan() -> None:
    shares = [list(Counting(rank, 2)) for rank in range(2)]
    assert shares == [[[0, 2], [4, 6], [8, 10]], [[1, 3], [5, 7], [9, 11]]]
    batch = shares[1][2]
    assert isinstance(batch, PlannedBatch)
    assert (batch.epoch, batch.step, batch.slots.tolist(), batch.crops) == (0, 2, [1, 3], 4)


def test_a_loaded_state_continues_after_the_completed_batches() -> None:
    sampler = Counting()
    sampler.load_state_dict({"epoch": 2, "completed": 2})
    sampler.set_epoch(2)  # as the trainer does after loading: it must not rewind
    assert list(sampler) == [[208, 209, 210, 211]]
    assert sampler.state_dict() == {"epoch": 3, "completed": 0}
    sampler.set_epoch(3)
    assert len(list(sampler)) == 3


def test_a_plan_that_repeats_is_that_of_the_first_epoch_in_every_epoch() -> None:
    sampler, repeating = Counting(), Counting()
    repeating.repeats = True
    first = list(sampler)
    for epoch in (0, 1, 5):
        repeating.set_epoch(epoch)
        batches = list(repeating)
        assert batches == first
        assert {batch.epoch for batch in batches if isinstance(batch, PlannedBatch)} == {0}  # of the augmentation
    assert repeating.state_dict() == {"epoch": 6, "completed": 0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "world_size": 2}, "rank 2 is not one of the 2 ranks 0 to 1"),
        ({"rank": -1}, "rank -1"),
        ({"batches": 0}, "batches_per_epoch is 0; an epoch needs at least one batch"),
    ],
)
def test_impossible_numbers_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Counting(**options)


@patient
@given(st.integers(1, 12), st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 99))
def test_walk_is_even_at_every_moment(size: int, counts: list[int], seed: int) -> None:
    walk = Walk(np.arange(size) + 5, np.random.default_rng(seed))
    times = Counter({i + 5: 0 for i in range(size)})
    for count in counts:
        taken = walk.take(count).tolist()
        assert len(taken) == count
        assert len(set(taken)) == min(count, size)
        times.update(taken)
        assert max(times.values()) - min(times.values()) <= 1


def test_walk_puts_every_member_everywhere() -> None:
    """What is taken at a round's end must not always wait until the end of the next one."""
    walk = Walk(np.arange(4), np.random.default_rng(0))
    taken = [tuple(walk.take(3).tolist()) for _ in range(400)]
    for place in range(3):
        counts = Counter(batch[place] for batch in taken)
        assert min(counts.values()) > 60  # 100 expected
    gaps = Counter(len(set(a) & set(b)) for a, b in pairwise(taken))
    assert set(gaps) <= {2, 3}


def test_planned_batch_keeps_its_place_on_the_way_to_a_worker() -> None:
    batch = PlannedBatch([4, 2], epoch=3, step=9, slots=np.array([1, 0]), crops=2)
    copy = pickle.loads(pickle.dumps(batch))
    assert copy == [4, 2]
    assert (copy.epoch, copy.step, copy.slots.tolist(), copy.crops) == (3, 9, [1, 0], 2)


def test_state_takes_the_smaller_of_processed_and_handed_out() -> None:
    sampler = Counting()
    assert sampler.state_dict(completed=2) == {"epoch": 0, "completed": 0}  # nothing handed out yet
    iterator = iter(sampler)
    for _ in range(2):
        next(iterator)
    assert sampler.state_dict(completed=1) == {"epoch": 0, "completed": 1}
    assert sampler.state_dict() == {"epoch": 0, "completed": 2}
    assert sampler.state_dict(completed=1, length=1) == {"epoch": 1, "completed": 0}
