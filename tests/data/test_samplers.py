"""The plan of batches: P x K across ranks, balanced, resumable."""

import pickle
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.data.plan import PlannedBatchSampler
from dml_lightning.data.samplers import ClutterBatchSampler, PKBatchSampler, ShardBatchSampler, ShuffledBatchSampler

patient = settings(deadline=None)  # the machine may be busy


@st.composite
def pk_cases(draw: st.DrawFn) -> dict[str, Any]:
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=7))
    return {
        "labels": np.repeat(np.arange(len(sizes)) * 3 - 2, sizes),  # label values need not be 0..C-1
        "p": draw(st.integers(1, len(sizes))),
        "k": draw(st.integers(1, 4)),
        "world": draw(st.integers(1, 4)),
        "seed": draw(st.integers(0, 2**40)),
        "epoch": draw(st.integers(0, 50)),
        "batches": draw(st.one_of(st.none(), st.integers(1, 12))),
    }


def ranks_of(case: dict[str, Any]) -> list[PKBatchSampler]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small classes are wanted here
        samplers = [
            PKBatchSampler(
                case["labels"],
                case["p"],
                case["k"],
                seed=case["seed"],
                rank=rank,
                world_size=case["world"],
                batches_per_epoch=case["batches"],
            )
            for rank in range(case["world"])
        ]
    for sampler in samplers:
        sampler.set_epoch(case["epoch"])
    return samplers


def global_steps(samplers: list[PKBatchSampler]) -> list[list[int]]:
    """Puts the ranks' shares of each step back into their slots of the global batch."""
    steps = []
    for shares in zip(*samplers, strict=True):
        batch = [-1] * samplers[0].crops
        for share in shares:
            for slot, index in zip(share.slots, share, strict=True):
                assert batch[slot] == -1
                batch[slot] = index
        assert -1 not in batch
        steps.append(batch)
    return steps


@patient
@given(pk_cases())
def test_every_step_is_one_global_pk_batch(case: dict[str, Any]) -> None:
    labels, p, k, world = case["labels"], case["p"], case["k"], case["world"]
    samplers = ranks_of(case)
    sizes = Counter(labels.tolist())
    classes, samples = (p * world, k) if p * world <= len(sizes) else (p, k * world)
    assert {len(sampler) for sampler in samplers} == {len(list(samplers[0]))}
    for batch in global_steps(samplers):
        assert len(batch) == p * k * world
        count = Counter(labels[batch].tolist())
        assert len(count) == classes
        assert set(count.values()) == {samples}
        for label in count:
            times = Counter(i for i in batch if labels[i] == label)
            # distinct where the class allows, otherwise as even as it can be
            assert len(times) == min(samples, sizes[label])
            assert max(times.values()) - min(times.values()) <= 1
    for sampler in samplers:
        for share in sampler:  # and each rank's share is P x K by itself
            assert sorted(Counter(labels[share].tolist()).values()) == [k] * p


@patient
@given(pk_cases())
def test_classes_and_their_crops_are_walked_through_evenly(case: dict[str, Any]) -> None:
    steps = global_steps(ranks_of(case))
    labels = case["labels"]
    seen = [i for batch in steps for i in batch]
    per_class = Counter(label for batch in steps for label in set(labels[batch].tolist()))
    uses = [per_class[label] for label in set(labels.tolist())]
    assert max(uses) - min(uses) <= 1
    crops = Counter(seen)
    for label in set(labels.tolist()):
        times = [crops[i] for i in np.flatnonzero(labels == label)]
        assert max(times) - min(times) <= 1


