"""Datasets and loaders over a store of known patches: batches, shares of ranks, capped sets, the place in an epoch."""

from collections.abc import Iterator
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from dml_lightning.data.crops import CropOptions
from dml_lightning.data.loaders import (
    CropDataset,
    TrainingCrops,
    TrainingLoader,
    capped_rows,
    evaluation_loader,
    put_loader_back,
    refuse_parts,
)
from dml_lightning.data.plan import PlannedBatch
from dml_lightning.data.samplers import ShuffledBatchSampler
from dml_lightning.data.transforms import Augmentation
from dml_lightning.types import Batch

OPTIONS = CropOptions(crop_size=8)
SIDE = OPTIONS.stored_size


class Store:
    """Patches whose pixels are 100 * row + their place, with location 100 * row and scale 2."""

    def __init__(self, rows: int = 30) -> None:
        self.statistics = np.stack([100 * np.arange(rows), np.full(rows, 2)], axis=1).astype(np.float32)
        self.bad_frames: dict[str, str] = {}
        self.units = ["counts"]

    def patches(self, rows: np.ndarray) -> np.ndarray:
        return (100 * rows[:, None, None] + np.arange(SIDE**2).reshape(SIDE, SIDE)).astype(np.float32)


def dataset() -> CropDataset:
    """Rows 3, 6, ..., 27 with the labels 0, 1, 2, 0, 1, 2, ..."""
    rows = np.arange(3, 30, 3)
    return CropDataset(Store(), rows, np.arange(len(rows)) % 3, OPTIONS)


def test_evaluation_crops_are_normalised_and_cut_at_their_centre() -> None:
    batch = dataset().__getitems__([8, 1])
    edge = (SIDE - 8) // 2
    expected = np.arange(SIDE**2).reshape(SIDE, SIDE)[edge : edge + 8, edge : edge + 8] / 2
    assert batch.images.shape == (2, 1, 8, 8)
    for image in batch.images:
        np.testing.assert_array_equal(image[0], expected)
    assert batch.labels.tolist() == [2, 1]
    assert batch.index.tolist() == [27, 6]  # rows of the table, not positions in the set


def test_one_crop_can_be_asked_for() -> None:
    assert dataset()[3].index.tolist() == [12]
    one = TrainingCrops(dataset(), Augmentation(), seed=5)[3]
    assert one.patches.shape == (1, 1, SIDE, SIDE)
    assert one.index.tolist() == [12]
    torch.testing.assert_close(one.parameters, Augmentation().draw(5, 0, 0, 1))


def test_training_crops_carry_the_parameters_of_their_slots() -> None:
    crops = TrainingCrops(dataset(), Augmentation(), seed=5)
    batch = crops.__getitems__(PlannedBatch([2, 0], epoch=4, step=7, slots=np.array([3, 1]), crops=6))
    assert len(crops) == 9
    assert (batch.index.tolist(), batch.labels.tolist()) == ([9, 3], [2, 0])
    np.testing.assert_array_equal(batch.patches[1, 0], np.arange(SIDE**2).reshape(SIDE, SIDE) / 2)
    torch.testing.assert_close(batch.parameters, Augmentation().draw(5, 4, 7, 6)[[3, 1]])


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_an_evaluation_set_in_equally_many_batches(world_size: int) -> None:
    loaders = [evaluation_loader(dataset(), 2, rank=rank, world_size=world_size) for rank in range(world_size)]
    shares = [[batch.index.tolist() for batch in loader] for loader in loaders]
    assert {len(share) for share in shares} == {len(loader) for loader in loaders} == {-(-9 // (2 * world_size))}
    seen = [row for share in shares for batch in share for row in batch]
    assert set(seen) == set(range(3, 30, 3))
    assert len(seen) < 9 + world_size


def test_an_empty_set_gives_no_batch() -> None:
    empty = CropDataset(Store(), np.empty(0, np.int64), np.empty(0, np.int64), OPTIONS)
    loader = evaluation_loader(empty, 4)
    assert len(loader) == 0
    assert list(loader) == []


def training_loader(batches: list[list[int]]) -> TrainingLoader:
    """Eight batches of four of 32 rows, of which training has processed those in `batches`."""
    rows = np.arange(32)
    crops = CropDataset(Store(32), rows, rows % 2, OPTIONS)
    return TrainingLoader(
        TrainingCrops(crops, Augmentation(), seed=0),
        ShuffledBatchSampler(32, 4),
        progress=lambda: (len(batches), 8),
    )


def test_a_training_loader_resumes_after_the_batches_that_training_has_processed() -> None:
    whole = [batch.index.tolist() for batch in training_loader([])]
    assert sorted(row for batch in whole for row in batch) == list(range(32))
    processed: list[list[int]] = []
    loader = training_loader(processed)
    iterator: Iterator[Batch] = iter(loader)
    handed_out = [next(iterator).index.tolist() for _ in range(4)]
    processed += handed_out[:3]  # the fourth has been read ahead
    state = loader.state_dict()
    assert state == {"epoch": 0, "completed": 3}
    fresh = training_loader([])
    fresh.load_state_dict(state)
    assert [batch.index.tolist() for batch in fresh] == whole[3:]


def test_at_most_so_many_rows_of_a_class_are_kept_by_a_seeded_draw() -> None:
    labels = np.repeat([0, 1], [50, 3])
    masks = [capped_rows(np.arange(53), labels, 5, seed) for seed in range(3)]
    assert [np.bincount(labels[mask]).tolist() for mask in masks] == [[5, 3]] * 3
    assert len({mask.tobytes() for mask in masks}) == 3
    np.testing.assert_array_equal(capped_rows(np.arange(53), labels, 5, 1), masks[1])
    assert capped_rows(np.arange(53), labels, None, 0).all()


@pytest.mark.parametrize(
    ("limit", "taken"),
    [(3, None), (1.0, None), (100, None), (2, r"limit_val_batches=2 takes 2 of the 3"), (0.5, "takes 1 of the 3")],
)
def test_parts_of_a_set_are_refused(limit: float, taken: str | None) -> None:
    batches = {"known": 3, "ood": 0}
    if taken is None:
        refuse_parts(batches, "limit_val_batches", limit)
        return
    with pytest.raises(ValueError, match=rf"{taken} batches of the set 'known'.* raise data\.eval_batch_size"):
        refuse_parts(batches, "limit_val_batches", limit)


class Model(L.LightningModule):
    """Has the loader made before a checkpoint is read, notes the rows that it sees, and saves after three batches."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.path, self.seen = path, list[list[int]]()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        assert self.trainer.estimated_stepping_batches == 8
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_start(self) -> None:
        put_loader_back(self.trainer)

    def training_step(self, batch: Batch) -> torch.Tensor:
        self.seen.append(batch.index.tolist())
        return self.weight * 1.0

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        if not self.path.exists() and batch_idx == 2:
            self.trainer.save_checkpoint(self.path)


def test_a_loader_made_before_the_checkpoint_is_put_back_to_its_place(tmp_path: Path) -> None:
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 1}
    seen = []
    for checkpoint in (None, tmp_path / "a.ckpt"):
        model = Model(tmp_path / "a.ckpt")
        trainer = L.Trainer(accelerator="cpu", default_root_dir=tmp_path, enable_checkpointing=False, **options)
        trainer.fit(model, training_loader(model.seen), ckpt_path=checkpoint)
        seen.append(model.seen)
    assert len(seen[0]) == 8
    assert seen[1] == seen[0][3:]
