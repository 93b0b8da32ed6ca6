"""Batch samplers that share one plan: all ranks compute the same global batches, and each takes its own part.

Lightning calls `set_epoch` on `batch_sampler.sampler`; a sampler here is its own `sampler`. Every rank computes the
same plan and yields its part, so no communication is needed and all ranks have the same number of batches.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from dml_lightning.types import Stream

Indices = NDArray[np.int64]


class PlannedBatch(list[int]):
    """The dataset indices of one rank's batch, with their place in the plan.

    >>> batch = PlannedBatch([7, 3], epoch=0, step=5, slots=np.array([2, 3]), crops=4)
    >>> list(batch), batch.step
    ([7, 3], 5)

    Attributes:
        epoch: Number of the epoch, from 0.
        step: Number of the batch in the epoch, from 0.
        slots: Position of each index in the global batch of this step.
        crops: Number of crops in the global batch.
    """

    def __init__(self, indices: Sequence[int], epoch: int, step: int, slots: Indices, crops: int) -> None:
        super().__init__(indices)
        self.epoch, self.step, self.slots, self.crops = epoch, step, slots, crops


class Walk:
    """Walks through members in shuffled order, over and over: all are seen n times before any is seen n + 1 times.

    >>> walk = Walk(np.arange(3), np.random.default_rng(0))
    >>> sorted(np.concatenate([walk.take(2) for _ in range(3)]).tolist())
    [0, 0, 1, 1, 2, 2]
    """

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
        crops: Number of crops in the global batch.
        seed: Seed of the plan; each epoch draws its own numbers from it.
        rank: Rank of this process.
        world_size: Number of processes.
        batches: Number of batches per epoch, the same on every rank.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(self, crops: int, *, seed: int, rank: int, world_size: int, batches: int) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not one of the {world_size} ranks 0 to {world_size - 1}.")
        if batches < 1:
            raise ValueError(f"batches_per_epoch is {batches}; an epoch needs at least one batch.")
        self.crops, self.seed, self.rank, self.world_size = crops, seed, rank, world_size
        self.batches = batches
        self.repeats = False  # whether every epoch follows the plan of the first, as `overfit_batches` asks for
        self.epoch = 0
        self.start = 0  # batch at which the next iteration begins
        self.position = 0  # batches handed out; workers prefetch, so the trainer may have completed fewer

    @abstractmethod
    def plan(self, epoch: int) -> Iterator[Indices]:
        """Yields the global batches of an epoch, (crops,) dataset indices each, the same on every rank."""

    @abstractmethod
    def slots(self) -> Indices:
        """Positions in the global batch that are this rank's, (crops / world_size,)."""

    @property
    def sampler(self) -> "PlannedBatchSampler":
        """This sampler itself: Lightning calls `set_epoch` on `batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose plan is followed, from its first batch; the present epoch keeps its place."""
        if epoch != self.epoch:
            self.epoch, self.start, self.position = epoch, 0, 0

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        self.position = self.start
        slots, epoch = self.slots(), 0 if self.repeats else self.epoch
        for step, batch in enumerate(self.plan(epoch)):
            if step >= self.start:
                self.position = step + 1
                yield PlannedBatch(batch[slots].tolist(), epoch, step, slots, self.crops)

    def state_dict(self, completed: int | None = None, length: float = math.inf) -> dict[str, Any]:
        """Returns {epoch, completed}: where to continue; after a finished epoch, the beginning of the next.

        Args:
            completed: Batches of this epoch that training has processed (workers prefetch, so more may have been handed
                out); None where that is not known, and the batches handed out count.
            length: Batches after which training ends the epoch, where it does not take all of them.
        """
        done = self.position if completed is None else min(completed, self.position)
        if done >= min(self.batches, length):
            return {"epoch": self.epoch + 1, "completed": 0}
        return {"epoch": self.epoch, "completed": done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues at the batch after the completed ones of that epoch."""
        self.epoch = int(state["epoch"])
        self.start = self.position = int(state["completed"])

    def generator(self, epoch: int) -> np.random.Generator:
        """Returns the random generator of an epoch's plan."""
        return np.random.default_rng([Stream.BATCHES, self.seed, epoch])
