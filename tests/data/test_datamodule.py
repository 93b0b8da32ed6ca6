"""The data module: sets, labels, two-rank batches, resume in the middle of an epoch."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import tifffile
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader

from dml_lightning.data import PKBatchSampler, ThermalWaterfowlDataModule
from dml_lightning.data.crops import crop_batches
from dml_lightning.data.datamodule import NO_AUGMENTATION
from dml_lightning.data.loaders import TrainingBatch
from dml_lightning.data.sources import CocoJson, Source
from dml_lightning.data.table import table_digest
from dml_lightning.data.turned import turn
from dml_lightning.types import CLUTTER, EVALUATION_SETS, SETS, Batch

# Lightning 2.6 asks for torch's LeafSpec in a way that torch 2.15 deprecates
pytestmark = pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning")

CLASSES = ["teal", "goose", "coot", "swan", "loon", "buoy", "person"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six flights of three frames; every class once or twice in each frame; 16-bit counts."""
    import json

    torch.set_num_threads(1)  # children forked by a parent that used OpenMP would hang
    folder = tmp_path_factory.mktemp("flights")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for flight in range(6):
        (folder / f"flight_{flight}").mkdir()
        for number in range(3):
            name = f"flight_{flight}/{number}.tiff"
            tifffile.imwrite(folder / name, rng.integers(28000, 28500, (96, 128), dtype=np.uint16))
            images.append({"id": len(images), "file_name": name, "width": 128, "height": 96})
            for category in range(len(CLASSES)):
                for _ in range(2 if category < 3 else 1):
                    box = [*rng.uniform(0, 70, 2).round(2).tolist(), *rng.uniform(3, 20, 2).round(2).tolist()]
                    annotations.append(
                        {
                            "id": len(annotations),
                            "image_id": images[-1]["id"],
                            "category_id": category,
                            "bbox": box,
                            "iscrowd": 0,
                        }
                    )
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


ROLES = {
    "known": ["teal", "goose", "coot"],
    "novel_val": ["swan"],
    "novel_test": ["loon"],
    "ood_val": ["buoy"],
    "ood_test": ["person"],
}


def module(root: Path, cache_dir: Path | None, **options: Any) -> ThermalWaterfowlDataModule:
    arguments: dict[str, Any] = {
        **ROLES,
        "classes_per_batch": 3,
        "samples_per_class": 2,
        "crop_size": 8,
        "cache_dir": None if cache_dir is None else str(cache_dir),
        **options,
    }
    return ThermalWaterfowlDataModule(CocoJson(root), **arguments)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def data(root: Path, cache_dir: Path) -> ThermalWaterfowlDataModule:
    return module(root, cache_dir)