@patient
@given(pk_cases())
def test_ranks_together_take_the_plan_of_one_process(case: dict[str, Any]) -> None:
    samplers = ranks_of(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = PKBatchSampler(
            case["labels"],
            samplers[0].global_classes,
            samplers[0].global_samples,
            seed=case["seed"],
            batches_per_epoch=case["batches"],
        )
    alone.set_epoch(case["epoch"])
    assert global_steps(samplers) == [list(batch) for batch in alone]


@patient
@given(pk_cases(), st.data())
def test_pk_resumes_in_the_middle(case: dict[str, Any], data: st.DataObject) -> None:
    check_resume(ranks_of(case)[-1], ranks_of(case)[-1], data)


def with_clutter(samplers: list[PKBatchSampler], sizes: list[int], count: int) -> list[ClutterBatchSampler]:
    """Samplers with `count` clutter crops per rank, of classes of these sizes."""
    labels, start = np.repeat(np.arange(len(sizes)), sizes), sum(len(members) for members in samplers[0].members)
    mixed = [ClutterBatchSampler(sampler, start, labels, count) for sampler in samplers]
    for own, sampler in zip(mixed, samplers, strict=True):
        own.set_epoch(sampler.epoch)
    return mixed


@patient
@given(pk_cases(), st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 5))
def test_clutter_comes_behind_a_plan_that_stays_as_it_was(case: dict[str, Any], sizes: list[int], count: int) -> None:
    known, total = ranks_of(case), count * case["world"]
    steps, mixed = global_steps(known), global_steps(with_clutter(known, sizes, count))  # type: ignore[arg-type]
    assert [step[:-total] for step in mixed] == steps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = PKBatchSampler(
            case["labels"],
            known[0].global_classes,
            known[0].global_samples,
            seed=case["seed"],
            batches_per_epoch=len(known[0]),
        )
    alone.set_epoch(case["epoch"])
    assert mixed == [list(batch) for batch in with_clutter([alone], sizes, total)[0]]
    drawn = [index for step in mixed for index in step[-total:]]
    start = len(case["labels"])
    kind = np.repeat(np.arange(len(sizes)), sizes)[np.array(drawn) - start]
    for number, size in enumerate(sizes):
        uses = Counter(np.array(drawn)[kind == number].tolist())
        every = [uses[start + sum(sizes[:number]) + i] for i in range(size)]
        assert max(every) - min(every) <= 1
    classes = Counter(kind.tolist())
    assert max(classes[i] for i in range(len(sizes))) - min(classes[i] for i in range(len(sizes))) <= 1


@patient
@given(pk_cases(), st.data())
def test_a_plan_with_clutter_resumes_in_the_middle(case: dict[str, Any], data: st.DataObject) -> None:
    one, other = (with_clutter(ranks_of(case), [3, 4], 2)[-1] for _ in range(2))
    check_resume(one, other, data)


