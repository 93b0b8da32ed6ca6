"""Datasets and loaders: rows of the crop table become batches.

A dataset here is asked for a whole batch at once (`__getitems__`), which costs one indexing of the memory map instead
of B calls and a collation. Evaluation loaders yield finished batches; the training loader yields stored patches with
the parameters of their augmentation, which is applied on the device.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dml_lightning.data.crops import CropOptions, to_images
from dml_lightning.data.normalisation import centre_crop
from dml_lightning.data.plan import PlannedBatch, PlannedBatchSampler
from dml_lightning.data.samplers import ShardBatchSampler
from dml_lightning.data.side import augmented
from dml_lightning.data.stores import CropStore, Rows
from dml_lightning.data.transforms import Augmentation
from dml_lightning.data.turned import turn
from dml_lightning.types import Batch, EvaluationSet, Stream


class TrainingBatch(NamedTuple):
    """Batch of the training loader: stored patches before augmentation, with the parameters of theirs."""

    patches: Tensor  # (B, 1, P, P) float32, normalised
    labels: Tensor  # (B,) int64
    index: Tensor  # type: ignore[assignment]  # (B,) int64; hides tuple.index, as in Batch
    parameters: Tensor  # (B, 12) float32, rows of `Augmentation.draw`
    side: Tensor  # (B, n) float32, side inputs after augmentation


class CropDataset(Dataset[Batch]):
    """Finished crops without augmentation.

    Args:
        store: Store of the patches.
        rows: Rows (N,) of the crop table that this set holds.
        labels: Class (N,) of each of these rows.
        options: Options of the crops.
        side: Side inputs (M, n) of every row of the crop table; none if not given.
    """

    def __init__(
        self,
        store: CropStore,
        rows: Rows,
        labels: Rows,
        options: CropOptions,
        side: NDArray[np.float32] | None = None,
    ) -> None:
        self.store, self.rows, self.labels, self.options = store, rows, labels, options
        self.side = np.empty((len(store.statistics), 0), np.float32) if side is None else side

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """Returns the crops at the given positions of this set as one batch."""
        images, labels, index, side = self.read(positions)
        return Batch(centre_crop(images, self.options.crop_size).contiguous(), labels, index, side)

    def read(self, positions: Sequence[int]) -> Batch:
        """Returns normalised patches (B, 1, P, P) in place of crops."""
        rows = self.rows[positions]
        images = to_images(self.store.patches(rows), self.store.statistics[rows], self.options)
        labels, side = torch.from_numpy(self.labels[positions]), torch.from_numpy(self.side[rows])
        return Batch(images, labels, torch.from_numpy(rows), side)


class TrainingCrops(Dataset[TrainingBatch]):
    """Stored patches with the parameters of their augmentation.

    Args:
        crops: Crops of the training set.
        augmentation: Strengths of the augmentation.
        seed: Seed of the draws.
        turns: Turn (N,) of each crop, as in `turned.turn`; not turned if not given. A turned crop has an index of its
            own, behind those of the table: to a loss it is another crop.
    """

    def __init__(self, crops: CropDataset, augmentation: Augmentation, seed: int, turns: Rows | None = None) -> None:
        self.crops, self.augmentation, self.seed = crops, augmentation, seed
        self.turns = torch.zeros(len(crops), dtype=torch.int64) if turns is None else torch.from_numpy(turns)

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, position: int) -> TrainingBatch:
        """Returns one crop with the parameters of the first slot of the first batch."""
        return self.__getitems__(PlannedBatch([position], 0, 0, np.zeros(1, np.int64), 1))

    def __getitems__(self, batch: PlannedBatch) -> TrainingBatch:
        """Returns one rank's batch with its rows of the parameters drawn for the global batch."""
        place = (self.seed, batch.epoch, batch.step, batch.crops)
        slots, names = torch.from_numpy(batch.slots), self.crops.options.side_inputs
        parameters = self.augmentation.draw(*place)[slots]
        patches, labels, index, side = self.crops.read(batch)
        if names:
            side = augmented(side, names, parameters, self.augmentation.draw_side(*place)[slots])
        turns = self.turns[list(batch)]
        index = index + turns * len(self.crops.store.statistics)
        return TrainingBatch(turn(patches, turns), labels, index, parameters, side)