class Spy(L.LightningModule):
    """A model of one weight that writes down which crops it sees, and their sums."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.path = path
        self.seen: list[tuple[int, int, list[int], torch.Tensor]] = []
        self.evaluated: dict[int, list[int]] = {}

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        assert isinstance(batch, Batch)
        self.seen.append((self.current_epoch, batch_idx, batch.index.tolist(), batch.images.clone()))
        return (self.weight * batch.images).mean()

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.evaluated.setdefault(dataloader_idx, []).extend(batch.index.tolist())

    test_step = validation_step

    def on_train_end(self) -> None:
        if self.path is not None:
            torch.save((self.seen, self.evaluated), self.path.with_suffix(f".{self.global_rank}"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(tmp_path: Path, **options: Any) -> L.Trainer:
    arguments: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": tmp_path,
        **options,
    }
    return L.Trainer(**arguments)


# What the module says about the data


def test_labels_are_known_then_novel_then_ood_and_sorted(data: ThermalWaterfowlDataModule) -> None:
    assert data.num_classes == 3  # before setup, without a trainer
    assert data.known_class_names == ["coot", "goose", "teal"]
    assert data.class_names == ["coot", "goose", "teal", "loon", "swan", "buoy", "person"]
    names = np.asarray(data.class_names)[data.labels]
    assert names.tolist() == data.table["label"].tolist()
    assert data.groups.tolist() == data.table["group"].tolist()
    assert data.data_digest == table_digest(data.table)


def test_the_source_is_read_once_and_no_pixel_for_the_number_of_classes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    original = Source.read

    def noted(*args: Any, **options: Any) -> Any:
        reads.append(1)
        return original(*args, **options)

    monkeypatch.setattr(Source, "read", noted)
    monkeypatch.setattr("dml_lightning.data.stores.read_frame", None)  # decoding would fail
    data = module(root, None)
    assert not reads  # building the module reads nothing
    assert (data.num_classes, len(data.table), len(data.class_names)) == (3, len(data.labels), 7)
    assert len(reads) == 1


def test_evaluation_sets(data: ThermalWaterfowlDataModule) -> None:
    data.setup("fit")
    table, names = data.table, np.asarray(data.class_names)
    expected = {
        ("val", "known"): set(ROLES["known"]),
        ("test", "known"): set(ROLES["known"]),
        ("val", "novel"): {"swan"},
        ("test", "novel"): {"loon"},
        ("val", "ood"): {"buoy"},
        ("test", "ood"): {"person"},
    }
    for split, loaders in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        for name, loader in zip(EVALUATION_SETS, loaders, strict=True):
            batches = list(loader)
            if name == "clutter":  # ood_train is empty
                assert not batches
                continue
            index = torch.cat([b.index for b in batches]).numpy()
            labels = torch.cat([b.labels for b in batches]).numpy()
            images = torch.cat([b.images for b in batches])
            rows = table.loc[index]
            assert len(set(index)) == len(index)
            assert rows["label"].tolist() == names[labels].tolist()
            assert images.shape == (len(index), 1, 8, 8)
            assert images.dtype == torch.float32
            if name == "reference":
                assert set(rows["split"]) == {"train"}
                assert set(rows["role"]) == {"known"}
                continue
            assert set(rows["label"]) == expected[split, name]
            assert set(rows["split"]) == {split}
            assert len(index) == ((table["role"] == name) & (table["split"] == split)).sum()


def test_evaluation_crops_equal_those_that_are_streamed(data: ThermalWaterfowlDataModule) -> None:
    """`crop_batches` gives at prediction what the loaders gave at the test."""
    streamed = {
        int(i): image
        for batch in crop_batches(data.full_table, data.options)
        for i, image in zip(batch.index, batch.images, strict=True)
    }
    for loader in data.test_dataloader():
        for batch in loader:
            for i, image in zip(batch.index.tolist(), batch.images, strict=True):
                assert torch.equal(image, streamed[i])


@pytest.mark.parametrize("normalisation", ["crop", "frame"])
def test_without_a_cache_everything_is_the_same(root: Path, tmp_path: Path, normalisation: str) -> None:
    cached, uncached = (module(root, d, normalisation=normalisation) for d in (tmp_path / "c", None))
    for name in ("train_dataloader", "val_dataloader"):
        one, other = (getattr(d, name)() for d in (cached, uncached))
        pairs = (
            zip(one, other, strict=True)
            if name == "train_dataloader"
            else [pair for a, b in zip(one, other, strict=True) for pair in zip(a, b, strict=True)]
        )
        for a, b in pairs:
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_reference_is_capped_by_a_seeded_draw(root: Path, cache_dir: Path) -> None:
    data = module(root, cache_dir, reference_per_class=4)
    crops = data.evaluation_crops("reference", "val")
    assert np.bincount(crops.labels).tolist() == [4, 4, 4]
    assert crops.rows.tolist() == data.evaluation_crops("reference", "test").rows.tolist()
    assert (np.diff(crops.rows) > 0).all()
    everything = module(root, cache_dir, reference_per_class=None)
    assert len(everything.evaluation_crops("reference", "val")) == len(data.rows("known", "train"))


def test_empty_roles_give_loaders_of_length_zero(root: Path, cache_dir: Path, tmp_path: Path) -> None:
    data = module(root, cache_dir, novel_val=None, novel_test=None)
    assert [len(loader) > 0 for loader in data.val_dataloader()] == [True, True, False, True, False]
    assert list(data.val_dataloader()[2]) == []
    spy = Spy()
    trainer(tmp_path, max_epochs=1).fit(spy, datamodule=data)  # warnings are errors
    assert sorted(spy.evaluated) == [0, 1, 3]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit_val_batches": 1}, "limit_val_batches=1 takes 1 of the"),
        ({"limit_val_batches": 0.5}, "limit_val_batches=0.5 takes"),
        ({"overfit_batches": 2}, "limit_val_batches=2 .*overfit_batches"),
    ],
)
def test_a_fit_that_would_see_parts_of_sets_is_refused(
    root: Path, cache_dir: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    spy, data = Spy(), module(root, cache_dir, eval_batch_size=4)
    with pytest.raises(ValueError, match=said):
        trainer(tmp_path, **options).fit(spy, datamodule=data)
    assert not spy.seen  # no epoch is lost


def test_a_test_of_parts_of_sets_is_refused(root: Path, cache_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="limit_test_batches=1 takes 1 of the"):
        trainer(tmp_path, limit_test_batches=1).test(
            Spy(), datamodule=module(root, cache_dir, eval_batch_size=4), verbose=False
        )


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (512, {"limit_val_batches": 1}),  # which is all of each
        (4, {"limit_val_batches": 0}),
        (4, {"num_sanity_val_steps": 1}),
        (4, {"fast_dev_run": 1}),
    ],
)
def test_whole_sets_none_and_trial_runs_are_not_refused(
    root: Path, cache_dir: Path, tmp_path: Path, size: int, options: dict[str, Any]
) -> None:
    spy, data = Spy(), module(root, cache_dir, eval_batch_size=size)
    trainer(tmp_path, **{"max_epochs": 1, **options}).fit(spy, datamodule=data)
    assert spy.seen


# Training batches


def test_training_batches_are_pk_and_augmented(data: ThermalWaterfowlDataModule) -> None:
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == len(data.rows("known", "train")) // 6
    for raw in batches:
        assert isinstance(raw, TrainingBatch)
        assert raw.patches.shape == (6, 1, 12, 12)
        batch = data.on_after_batch_transfer(raw, 0)
        assert isinstance(batch, Batch)
        assert batch.images.shape == (6, 1, 8, 8)
        assert np.bincount(batch.labels).tolist() == [2, 2, 2]
        assert data.labels[batch.index].tolist() == batch.labels.tolist()
        assert set(data.table.loc[batch.index.numpy(), "split"]) == {"train"}
    assert data.on_after_batch_transfer(batch, 0) is batch


def test_no_augmentation_trains_on_evaluation_crops(root: Path, cache_dir: Path) -> None:
    data = module(root, cache_dir, augmentation=None, reference_per_class=None)
    assert data.augmentation == NO_AUGMENTATION
    crops = data.evaluation_crops("reference", "val")
    place = {int(row): position for position, row in enumerate(crops.rows)}
    for raw in data.train_dataloader():
        batch = data.augment(raw)
        expected = crops.__getitems__([place[int(i)] for i in batch.index])
        torch.testing.assert_close(batch.images, expected.images, atol=1e-4, rtol=0)


def test_shuffled_batches_have_the_same_size(root: Path, cache_dir: Path) -> None:
    data = module(root, cache_dir, sampler="shuffled", batches_per_epoch=4)
    batches = list(data.train_dataloader())
    assert [len(b.labels) for b in batches] == [6] * 4
    assert any(np.bincount(b.labels, minlength=3).tolist() != [2, 2, 2] for b in batches)


def test_epochs_differ_and_workers_change_nothing(root: Path, cache_dir: Path, tmp_path: Path) -> None:
    runs = []
    for num_workers in (0, 2):
        spy = Spy()
        trainer(tmp_path, limit_val_batches=0).fit(spy, datamodule=module(root, cache_dir, num_workers=num_workers))
        runs.append(spy.seen)
    check_same(*runs)
    steps = len(runs[0]) // 2
    first, second = runs[0][:steps], runs[0][steps:]
    assert [step[2] for step in first] != [step[2] for step in second]
    images = {int(i): x for step in first for i, x in zip(step[2], step[3], strict=True)}
    again = {int(i): x for step in second for i, x in zip(step[2], step[3], strict=True)}
    common = sorted(images.keys() & again.keys())
    assert common
    assert not any(torch.equal(images[i], again[i]) for i in common)  # augmented anew


def check_same(one: list[Any], other: list[Any]) -> None:
    assert [step[:3] for step in one] == [step[:3] for step in other]
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a[3], b[3])


class Keep(Callback):
    """Saves at every moment at which a checkpoint may be taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, trainer: L.Trainer, moment: str) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.fit_loop.epoch_loop.total_batch_idx:02}_{moment}.ckpt")

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.save(trainer, "0_epoch_start")

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self.save(trainer, "1_batch")

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.save(trainer, "2_validation")

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.save(trainer, "3_epoch")


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_resume_continues_with_the_same_crops(
    root: Path, cache_dir: Path, tmp_path: Path, num_workers: int, accumulate: int
) -> None:
    options = {"max_epochs": 3, "val_check_interval": 2, "accumulate_grad_batches": accumulate}
    data = {"num_workers": num_workers, "batches_per_epoch": 4}
    whole = Spy()
    trainer(tmp_path, callbacks=[Keep(tmp_path)], **options).fit(whole, datamodule=module(root, cache_dir, **data))
    assert len(whole.seen) == 12
    checkpoints = [path for path in sorted(tmp_path.glob("*.ckpt")) if "start" not in path.name]
    assert len(checkpoints) == 12 + 6 + 3
    for checkpoint in checkpoints[:: 1 if num_workers == 0 else 5]:
        state = torch.load(checkpoint)["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]
        done = int(checkpoint.name[:2]) + 1
        assert state == {"epoch": done // 4, "completed": done % 4}
        spy = Spy()
        trainer(tmp_path, **options).fit(
            spy, datamodule=module(root, cache_dir, **data), ckpt_path=checkpoint, weights_only=True
        )
        check_same(whole.seen[done:], spy.seen)
    for path in tmp_path.glob("*start.ckpt"):
        state = torch.load(path)["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]
        assert state == {"epoch": (int(path.name.split("_")[0]) + 1) // 4, "completed": 0}


def test_two_ranks_see_what_one_process_sees(root: Path, cache_dir: Path, tmp_path: Path) -> None:
    """Three classes, two ranks: P stays 3 and K doubles, so one process with K = 4 has the same global batch."""
    alone = Spy(tmp_path / "alone")
    trainer(tmp_path).fit(alone, datamodule=module(root, cache_dir, samples_per_class=4, eval_batch_size=5))
    trainer(tmp_path, strategy="ddp_fork", devices=2).fit(
        Spy(tmp_path / "pair"), datamodule=module(root, cache_dir, samples_per_class=2, eval_batch_size=5)
    )
    (ones, one_sets), (twos, two_sets) = (torch.load(tmp_path / f"pair.{rank}") for rank in (0, 1))
    assert len(ones) == len(twos) == len(alone.seen)
    for whole, one, two in zip(alone.seen, ones, twos, strict=True):
        assert one[:2] == two[:2] == whole[:2]
        assert not set(one[2]) & set(two[2])
        slots = [0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]  # K = 2 of each class's four
        for mine, share in zip(slots, (one, two), strict=True):
            assert share[2] == [whole[2][slot] for slot in mine]
            assert torch.equal(share[3], whole[3][mine])  # the very same augmentation
    assert sorted(one_sets) == sorted(two_sets) == [0, 1, 2, 3]
    for name, crops in alone.evaluated.items():
        assert len(one_sets[name]) == len(two_sets[name])
        assert set(one_sets[name]) | set(two_sets[name]) == set(crops)
        assert not set(one_sets[name]) & set(two_sets[name]) or len(set(crops)) % 2


def test_data_that_are_shared_already_are_not_shared_once_more(
    root: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(L.Trainer, "world_size", 2)
    data = module(root, cache_dir)
    data.trainer = L.Trainer(logger=False, accelerator="cpu", use_distributed_sampler=False)
    data.setup("fit")
    data.trainer = L.Trainer(logger=False, accelerator="cpu")
    with pytest.raises(ValueError, match=r"need Trainer\(use_distributed_sampler=False\)"):
        data.setup("fit")


def test_a_set_to_embed_has_to_be_named(root: Path, cache_dir: Path) -> None:
    before = DataLoader.__init__
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    with pytest.raises(ValueError, match=r"trainer\.predict\(model, data\.evaluation_loader\('known', 'test'\)\)"):
        trainer.predict(BoringModel(), datamodule=module(root, cache_dir))
    assert DataLoader.__init__ is before  # Lightning puts it back after a hook of loaders, but not after an error there


def test_ranks_are_taken_from_the_trainer(root: Path, cache_dir: Path) -> None:
    class Attached:
        global_rank, world_size, fast_dev_run, limit_val_batches = 1, 3, False, 1.0
        strategy = type("S", (), {"root_device": torch.device("cpu")})

    data = module(root, cache_dir)
    data.trainer = Attached()  # type: ignore[assignment]
    sampler = data.train_dataloader().batch_sampler
    assert isinstance(sampler, PKBatchSampler)
    assert (sampler.rank, sampler.world_size, sampler.seed) == (1, 3, 0)
    known = data.rows("known", "val")
    shard = torch.cat([b.index for b in data.val_dataloader()[1]]).tolist()
    assert shard == [int(known[i % len(known)]) for i in range(1, -(-len(known) // 3) * 3, 3)]


# Printing, bad frames, errors


def test_prepare_data_prints_report_summary_and_size_once(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = module(root, tmp_path / "cache")
    data.prepare_data()
    printed = capsys.readouterr().out
    assert "180 boxes in 18 frames" in printed
    assert "goose" in printed
    assert "MB in" in printed
    assert f"{len(data.table)} of 12x12 px" in printed
    data.prepare_data()
    assert capsys.readouterr().out == ""


def test_classes_that_no_list_names_are_told(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = module(root, None, known=["coot", "goose"])
    data.prepare_data()
    count = (data.reading.table["label"] == "teal").sum()
    said = f"Crops of classes that no list names, not used: teal ({count})\n"
    assert said in capsys.readouterr().out
    module(root, None, known=None).prepare_data()
    assert "no list names" not in capsys.readouterr().out


def test_rare_classes_are_set_aside_and_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rare = ThermalWaterfowlDataModule(CocoJson(root), min_crops=30, crop_size=8, cache_dir=None)
    rare.prepare_data()
    told = "Set aside, not trained on and not judged (min_crops 30): buoy (18 crops in 6 group(s)), loon (18 "
    assert told in capsys.readouterr().out
    assert rare.class_names == ["coot", "goose", "teal"]
    assert rare.classes_in_batch == 3
    assert module(root, None, known=["teal", "goose"], min_crops=30).known_class_names == ["goose", "teal"]


def test_a_batch_has_every_class_up_to_eight(root: Path) -> None:
    given = module(root, None, classes_per_batch=None, turned_classes=4, augmentation=None)
    assert (given.classes_in_batch, given.crops_per_batch) == (8, 16)
    assert module(root, None, classes_per_batch=2).classes_in_batch == 2


def test_prepare_data_without_a_cache(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = module(root, None)
    data.prepare_data()
    assert "12x12 px, not cached" in capsys.readouterr().out


def copy_with_bad_frame(root: Path, tmp_path: Path) -> tuple[Path, Path]:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    bad = copy / "flight_0" / "1.tiff"
    content = bad.read_bytes()
    bad.write_bytes(content[: len(content) - 5000])  # the header is whole, the pixels are not
    return copy, bad


@pytest.mark.parametrize("cached", [True, False])
def test_a_bad_frame_stops_or_is_skipped_and_counted(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cached: bool
) -> None:
    copy, bad = copy_with_bad_frame(root, tmp_path)
    folder = tmp_path / "cache" if cached else None
    with pytest.raises(ValueError, match=str(bad)):
        module(copy, folder).setup("fit")
    data = module(copy, folder, on_bad_frame="skip")
    lost = (data.full_table["frame"] == str(bad)).to_numpy()
    data.prepare_data()
    assert f"Skipped {lost.sum()} crops of 1 bad frames, first: {bad}" in capsys.readouterr().out
    data.setup("fit")
    assert (data.table["split"] == "").tolist() == lost.tolist()  # rows keep their numbers
    for batch in [*data.train_dataloader(), *(b for x in data.test_dataloader() for b in x)]:
        assert not lost[batch.index].any()
        assert torch.isfinite(batch[0]).all()


def test_a_set_that_is_lost_altogether_is_named(root: Path, tmp_path: Path) -> None:
    data = module(root, None, on_bad_frame="skip")
    swans = data.full_table.query("label == 'swan' and split == 'val'")["frame"].unique()
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    for frame in swans:
        path = copy / Path(frame).relative_to(root)
        path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r"All crops of the class '\w+' in val are in bad frames"):
        module(copy, None, on_bad_frame="skip").setup("fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"far_ood": ["swan"]}, "far_ood names swan, which ood_val and ood_test do not"),
        ({"eval_batch_size": 0}, "eval_batch_size is 0"),
        ({"reference_per_class": 0}, "reference_per_class is 0"),
        ({"classes_per_batch": 0}, "classes_per_batch is 0"),
        ({"on_bad_frame": "ignore"}, "on_bad_frame is 'ignore'; use 'stop' or 'skip'"),
        ({"sampler": "random"}, "sampler is 'random'; use 'pk' or 'shuffled'"),
        ({"crop_size": 2}, "crop_size is 2 px"),
        ({"crop_size": "32"}, "crop_size is '32' px; a whole number"),
        ({"normalisation": "window"}, "'window' came with window None"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(Path("/nowhere"), None, **options)


def test_the_source_is_no_name() -> None:
    with pytest.raises(ValueError, match="source is 'own'; give a Source"):
        ThermalWaterfowlDataModule(source="own")


def test_a_window_on_counts_is_refused_with_the_file(root: Path) -> None:
    data = module(root, None, normalisation="window", window=(5.0, 20.0))
    with pytest.raises(ValueError, match=r"flight_.*tiff.*window in degC met a frame in counts"):
        data.setup("fit")


def test_too_many_classes_per_batch(data: ThermalWaterfowlDataModule) -> None:
    data.classes_per_batch = 4
    with pytest.raises(ValueError, match="classes_per_batch is 4, but the training crops have 3 classes"):
        data.train_dataloader()


# The command line's view


def test_yaml_builds_the_module_and_num_classes_can_be_linked(root: Path, tmp_path: Path) -> None:
    class Model:
        def __init__(self, num_classes: int) -> None:
            self.num_classes = num_classes

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ThermalWaterfowlDataModule, "data")
    parser.add_class_arguments(Model, "model")
    parser.link_arguments("data", "model.num_classes", lambda d: d.num_classes, apply_on="instantiate")
    config = parser.parse_object(
        {
            "data": {
                "source": {"class_path": "dml_lightning.data.sources.CocoJson", "init_args": {"root": str(root)}},
                **ROLES,
                "radiometry": {"gain": 0.01, "offset": -273.15},
                "normalisation": "window",
                "window": [5, 15],
                "augmentation": {"rotate": 10, "polarity": 0},
                "split_fractions": [0.5, 0.25, 0.25],
                "cache_dir": str(tmp_path),
            }
        }
    )
    again = parser.parse_string(parser.dump(config))  # what the recipe of a run must survive
    objects = parser.instantiate(again)
    assert objects.model.num_classes == 3
    data = objects.data
    assert (data.augmentation.rotate, data.augmentation.polarity, data.augmentation.flip) == (10, 0, 0.5)
    data.setup()
    assert data.units == ["degC"]
    batch = next(iter(data.val_dataloader()[1]))
    assert float(batch.images.abs().max()) <= 1
    off = parser.parse_object({"data": {**config.data.as_dict(), "augmentation": None}})
    assert parser.instantiate(off).data.augmentation == NO_AUGMENTATION


def test_calibration_has_flights_of_its_own(root: Path, tmp_path: Path) -> None:
    data = module(root, tmp_path, split_fractions=[0.3, 0.2, 0.2, 0.3], unseen_groups="all")
    loaders = dict(zip(SETS, data.val_dataloader(), strict=True))
    table = data.table
    calibration = table.loc[torch.cat([batch.index for batch in loaders["calibration"]]).numpy()]
    assert set(calibration["role"]) == {"known"}
    others = table[(table["role"] == "known") & (table["split"] != "calibration")]
    assert set(calibration["group"]).isdisjoint(others["group"])
    assert set(calibration["label"]) == set(ROLES["known"])
    assert len(data.test_dataloader()) == len(SETS)


def test_calibration_crops_are_not_seen_while_training(root: Path, tmp_path: Path) -> None:
    data = module(root, tmp_path, split_fractions=[0.3, 0.2, 0.2, 0.3], unseen_groups="all")
    spy, fit = Spy(), trainer(tmp_path, max_epochs=1)
    fit.fit(spy, data)
    seen = {row for _, _, index, _ in spy.seen for row in index} | {
        row for rows in spy.evaluated.values() for row in rows
    }
    assert "calibration" not in set(data.table.loc[sorted(seen), "split"])
    assert sorted(spy.evaluated) == [0, 1, 2, 3]
    fit.validate(spy, data, verbose=False)
    assert sorted(spy.evaluated) == [0, 1, 2, 3, SETS.index("calibration")]


def test_clutter_is_trained_on_and_evaluated_from_other_flights(root: Path, tmp_path: Path) -> None:
    clutter = {"ood_train": ["background", "buoy"], "ood_val": [], "background": 2, "clutter_per_batch": 5}
    data, plain = module(root, tmp_path, **clutter), module(root, tmp_path, ood_val=[])
    assert data.class_names == ["coot", "goose", "teal", "loon", "swan", "person", "background", "buoy"]
    assert (data.has_clutter, data.crops_per_batch, plain.has_clutter, plain.crops_per_batch) == (True, 11, False, 6)
    data.setup()
    seen: list[int] = []
    for batch in data.train_dataloader():
        finished = data.augment(batch)
        rows = data.table.loc[batch.index.numpy()]
        assert finished.labels.tolist() == [
            CLUTTER if role == "clutter" else data.known_class_names.index(label)
            for label, role in zip(rows["label"], rows["role"], strict=True)
        ]
        assert (rows["role"] == "clutter").sum() == 5
        assert set(rows["split"]) == {"train"}
        seen += batch.index.tolist()
    assert {"background", "buoy"} <= set(data.table.loc[seen, "label"])
    assert not (data.table.loc[data.training_rows(), "role"] == "clutter").any()  # no reference either
    for split, loaders in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        index = torch.cat([batch.index for batch in loaders[EVALUATION_SETS.index("clutter")]])
        assert set(data.table.loc[index.numpy(), "split"]) == {split}
        assert set(data.table.loc[index.numpy(), "label"]) == {"background", "buoy"}


def test_clutter_stands_upright_behind_turned_classes(root: Path, tmp_path: Path) -> None:
    data = module(root, tmp_path, ood_train=["buoy"], ood_val=[], turned_classes=4, augmentation=None)
    labels = [label for batch in data.train_dataloader() for label in data.augment(batch).labels.tolist()]
    assert {CLUTTER} < set(labels) <= {CLUTTER, *range(12)}
    upright = {int(row) for row in data.clutter_rows()}
    index = [batch.index[batch.labels == CLUTTER] for batch in data.train_dataloader()]
    assert set(torch.cat(index).tolist()) <= upright


def test_known_crops_are_augmented_as_without_clutter(root: Path, tmp_path: Path) -> None:
    data = module(root, tmp_path, ood_train=["buoy"], ood_val=[])
    plain = module(root, tmp_path, ood_val=[], known=ROLES["known"])
    for each in (data, plain):
        each.__dict__["full_table"] = data.full_table.copy()  # the split that clutter has pulled at
        each.setup()
    mixed, alone = next(iter(data.train_dataloader())), next(iter(plain.train_dataloader()))
    for name in ("patches", "labels", "index", "parameters"):
        torch.testing.assert_close(getattr(mixed, name)[:6], getattr(alone, name), rtol=0, atol=0)
    assert mixed.labels[6:].tolist() == [CLUTTER, CLUTTER]  # a third of six


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clutter_per_batch": 4}, "clutter_per_batch is 4, and ood_train names no class to fill it"),
        ({"ood_train": ["buoy"], "ood_val": [], "clutter_per_batch": 0}, "clutter_per_batch is 0"),
        ({"ood_train": ["buoy"]}, "'buoy' is named in ood_train and in ood_val"),
        ({"ood_train": ["buoy"], "ood_val": [], "far_ood": ["buoy"]}, "far_ood names buoy, which ood_val and ood_test"),
    ],
)
def test_clutter_is_checked(root: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = module(root, tmp_path, **options).table


@pytest.mark.parametrize("turned", [4, 8])
def test_turned_classes_are_classes_of_training_alone(root: Path, cache_dir: Path, turned: int) -> None:
    options = {"augmentation": None, "batches_per_epoch": None}
    plain = module(root, cache_dir, **options)
    data = module(root, cache_dir, **options, turned_classes=turned, classes_per_batch=3 * turned)
    assert (data.num_classes, data.class_names, data.data_digest) == (3, plain.class_names, plain.data_digest)
    loader, rows = data.train_dataloader(), data.training_rows()
    crops = data.evaluation_crops("reference", "val")
    assert len(loader) == turned * len(rows) // (3 * turned * 2)
    upright = {int(row): crops[place] for place, row in enumerate(crops.rows)}
    seen: list[int] = []
    for batch in map(data.augment, loader):
        assert (torch.bincount(batch.labels, minlength=3 * turned) == 2).all()  # P x K with all classes in it
        for image, label, index, _ in zip(*batch, strict=True):
            number, row = divmod(int(index), len(data.table))
            assert int(label) == int(upright[row].labels) + 3 * number
            expected = turn(upright[row].images, torch.tensor([number]))[0]
            torch.testing.assert_close(image, expected, atol=1e-4, rtol=0)
        seen += batch.index.tolist()
    assert len(set(seen)) == len(seen)  # no crop twice before all have come
    for mine, own in zip(data.val_dataloader(), plain.val_dataloader(), strict=True):
        for first, second in zip(mine, own, strict=True):
            assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_turned_classes_have_names_and_crops_of_their_own(root: Path, cache_dir: Path) -> None:
    options = {"augmentation": None, "turned_classes": 4, "classes_per_batch": 12}
    with pytest.warns(UserWarning, match="Fewer than 50 training crops, .*coot .*, coot turned 270"):
        module(root, cache_dir, **options, samples_per_class=50).train_dataloader()
    with pytest.raises(ValueError, match="classes_per_batch is 13, but the training crops have 12 classes"):
        module(root, cache_dir, **{**options, "classes_per_batch": 13}).train_dataloader()
    assert module(root, cache_dir, **options).same_crops
    assert not module(root, cache_dir).same_crops


def test_turns_that_augmentation_undoes_are_refused(root: Path, cache_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"rotate 180 and flip 0\.5 makes one of 4 turned classes of another"):
        module(root, cache_dir, turned_classes=4)


def test_sizes_of_upright_boxes_are_refused_beside_turned_classes(root: Path, cache_dir: Path) -> None:
    options = {"augmentation": None, "turned_classes": 4}
    with pytest.raises(ValueError, match="hold sizes of upright boxes"):
        module(root, cache_dir, **options, side_inputs=["width", "contrast"])
    module(root, cache_dir, **options, side_inputs=["contrast"])


SPLIT_BY = {"train": ["flight_[0-2]"], "val": ["flight_3"], "test": ["flight_4"], "calibration": ["flight_5"]}


def test_splits_by_the_names_of_flights(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ThermalWaterfowlDataModule, "data")
    source = {"class_path": "dml_lightning.data.sources.CocoJson", "init_args": {"root": str(root)}}
    options = {"source": source, **ROLES, "split_by": SPLIT_BY, "cache_dir": str(tmp_path)}
    config = parser.parse_string(parser.dump(parser.parse_object({"data": options})))
    data = parser.instantiate(config).data
    data.prepare_data()
    printed = capsys.readouterr().out
    for split, flight in (("val", 3), ("test", 4), ("calibration", 5)):
        assert set(data.table.loc[data.table["split"] == split, "group"]) == {f"flight_{flight}"}
        assert f"Warning: All 18 known crops of {split} are of one group, flight_{flight}: its" in printed
    assert len(data.test_dataloader()) == len(SETS)


def test_another_seed_of_a_named_split_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split_seed 2 would give no other one: leave split_seed at 0"):
        module(root, tmp_path, split_by=SPLIT_BY, split_seed=2)


def test_class_folds_make_every_species_novel_once(root: Path, tmp_path: Path) -> None:
    options = {"known": None, "novel_val": None, "novel_test": None, "unseen_groups": "all"}
    tested: list[str] = []
    for fold in range(3):
        data = module(root, tmp_path, **options, class_folds=3, class_fold=fold)
        names = {
            split: set(data.table.query("role == 'novel' and split == @split")["label"]) for split in ("val", "test")
        }
        assert not names["val"] & names["test"]
        assert not (names["val"] | names["test"]) & set(data.known_class_names)
        tested += names["test"]
    assert sorted(tested) == ["coot", "goose", "loon", "swan", "teal"]


def test_clutter_is_no_species_of_a_fold(root: Path, tmp_path: Path) -> None:
    options = {"known": None, "novel_val": None, "novel_test": None, "unseen_groups": "all"}
    data = module(root, tmp_path, **options, class_folds=3, ood_train=["buoy"], ood_val=[])
    assert data.table.query("role == 'novel'")["label"].nunique() + data.num_classes == 5
    assert set(data.table.query("role == 'clutter'")["label"]) == {"buoy"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_folds": 3}, "leave out known, novel_val and novel_test"),
        ({"class_folds": 2, "known": None, "novel_val": None, "novel_test": None}, "at least 3"),
        ({"class_folds": 9, "known": None, "novel_val": None, "novel_test": None}, "5 classes"),
        ({"train_per_class": 0}, "train_per_class is 0"),
    ],
)
def test_folds_and_caps_are_checked(root: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = module(root, tmp_path, **options).table


def test_few_training_crops_are_the_reference_too(root: Path, tmp_path: Path) -> None:
    data = module(root, tmp_path, train_per_class=3)
    rows = data.training_rows()
    assert np.bincount(data.labels[rows]).tolist() == [3, 3, 3]
    assert np.array_equal(data.evaluation_crops("reference", "val").rows, rows)
    again, other = (module(root, tmp_path, train_per_class=3, seed=seed) for seed in (0, 1))
    assert np.array_equal(again.training_rows(), rows)
    assert not np.array_equal(other.training_rows(), rows)


# Side inputs


def test_side_inputs_travel_from_the_table_to_every_batch(root: Path, cache_dir: Path, tmp_path: Path) -> None:
    class Looks(Spy):
        def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
            assert batch.side.shape == (len(batch.labels), 2)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
            boxes = data.table.loc[batch.index.numpy(), ["width", "height"]].to_numpy(np.float32)
            np.testing.assert_array_equal(batch.side, boxes)
            super().validation_step(batch, batch_idx, dataloader_idx)

    data = module(root, cache_dir, side_inputs=["height", "width"])
    spy = Looks()
    trainer(tmp_path, max_epochs=1).fit(spy, datamodule=data)
    assert spy.seen
    assert spy.evaluated


def test_sampled_background_is_not_told_by_its_square_boxes(root: Path) -> None:
    roles = {**ROLES, "ood_test": ["person", "background"]}
    plain, shaped = (
        module(root, None, **{**roles, "background": 2, "side_inputs": names}) for names in ([], ["width"])
    )
    square, box = (data.table[data.table["label"] == "background"] for data in (plain, shaped))
    assert (square["width"] == square["height"]).all()
    assert (box["width"] != box["height"]).all()
    assert square["frame"].tolist() == box["frame"].tolist()
