"""Which crops form which batch: P classes times K crops, any crops, or a rank's shard of an evaluation set."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch.utils.data import Sampler

from dml_lightning.data.plan import Indices, PlannedBatchSampler, Walk
from dml_lightning.printing import listed
from dml_lightning.types import Stream

NAMED = 20  # classes that a warning names


class PKBatchSampler(PlannedBatchSampler):
    """P classes times K crops of each, on every rank.

    The ranks' batches of one step are one global P x K batch. With at least P * world_size classes it has that many
    classes of K crops each, and a rank holds P classes of its own. With fewer classes it has P classes of
    K * world_size crops each, and every rank holds K crops of each of them. So `world_size` ranks train on what one
    process trains on with `classes_per_batch, samples_per_class = global_classes, global_samples`.

    Over an epoch all classes come equally often (to one), and the crops of a class are walked through in shuffled order
    before any comes again. The crops of a step are distinct when every class has at least `global_samples` of them;
    classes with fewer repeat theirs, and are named in one warning.

    >>> sampler = PKBatchSampler([0, 0, 1, 1, 2, 2], classes_per_batch=3, samples_per_class=2)
    >>> [sorted(batch) for batch in sampler]
    [[0, 1, 2, 3, 4, 5]]

    Args:
        labels: Class (N,) of each crop of the dataset.
        classes_per_batch: Number P of classes in a batch, per rank.
        samples_per_class: Number K of crops of each class, per rank.
        seed: Seed of the plan.
        rank: Rank of this process.
        world_size: Number of processes.
        batches_per_epoch: Number of batches in an epoch; by default one pass over N crops, rounded down, at least 1.

    Raises:
        ValueError: P is larger than the number of classes, or a number is out of its range.
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
            named = listed(short, NAMED)
            warnings.warn(
                f"Fewer than {self.global_samples} training crops, so a batch repeats them: {named}.",
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
        own = grid[self.rank * p :][:p] if self.global_samples == k else grid[:, self.rank * k :][:, :k]
        return own.reshape(-1)


class ShuffledBatchSampler(PlannedBatchSampler):
    """Batches of all crops in shuffled order, whatever their class; an incomplete last batch is left out.

    >>> first, second = ShuffledBatchSampler(5, batch_size=2)
    >>> len(first), len(second), len({*first, *second})
    (2, 2, 4)

    Args:
        size: Number of crops of the dataset.
        batch_size: Number of crops in a batch, per rank.
        seed: Seed of the plan.
        rank: Rank of this process.
        world_size: Number of processes.
        batches_per_epoch: Number of batches in an epoch; by default one pass over the crops; more walk through them
            again.

    Raises:
        ValueError: The crops do not fill one global batch, or a number is out of its range.
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


class ClutterBatchSampler(PlannedBatchSampler):
    """Batches of another sampler with clutter behind them; the known crops and their slots are as without it.

    Over an epoch all classes of clutter come equally often (to one), and the crops of a class are walked through in
    shuffled order before any comes again.

    >>> known = ShuffledBatchSampler(4, batch_size=4)
    >>> [(sorted(batch[:4]), sorted(batch[4:])) for batch in ClutterBatchSampler(known, 4, ["ice", "tree"], count=2)]
    [([0, 1, 2, 3], [4, 5])]

    Args:
        known: Sampler of the known crops.
        start: Index in the dataset of the first clutter crop; the others follow it.
        labels: Class (M,) of each clutter crop, M at least 1.
        count: Number of clutter crops in a batch, per rank.
    """

    def __init__(self, known: PlannedBatchSampler, start: int, labels: ArrayLike, count: int) -> None:
        super().__init__(
            known.crops + count * known.world_size,
            seed=known.seed,
            rank=known.rank,
            world_size=known.world_size,
            batches=known.batches,
        )
        self.known, self.count = known, count
        names, codes = np.unique(np.asarray(labels), return_inverse=True)
        self.members = [start + np.flatnonzero(codes == code) for code in range(len(names))]

    def plan(self, epoch: int) -> Iterator[Indices]:
        """Yields the global batches of an epoch, (G,) each: the known crops, then the clutter class by class."""
        generator = np.random.default_rng([Stream.CLUTTER, self.seed, epoch])
        classes = Walk(np.arange(len(self.members)), generator)
        walks = [Walk(members, generator) for members in self.members]
        for batch in self.known.plan(epoch):
            chosen, counts = np.unique(classes.take(self.count * self.world_size), return_counts=True)
            clutter = [walks[c].take(count) for c, count in zip(chosen, counts.tolist(), strict=True)]
            yield np.concatenate([batch, *clutter])

    def slots(self) -> Indices:
        """Positions of this rank: those of its known crops, and `count` of the clutter."""
        first = self.known.crops + self.rank * self.count
        return np.concatenate([self.known.slots(), np.arange(first, first + self.count)])


class ShardBatchSampler(Sampler[list[int]]):
    """Batches for evaluation: rank r takes crops r, r + W, ...; every rank has the same number of batches and crops.

    Where the crops do not divide, the first ones are taken again; a copy has the `index` of its original, on which it
    is dropped after gathering.

    >>> list(ShardBatchSampler(5, batch_size=2, rank=1, world_size=2))
    [[1, 3], [0]]

    Args:
        size: Number of crops of the dataset, may be 0.
        batch_size: Number of crops in a batch, per rank; the last batch may have fewer.
        rank: Rank of this process.
        world_size: Number of processes.
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