@patient
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 3), st.integers(0, 9), st.data())
def test_shuffled_batches(size: int, batch: int, world: int, seed: int, data: st.DataObject) -> None:
    if size < batch * world:
        with pytest.raises(ValueError, match=f"{size} training crops do not fill one batch"):
            ShuffledBatchSampler(size, batch, world_size=world)
        return
    batches = data.draw(st.one_of(st.none(), st.integers(1, 30)))
    samplers = [
        ShuffledBatchSampler(size, batch, seed=seed, rank=rank, world_size=world, batches_per_epoch=batches)
        for rank in range(world)
    ]
    steps = global_steps(samplers)
    assert len(steps) == len(samplers[0]) == (batches or size // (batch * world))
    alone = ShuffledBatchSampler(size, batch * world, seed=seed, batches_per_epoch=batches)
    assert steps == [list(step) for step in alone]
    times = Counter(dict.fromkeys(range(size), 0))
    for step in steps:
        assert len(set(step)) == batch * world
        times.update(step)
    assert max(times.values()) - min(times.values()) <= 1
    again = ShuffledBatchSampler(size, batch, seed=seed, rank=world - 1, world_size=world, batches_per_epoch=batches)
    check_resume(samplers[-1], again, data)


def check_resume(sampler: PlannedBatchSampler, fresh: PlannedBatchSampler, data: st.DataObject) -> None:
    whole = [list(batch) for batch in sampler]
    stop = data.draw(st.integers(0, len(whole)))
    iterator = iter(sampler)
    assert [list(next(iterator)) for _ in range(stop)] == whole[:stop]
    state = sampler.state_dict() if stop else {"epoch": sampler.epoch, "completed": 0}
    if stop == len(whole):
        assert state == {"epoch": sampler.epoch + 1, "completed": 0}
        return
    assert state == {"epoch": sampler.epoch, "completed": stop}
    fresh.load_state_dict(pickle.loads(pickle.dumps(state)))
    fresh.set_epoch(sampler.epoch)  # as the trainer does after loading: it must not rewind
    rest = list(fresh)
    assert [list(batch) for batch in rest] == whole[stop:]
    assert [batch.step for batch in rest] == list(range(stop, len(whole)))
    assert len(fresh) == len(whole)
    fresh.set_epoch(sampler.epoch + 1)
    assert len(list(fresh)) == len(whole)


def test_plans_differ_between_epochs_and_seeds_and_repeat_for_the_same() -> None:
    labels = np.repeat(np.arange(5), 12)

    def plan(seed: int, epoch: int) -> list[list[int]]:
        sampler = PKBatchSampler(labels, 3, 4, seed=seed)
        sampler.set_epoch(epoch)
        return [list(batch) for batch in sampler]

    plans = [plan(seed, epoch) for seed in range(4) for epoch in range(4)]
    assert all(plans[i] != plans[j] for i in range(16) for j in range(i))
    assert plan(2, 3) == plan(2, 3)


def test_lightning_finds_set_epoch_through_the_sampler_property() -> None:
    from lightning.fabric.utilities.data import _set_sampler_epoch
    from torch.utils.data import DataLoader

    sampler = PKBatchSampler([0, 0, 1, 1], 2, 1)
    _set_sampler_epoch(DataLoader([0, 1, 2, 3], batch_sampler=sampler), 7)
    assert sampler.epoch == 7
    assert sampler.sampler is sampler


def test_small_classes_are_named_in_one_warning() -> None:
    labels = ["coot"] * 2 + ["teal"] * 5 + ["wigeon"]
    with pytest.warns(UserWarning, match=r"Fewer than 3 .*: coot \(2\), wigeon \(1\)\.$") as caught:
        PKBatchSampler(labels, 2, 3)
    assert len(caught) == 1
    PKBatchSampler(labels, 2, 3, rank=1, world_size=2)  # warnings are errors: only rank 0 speaks
    with pytest.warns(UserWarning, match=r"Fewer than 6 .*teal \(5\)"):
        PKBatchSampler(labels, 2, 3, world_size=2)  # two ranks share two classes: six crops of each


def test_a_warning_of_small_classes_stays_readable() -> None:
    with pytest.warns(UserWarning, match=r"Fewer than 2 .*: class 0 \(1\), .* and 30 more\.$") as caught:
        PKBatchSampler([f"class {number}" for number in range(50)], classes_per_batch=2, samples_per_class=2)
    assert str(caught[0].message).count("class ") == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes_per_batch": 3}, "classes_per_batch is 3, but the training crops have 2 classes"),
        ({"classes_per_batch": 0}, "must be at least 1"),
        ({"samples_per_class": 0}, "must be at least 1"),
    ],
)
def test_impossible_numbers_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PKBatchSampler([0, 0, 1, 1], **{"classes_per_batch": 2, "samples_per_class": 1, **arguments})


def test_shuffled_batch_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="batch_size is 0"):
        ShuffledBatchSampler(4, 0)


def test_default_length_is_one_pass() -> None:
    assert len(PKBatchSampler(np.repeat([0, 1], 50), 2, 8)) == 6  # 100 // 16
    assert len(PKBatchSampler(np.repeat([0, 1], 8), 2, 8, world_size=1)) == 1


@patient
@given(st.integers(0, 30), st.integers(1, 7), st.integers(1, 5))
def test_shards_are_equal_and_complete(size: int, batch: int, world: int) -> None:
    shards = [ShardBatchSampler(size, batch, rank=rank, world_size=world) for rank in range(world)]
    lists = [list(shard) for shard in shards]
    assert len({tuple(map(len, batches)) for batches in lists}) == 1
    assert [len(batches) for batches in lists] == [len(shard) for shard in shards]
    everything = [i for batches in lists for step in batches for i in step]
    assert set(everything) == set(range(size))
    assert len(everything) - size < world
    assert all(0 < len(step) <= batch for batches in lists for step in batches)
