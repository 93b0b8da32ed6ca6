"""Which crops form which batch: one plan per (seed, epoch) for the global batch, of which each rank takes its share.

Lightning calls `set_epoch` on `batch_sampler.sampler`; a sampler here is its own `sampler`. Every rank computes the
same plan and yields its part, so no communication is needed and all ranks have the same number of batches.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

Indices = NDArray[np.int64]

_STREAM = 101  # keeps these draws apart from the augmentation's for equal seeds


class PlannedBatch(list[int]):
    """The dataset indices of one rank's batch, with their place in the plan.

    Attributes:
        epoch: number of the epoch.
        step: number of the batch in the epoch.
        slots: position of each index in the global batch of this step.
        crops: size of the global batch.
    """

    def __init__(
        self, indices: Sequence[int], epoch: int, step: int, slots: Indices, crops: int
    ) -> None:
        super().__init__(indices)
        self.epoch, self.step, self.slots, self.crops = epoch, step, slots, crops


class Walk:
    """Walks through members in shuffled order, over and over: all are seen n times before any is seen n + 1 times."""

    def __init__(self, members: Indices, generator: np.random.Generator) -> None:
        self.members, self.generator = members, generator
        self.queue = members[:0]

    def take(self, count: int) -> Indices:
        """Returns the next `count` members, (count,); they are distinct when there are that many."""
        parts: list[Indices] = []
        while count > 0:
            part = self._distinct(min(count, len(self.members)))
            parts.append(part)
            count -= len(part)
        return np.concatenate(parts)

    def _distinct(self, count: int) -> Indices:
        taken, self.queue = self.queue[:count], self.queue[count:]
        if len(taken) == count:
            return taken
        fresh = self.generator.permutation(self.members)
        repeated = np.isin(fresh, taken)
        rest = fresh[~repeated]
        missing = count - len(taken)
        # what was just taken waits at a random place in what is left of the new round
        self.queue = self.generator.permutation(np.concatenate([rest[missing:], fresh[repeated]]))
        return np.concatenate([taken, rest[:missing]])


class PlannedBatchSampler(Sampler[list[int]], ABC):
    """Batches of one rank out of a plan for all ranks.

    Args:
        crops: size of the global batch.
        seed: of the plan; the epoch is added to it.
        rank: of this process.
        world_size: number of processes.
        batches: number of batches per epoch, on every rank.

    Raises:
        ValueError: when a number is out of its range.
    """

    def __init__(self, crops: int, *, seed: int, rank: int, world_size: int, batches: int) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(
                f"rank {rank} is not one of the {world_size} ranks 0 to {world_size - 1}."
            )
        if batches < 1:
            raise ValueError(f"batches_per_epoch is {batches}; an epoch needs at least one batch.")
        self.crops, self.seed, self.rank, self.world_size = crops, seed, rank, world_size
        self.batches = batches
        self.epoch = 0
        self.start = 0  # batch at which the next iteration begins
        self.position = (
            0  # batches handed out; workers prefetch, so the trainer may have completed fewer
        )

    @abstractmethod
    def plan(self, epoch: int) -> Iterator[Indices]:
        """Yields the global batches of an epoch, (crops,) dataset indices each, the same on every rank."""

    @abstractmethod
    def slots(self) -> Indices:
        """Positions in the global batch that are this rank's, (crops / world_size,)."""

    @property
    def sampler(self) -> "PlannedBatchSampler":
        """Itself: the address at which Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the plan; a new epoch begins at its first batch, the present one stays where a resume has put it."""
        if epoch != self.epoch:
            self.epoch, self.start, self.position = epoch, 0, 0

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        self.position = self.start
        mine = self.slots()
        for step, batch in enumerate(self.plan(self.epoch)):
            if step >= self.start:
                self.position = step + 1
                yield PlannedBatch(batch[mine].tolist(), self.epoch, step, mine, self.crops)

    def state_dict(self, completed: int | None = None) -> dict[str, Any]:
        """Returns {epoch, completed}: where to continue; a finished epoch is the beginning of the next.

        Args:
            completed: batches of this epoch that training has processed, when that is known (workers prefetch);
                otherwise the batches handed out count.
        """
        done = self.position if completed is None else min(completed, self.position)
        if done >= self.batches:
            return {"epoch": self.epoch + 1, "completed": 0}
        return {"epoch": self.epoch, "completed": done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues at the batch after the completed ones of that epoch."""
        self.epoch = int(state["epoch"])
        self.start = self.position = int(state["completed"])

    def generator(self, epoch: int) -> np.random.Generator:
        """The generator of an epoch's plan."""
        return np.random.default_rng([_STREAM, self.seed, epoch])


class PKBatchSampler(PlannedBatchSampler):
    """P classes times K crops of each, on every rank.

    The ranks' batches of one step are one global P x K batch. With at least P * world_size classes it has that many
    classes of K crops each, and a rank holds P classes of its own. With fewer classes it has P classes of
    K * world_size crops each, and every rank holds K crops of each of them. So `world_size` ranks train on what one
    process trains on with `classes_per_batch, samples_per_class = global_classes, global_samples`.

    Over an epoch all classes come equally often (to one), and the crops of a class are walked through in shuffled order
    before any comes again. The crops of a step are distinct when every class has at least `global_samples` of them;
    classes with fewer repeat theirs, and are named in one warning.

    Args:
        labels: class of each crop of the dataset, (N,).
        classes_per_batch: P.
        samples_per_class: K.
        seed: of the plan.
        rank: of this process.
        world_size: number of processes.
        batches_per_epoch: default is one pass over N crops, rounded down, at least 1.

    Raises:
        ValueError: when P is larger than the number of classes, or a number is out of its range.
    """

    def __init__(
        self,
        labels: ArrayLike,
        classes_per_batch: int,
        samples_per_class: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        batches_per_epoch: int | None = None,
    ) -> None:
        values = np.asarray(labels)
        names, codes = np.unique(values, return_inverse=True)
        if classes_per_batch < 1 or samples_per_class < 1:
            raise ValueError(
                f"classes_per_batch {classes_per_batch} and samples_per_class {samples_per_class} must be at least 1."
            )
        if classes_per_batch > len(names):
            raise ValueError(
                f"classes_per_batch is {classes_per_batch}, but the training crops have {len(names)} classes;"
                f" {len(names)} or fewer would work."
            )
        apart = classes_per_batch * world_size <= len(names)
        self.classes_per_batch, self.samples_per_class = classes_per_batch, samples_per_class
        self.global_classes = classes_per_batch * world_size if apart else classes_per_batch
        self.global_samples = samples_per_class if apart else samples_per_class * world_size
        crops = classes_per_batch * samples_per_class * world_size
        batches = max(1, len(values) // crops) if batches_per_epoch is None else batches_per_epoch
        super().__init__(crops, seed=seed, rank=rank, world_size=world_size, batches=batches)
        self.members = [np.flatnonzero(codes == code) for code in range(len(names))]
        if rank == 0:
            self._warn_of_repeats(names.tolist())

    def _warn_of_repeats(self, names: list[Any]) -> None:
        short = [
            f"{name} ({len(members)})"
            for name, members in zip(names, self.members, strict=True)
            if len(members) < self.global_samples
        ]
        if short:
            warnings.warn(
                f"Fewer than {self.global_samples} training crops, so a batch repeats them: {', '.join(short)}.",
                stacklevel=3,
            )

    def plan(self, epoch: int) -> Iterator[Indices]:
        """Yields the global batches of an epoch, (G,) each, class by class with `global_samples` crops."""
        generator = self.generator(epoch)
        classes = Walk(np.arange(len(self.members)), generator)
        walks = [Walk(members, generator) for members in self.members]
        for _ in range(self.batches):
            chosen = classes.take(self.global_classes)
            yield np.concatenate([walks[c].take(self.global_samples) for c in chosen])

    def slots(self) -> Indices:
        """Positions of this rank, (P * K,): K neighbouring ones of each of its classes."""
        grid = np.arange(self.crops).reshape(self.global_classes, self.global_samples)
        p, k = self.classes_per_batch, self.samples_per_class
        own = (
            grid[self.rank * p :][:p]
            if self.global_samples == k
            else grid[:, self.rank * k :][:, :k]
        )
        return own.reshape(-1)


class ShuffledBatchSampler(PlannedBatchSampler):
    """Batches of all crops in shuffled order, whatever their class; an incomplete last batch is left out.

    Args:
        size: number of crops of the dataset.
        batch_size: crops per rank.
        seed: of the plan.
        rank: of this process.
        world_size: number of processes.
        batches_per_epoch: default is one pass over the crops; more walk through them again.

    Raises:
        ValueError: when the crops do not fill one global batch, or a number is out of its range.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        batches_per_epoch: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
        crops = batch_size * world_size
        if size < crops:
            raise ValueError(
                f"{size} training crops do not fill one batch of {crops} ({batch_size} on each of {world_size} ranks)."
            )
        batches = size // crops if batches_per_epoch is None else batches_per_epoch
        super().__init__(crops, seed=seed, rank=rank, world_size=world_size, batches=batches)
        self.size, self.batch_size = size, batch_size

    def plan(self, epoch: int) -> Iterator[Indices]:
        """Yields the global batches of an epoch, (G,) distinct dataset indices each."""
        walk = Walk(np.arange(self.size), self.generator(epoch))
        for _ in range(self.batches):
            yield walk.take(self.crops)

    def slots(self) -> Indices:
        """Positions of this rank, (batch_size,): its contiguous part."""
        return np.arange(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)


class ShardBatchSampler(Sampler[list[int]]):
    """Batches for evaluation: rank r takes crops r, r + W, ...; every rank has the same number of batches and crops.

    Where the crops do not divide, the first ones are taken again; a copy has the `index` of its original, on which it
    is dropped after gathering.

    Args:
        size: number of crops of the dataset, may be 0.
        batch_size: crops per rank; the last batch may have fewer.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, size: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.batch_size = batch_size
        padded = -(-size // world_size) * world_size
        self.indices = [i % size for i in range(rank, padded, world_size)]

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for begin in range(0, len(self.indices), self.batch_size):
            yield self.indices[begin : begin + self.batch_size]