class TrainingLoader(DataLoader[Any]):
    """A training loader that resumes: its state is the epoch and the number of completed batches of its sampler's plan.

    Args:
        dataset: Dataset of training crops.
        sampler: Sampler that plans the batches.
        num_workers: Number of processes that read ahead.
        pin_memory: Whether batches are put into pinned memory, for copies to a GPU.
        progress: Function that returns the number of batches of this epoch that training has processed and the number
            that it takes in all, or None where nothing counts them.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: PlannedBatchSampler,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
        progress: Callable[[], tuple[int, float] | None] = lambda: None,
    ) -> None:
        self.plan, self.progress = sampler, progress
        super().__init__(dataset, batch_sampler=sampler, **_worker_arguments(num_workers, pin_memory))

    def state_dict(self) -> dict[str, Any]:
        """Returns {epoch, completed}: where the plan continues."""
        return self.plan.state_dict(*(self.progress() or ()))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues after the completed batches of that epoch."""
        self.plan.load_state_dict(state)


def evaluation_loader(
    dataset: CropDataset,
    batch_size: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Batch]:
    """Makes the loader of this rank's share of an evaluation set, in the same number of batches on every rank.

    It is a plain DataLoader, which `Trainer.predict` makes again to keep track of its indices.

    Args:
        dataset: Dataset of finished crops; may be empty, which gives a loader of length 0.
        batch_size: Number of crops in a batch, per rank.
        rank: Rank of this process.
        world_size: Number of processes.
        num_workers: Number of processes that read ahead.
        pin_memory: Whether batches are put into pinned memory, for copies to a GPU.
    """
    sampler = ShardBatchSampler(len(dataset), batch_size, rank=rank, world_size=world_size)
    return DataLoader(dataset, batch_sampler=sampler, **_worker_arguments(num_workers, pin_memory))


def _worker_arguments(num_workers: int, pin_memory: bool) -> dict[str, Any]:
    return {
        "num_workers": num_workers,
        "pin_memory": pin_memory,
        "persistent_workers": num_workers > 0,
        "collate_fn": _as_is,
    }


def _as_is(batch: Any) -> Any:
    """Returns a batch unchanged: the dataset has collated it already."""
    return batch


def capped_rows(rows: Rows, labels: Rows, per_class: int | None, seed: int) -> NDArray[np.bool_]:
    """Chooses at most `per_class` rows of every class by a seeded draw; None keeps all.

    >>> capped_rows(np.arange(5), np.array([0, 1, 0, 1, 1]), per_class=1, seed=0).sum()
    np.int64(2)

    Returns:
        Mask (N,) over `rows`, so that their order stays.
    """
    keep = np.ones(len(rows), bool)
    if per_class is None:
        return keep
    generator = np.random.default_rng([Stream.FEWER_CROPS, seed])
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        keep[members[per_class:]] = False
    return keep


def refuse_parts(batches: dict[EvaluationSet, int], option: str, limit: int | float) -> None:
    """Refuses to evaluate a part of a set: neighbours, prototypes and thresholds need all of its crops.

    >>> refuse_parts({"known": 4}, "limit_val_batches", 1.0)

    Args:
        batches: Number of batches of each set.
        option: Name of the trainer's option, for the error.
        limit: Value of that option: a number of batches (int) or a share of them (float).

    Raises:
        ValueError: A set has more batches than the limit lets through.
    """
    for name, whole in batches.items():
        taken = min(whole, limit) if isinstance(limit, int) else int(whole * limit)
        if taken < whole:
            raise ValueError(
                f"{option}={limit} takes {taken} of the {whole} batches of the set {name!r}, and numbers of a part of "
                f"a set are not the set's: leave it out (overfit_batches sets limit_val_batches, too), or raise "
                "data.eval_batch_size."
            )


def is_trial(trainer: L.Trainer) -> bool:
    """Whether the run is a `fast_dev_run`, which leaves no files and evaluates parts of sets."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # Lightning sets it in a connector


def put_loader_back(trainer: L.Trainer) -> None:
    """Moves the training loader to the place in its epoch that a checkpoint states; call it as training starts.

    Lightning 2.6 restores that place only while it creates the loader, which is too early where the loader exists
    before the checkpoint is read: any use of `trainer.estimated_stepping_batches` creates it, such as a schedule in
    `configure_optimizers` or a callback in `setup` or `on_fit_start`.
    """
    fit = trainer.fit_loop
    states, fit._combined_loader_states_to_load = fit._combined_loader_states_to_load, []
    if states and fit._combined_loader is not None and fit._data_fetcher is not None:
        fit._combined_loader._load_state_dicts(states)
        iter(fit._data_fetcher)  # workers have read ahead from the old place
