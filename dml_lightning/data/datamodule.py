"""From a data source to the loaders of one experiment."""

import warnings
from collections import ChainMap
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.loops.progress import _ProcessedTracker
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from dml_lightning.data.background import with_shapes
from dml_lightning.data.cache import build_cache, open_crops
from dml_lightning.data.cache_folders import cache_bytes
from dml_lightning.data.corrected import with_corrected
from dml_lightning.data.crops import CropOptions
from dml_lightning.data.frames import Radiometry
from dml_lightning.data.ground import COLUMN, ground_distances
from dml_lightning.data.loaders import (
    CropDataset,
    TrainingBatch,
    TrainingCrops,
    TrainingLoader,
    capped_rows,
    evaluation_loader,
    is_trial,
    refuse_parts,
)
from dml_lightning.data.named_splits import single_groups
from dml_lightning.data.normalisation import Normalisation
from dml_lightning.data.plan import PlannedBatchSampler
from dml_lightning.data.rare import numbered, rare_classes
from dml_lightning.data.samplers import ClutterBatchSampler, PKBatchSampler, ShuffledBatchSampler
from dml_lightning.data.side import SideInput, side_inputs
from dml_lightning.data.sources import Reading, Source
from dml_lightning.data.sources.recognise import read_source
from dml_lightning.data.splits import build_table, class_fold
from dml_lightning.data.stores import CropStore
from dml_lightning.data.table import BOX_COLUMNS, SPLITS, format_summary, summarise, table_digest
from dml_lightning.data.transforms import Augmentation, augment, noise_sheet
from dml_lightning.data.turned import check_turned, turned_names
from dml_lightning.types import CLUTTER, EVALUATION_SETS, ROLES, SETS, Batch, EvaluationSet, OnBadFrame

NO_AUGMENTATION = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
DEFAULT_AUGMENTATION = Augmentation()
MOST_CLASSES = 8  # of a training batch, unless a number is given


class ThermalWaterfowlDataModule(L.LightningDataModule):
    """Thermal frames with boxes as training batches and the sets `reference, known, novel, ood, clutter`.

    Training sees known classes of the training groups. Validation and test each have a loader for each of
    `types.EVALUATION_SETS`: reference (training crops without augmentation), known, novel, ood and clutter crops of
    that split. With a calibration split there is one more loader, `calibration`, except while training: its known crops
    serve the conformal threshold and nothing else.
    The trainer needs `use_distributed_sampler=False`: everything is sharded here. Its `limit_val_batches` and
    `limit_test_batches` may not cut a set, except in a trial run (`fast_dev_run`).

    Args:
        source: Reader of the data set.
        known: Classes to train on; None takes every class that is named in no other list.
        novel_val: Waterfowl classes never trained on, for validation.
        novel_test: Waterfowl classes never trained on, for test; disjoint from novel_val.
        ood_train: Classes that are no waterfowl, from which training tells the known ones apart (clutter): crops of
            training groups are trained on, those of validation and test groups are the set clutter, evaluated apart.
        ood_val: Classes that are no waterfowl, for validation.
        ood_test: Classes that are no waterfowl, for test; disjoint from ood_val.
        far_ood: The ood classes that resemble waterfowl least; the others count as near.
        class_folds: Number of class-disjoint folds, instead of known, novel_val and novel_test; 0 for none.
        class_fold: Number of the fold to use, from 0: its classes are novel in the test, those of the next fold in
            validation.
        background: Number of crops per frame sampled away from every box, with the label "background", which an ood
            list must name: with ood_train, those of training frames are trained on.
        split_fractions: Shares of the crops in train, val, test and, as an option, calibration.
        split_by: Groups of each split instead of split_fractions, by name or by a regular expression on the whole name,
            such as {train: ["2024-03-.*"], val: ["2024-04-02"], test: ["2024-05-.*"]}; calibration is an option. Every
            group must be in one split.
        unseen_groups: Whether novel and ood crops come from the groups of their split only, or from all groups.
        split_seed: Seed of the split, the background crops and the choice of reference crops; kept apart from seed, so
            that all training seeds see the same data.
        seed: Seed of the batches and the augmentation.
        crop_size: Side of a crop in px.
        context: Margin as a fraction of the box's longer side, both sides together.
        min_side: Smallest side of the square in px of the frame.
        normalisation: "crop" or "frame", by robust statistics of the crop or its frame, or "window", by fixed
            temperatures.
        window: Lowest and highest degC, for "window".
        side_inputs: What a crop carries beside its pixels: "width" and "height" of its box in px, or "width_m" and
            "height_m" in metres on the ground, which do not change with the altitude; "contrast", the scale that it was
            divided by, in counts or K. The encoder takes as many, which the command line sees to; training jitters
            them.
        gsd: Ground sampling distance of the frames for which the data set states none, m per px.
        crop_metres: Side of a crop in m on the ground, in place of context and min_side.
        augmentation: Strengths of the augmentation; None trains on crops as they are.
        turned_classes: Number of classes that training makes of each known one: 4 for its quarter turns, 8 with mirror
            images of these, 1 for none. Evaluation sees upright crops and the known classes alone. An epoch grows as
            many times, unless batches_per_epoch is given.
        sampler: "pk" for classes_per_batch x samples_per_class, "shuffled" for as many crops of any class.
        classes_per_batch: Number P of classes in a training batch, per rank; None for all of them up to 8.
        samples_per_class: Number K of crops of each class in a training batch, per rank.
        clutter_per_batch: Number of crops of ood_train in a training batch beside the known ones, per rank; None for a
            third of their number.
        train_per_class: Largest number of training crops of a class, by a draw from seed; None for all.
        batches_per_epoch: Number of training batches in an epoch; None for one pass over the training crops.
        eval_batch_size: Number of crops in an evaluation batch, per rank.
        reference_per_class: Largest number of reference crops of a class, by a seeded draw; None for all.
        num_workers: Processes that read ahead; the cache rarely needs any.
        cache_dir: Folder of the crop cache; None opens the frame for every crop.
        on_bad_frame: Whether a frame that cannot be used raises before training ("stop"), or its crops are left out and
            counted ("skip").
        radiometry: Camera's conversion of integer counts to degC.
        allow_identical_frames: Whether frames with the same bytes may lie in two groups, and so in two splits.
        corrected: Further data sets, predictions that a person has corrected, as folders or files of any layout: their
            boxes of known classes are trained on, and reach no other split.
        other_groups: Whether retrieval is also measured without the crops of a query's own group, which then chooses
            checkpoints (`evaluation.retrieval.selection`); False where a group holds no two crops alike, such as a
            person who drew every character once.
        min_crops: Smallest number of crops of a class that `known: null` takes; one with fewer, or of fewer groups than
            there are splits, is set aside and named. None takes all. With class_folds it does not apply.

    Raises:
        ValueError: An argument or a file cannot be used.
    """

    def __init__(
        self,
        source: Source,
        known: list[str] | None = None,
        novel_val: list[str] | None = None,
        novel_test: list[str] | None = None,
        ood_train: list[str] | None = None,
        ood_val: list[str] | None = None,
        ood_test: list[str] | None = None,
        far_ood: list[str] | None = None,
        class_folds: int = 0,
        class_fold: int = 0,
        background: int = 0,
        split_fractions: list[float] = [0.6, 0.2, 0.2],  # noqa: B006 - copied, never changed
        split_by: dict[str, list[str]] | None = None,
        unseen_groups: Literal["split", "all"] = "split",
        split_seed: int = 0,
        seed: int = 0,
        crop_size: int = 32,
        context: float = 0.5,
        min_side: float = 16.0,
        normalisation: Normalisation = "crop",
        window: tuple[float, float] | None = None,
        side_inputs: list[SideInput] = [],  # noqa: B006 - copied, never changed
        gsd: float | None = None,
        crop_metres: float | None = None,
        augmentation: Augmentation | None = DEFAULT_AUGMENTATION,
        turned_classes: Literal[1, 4, 8] = 1,
        sampler: Literal["pk", "shuffled"] = "pk",
        classes_per_batch: int | None = None,
        samples_per_class: int = 16,
        clutter_per_batch: int | None = None,
        train_per_class: int | None = None,
        batches_per_epoch: int | None = None,
        eval_batch_size: int = 512,
        reference_per_class: int | None = 200,
        num_workers: int = 0,
        cache_dir: str | None = "cache",
        on_bad_frame: OnBadFrame = "stop",
        radiometry: Radiometry | None = None,
        allow_identical_frames: bool = False,
        corrected: list[str] | None = None,
        other_groups: bool = True,
        min_crops: int | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.known, self.min_crops = known, min_crops
        self.novel_val, self.novel_test = list(novel_val or ()), list(novel_test or ())
        self.ood_train = list(ood_train or ())
        self.ood_val, self.ood_test = list(ood_val or ()), list(ood_test or ())
        self.far_ood = list(far_ood or ())
        self.class_folds, self.class_fold = class_folds, class_fold
        self.background = background
        self.split_fractions, self.split_by = list(split_fractions), split_by
        self.unseen_groups = unseen_groups
        self.split_seed, self.seed = split_seed, seed
        self.options = CropOptions(
            crop_size, context, min_side, normalisation, window, radiometry, tuple(side_inputs), crop_metres
        )
        self.gsd = gsd
        self.augmentation, self.turned_classes = augmentation or NO_AUGMENTATION, turned_classes
        self.sampler = sampler
        self.classes_per_batch, self.samples_per_class = classes_per_batch, samples_per_class
        self.clutter_per_batch, self.train_per_class = clutter_per_batch, train_per_class
        self.batches_per_epoch, self.eval_batch_size = batches_per_epoch, eval_batch_size
        self.reference_per_class = reference_per_class
        self.num_workers, self.cache_dir, self.on_bad_frame = num_workers, cache_dir, on_bad_frame
        self.allow_identical_frames = allow_identical_frames
        self.corrected = list(corrected or ())
        self.other_groups = other_groups
        self._store: CropStore | None = None
        self._sheet = noise_sheet()
        self._reported = False
        self._check_arguments()

    def _check_arguments(self) -> None:
        if not isinstance(self.source, Source):
            raise ValueError(f"source is {self.source!r}; give a Source, such as CocoJson(root).")
        stray = sorted(set(self.far_ood) - {*self.ood_val, *self.ood_test})
        if stray:
            raise ValueError(f"far_ood names {', '.join(stray)}, which ood_val and ood_test do not.")
        for name in (
            "min_crops",
            "eval_batch_size",
            "classes_per_batch",
            "samples_per_class",
            "clutter_per_batch",
            "reference_per_class",
            "train_per_class",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")
        if self.class_folds and (self.known or self.novel_val or self.novel_test):
            raise ValueError(
                "class_folds chooses the known and the novel classes: leave out known, novel_val and novel_test."
            )
        if self.split_by is not None and self.split_seed:
            raise ValueError(
                f"split_by names the groups of every split, and split_seed {self.split_seed} would give no other one: "
                "leave split_seed at 0."
            )
        check_turned(self.turned_classes, self.augmentation.rotate, self.augmentation.flip)
        if self.turned_classes > 1 and set(self.options.side_inputs) - {"contrast"}:
            raise ValueError(
                f"side_inputs {list(self.options.side_inputs)} hold sizes of upright boxes, which turned_classes would "
                "turn: leave the sizes out, or set turned_classes to 1."
            )
        if self.clutter_per_batch is not None and not self.ood_train:
            raise ValueError(f"clutter_per_batch is {self.clutter_per_batch}, and ood_train names no class to fill it.")
        if self.on_bad_frame not in ("stop", "skip"):
            raise ValueError(f"on_bad_frame is {self.on_bad_frame!r}; use 'stop' or 'skip'.")
        if self.sampler not in ("pk", "shuffled"):
            raise ValueError(f"sampler is {self.sampler!r}; use 'pk' or 'shuffled'.")

    # What the source holds: read once, on first use, without a trainer

    @cached_property
    def reading(self) -> Reading:
        """Data set as the source reads it."""
        return self.source.read(self.on_bad_frame, gsd=self.gsd)

    @cached_property
    def full_table(self) -> pd.DataFrame:
        """The crop table before bad frames are left out."""
        novel_val, novel_test = self._novel_classes()
        table = build_table(
            self.reading,
            known=self._chosen_classes(),
            novel_val=novel_val,
            novel_test=novel_test,
            ood_train=self.ood_train,
            ood_val=self.ood_val,
            ood_test=self.ood_test,
            background=self.background,
            context=self.options.context,
            min_side=self.options.min_side,
            shown_sides_of=self._shown_sides(),
            split_fractions=self.split_fractions,
            split_by=self.split_by,
            unseen_groups=self.unseen_groups,
            seed=self.split_seed,
            allow_identical_frames=self.allow_identical_frames,
        )
        if self.background and self.options.side_inputs:
            table = with_shapes(table)
        readings = self._corrected_readings
        if readings:
            table = with_corrected(table, self.reading.frames, readings)
        if not self.options.needs_gsd:
            return table
        stated = ChainMap(*(dict(reading.gsd) for reading in (self.reading, *readings)))
        table = table.assign(gsd=table["frame"].map(stated).astype(float))
        return table.assign(gsd=ground_distances(table))

    def _shown_sides(self) -> dict[str, float] | None:
        """Side in px of what a crop shows in each frame, where it is one of metres and background is sampled."""
        if self.options.crop_metres is None or not self.background:
            return None
        frames = self.reading.frames["frame"]
        gsd = ground_distances(pd.DataFrame({"frame": frames, COLUMN: frames.map(self.reading.gsd).astype(float)}))
        return dict(zip(frames, self.options.crop_metres / gsd, strict=True))

    @cached_property
    def _corrected_readings(self) -> list[Reading]:
        return [read_source(Path(path), self.on_bad_frame) for path in self.corrected]

    def _novel_classes(self) -> tuple[list[str], list[str]]:
        """Novel classes of validation and test, as listed or by the fold."""
        if not self.class_folds:
            return self.novel_val, self.novel_test
        species = set(self.reading.table["label"]) - {*self.ood_train, *self.ood_val, *self.ood_test}
        return class_fold(sorted(species), self.class_folds, self.class_fold, self.split_seed)

    def _chosen_classes(self) -> list[str] | None:
        """Classes to train on: as listed, or without the rare ones."""
        if self.rare.empty:
            return self.known
        return sorted(set(self.reading.table["label"]) - {*self._listed(), *self.rare.index})

    @cached_property
    def rare(self) -> pd.DataFrame:
        """Classes that `min_crops` sets aside, with their numbers of crops and groups."""
        applies = self.known is None and self.min_crops is not None and not self.class_folds
        rows = self.reading.table if applies else self.reading.table[:0]
        return rare_classes(rows, self.min_crops or 0, len(self.split_by or self.split_fractions), self._listed())

    def _listed(self) -> set[str]:
        """Classes that a list names."""
        lists = (self.known or (), self.novel_val, self.novel_test, self.ood_train, self.ood_val, self.ood_test)
        return {name for members in lists for name in members}

    @property
    def table(self) -> pd.DataFrame:
        """The crop table; once the crops are open, rows of bad frames have the split "" (unused)."""
        if self._store is None or not self._store.bad_frames:
            return self.full_table
        return self._table_without_bad

    @cached_property
    def _table_without_bad(self) -> pd.DataFrame:
        assert self._store is not None
        bad = np.isnan(self._store.statistics[:, 0])
        return self.full_table.assign(split=self.full_table["split"].mask(bad, ""))

    @cached_property
    def data_digest(self) -> str:
        """Hash of the crop table, the same wherever the data lies."""
        return table_digest(self.full_table)

    @cached_property
    def class_names(self) -> list[str]:
        """Name of each label: known classes first, then novel, ood and clutter, each sorted."""
        names = self.full_table.groupby("role")["label"].unique()
        return [name for role in ROLES if role in names for name in sorted(names[role])]

    @cached_property
    def known_class_names(self) -> list[str]:
        """Names of the labels 0 to num_classes - 1."""
        return sorted(self.full_table.loc[self.full_table["role"] == "known", "label"].unique())

    @property
    def num_classes(self) -> int:
        """Number of known classes; reads the source if need be, so that the command line can link it to the model."""
        return len(self.known_class_names)

    @property
    def classes_in_batch(self) -> int:
        """Number P of classes in a training batch, per rank."""
        return self.classes_per_batch or min(MOST_CLASSES, self.num_classes * self.turned_classes)

    @property
    def has_clutter(self) -> bool:
        """Whether training batches hold clutter, so that the command line can link it to the model."""
        return bool(self.ood_train)

    @property
    def clutter_crops(self) -> int:
        """Number of clutter crops in a training batch, per rank."""
        if self.clutter_per_batch is not None:
            return self.clutter_per_batch
        return max(1, self.classes_in_batch * self.samples_per_class // 3) if self.has_clutter else 0

    @property
    def crops_per_batch(self) -> int:
        """Number of crops in a training batch, clutter included, per rank."""
        return self.classes_in_batch * self.samples_per_class + self.clutter_crops

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Label of every row of the table, (N,)."""
        codes = pd.Categorical(self.full_table["label"], categories=self.class_names).codes
        return np.asarray(codes, dtype=np.int64)

    @property
    def groups(self) -> NDArray[np.object_]:
        """Group (flight, date) of every row of the table, (N,), for intervals that resample groups."""
        return self.full_table["group"].to_numpy(object)

    @property
    def units(self) -> list[str]:
        """Units of the frames, "counts" or "degC"; usually one."""
        return self._crops().units

    @property
    def same_crops(self) -> bool:
        """Whether training sees the same pixels of a crop each time, so that features of its index may be kept."""
        return self.augmentation == NO_AUGMENTATION

    # Lightning's hooks

    @override
    def prepare_data(self) -> None:
        """Reads the source and cuts the crops; Lightning calls it on one process per node while the others wait."""
        reported, self._reported = self._reported, True
        if self.cache_dir is not None:
            folder = build_cache(self.full_table, self.options, Path(self.cache_dir), self.on_bad_frame, thorough=True)
            size = f"{cache_bytes(folder) / 1e6:.1f} MB in {folder}"
        else:
            size = "not cached"
        if not reported:
            self._report(size)

    def _report(self, size: str) -> None:
        show = partial(Console().print, markup=False, highlight=False, soft_wrap=True)
        for reading in (self.reading, *self._corrected_readings):
            show(str(reading.report))
        bad = self._crops().bad_frames
        if bad:
            lost = int(self.full_table["frame"].isin(list(bad)).sum())
            few = " ".join(list(bad.values())[:3])
            show(f"Skipped {lost} crops of {len(bad)} bad frames, first: {few}")
        show(format_summary(summarise(self.table)))
        for sentence in single_groups(self.table):
            show(f"Warning: {sentence}")
        if unlisted := self._unlisted():
            named = ", ".join(f"{name} ({count})" for name, count in unlisted.items())
            show(f"Crops of classes that no list names, not used: {named}")
        if len(self.rare):
            show(f"Set aside, not trained on and not judged (min_crops {self.min_crops}): {numbered(self.rare)}")
        stored = self.options.stored_size
        used = int((self.table["split"] != "").sum())
        show(f"Crops: {used} of {stored}x{stored} px, {size}")

    def _unlisted(self) -> dict[str, int]:
        """Crops of each class that the source has and no list names, largest first."""
        if self.known is None:
            return {}
        counts = self.reading.table["label"].value_counts()
        return {str(name): int(count) for name, count in counts.items() if name not in self._listed()}

    @override
    def setup(self, stage: str | None = None) -> None:
        """Opens the crops.

        Raises:
            ValueError: If several ranks are to share the data, and the trainer wants to share them once more; or for
                predictions, since there are several sets to embed. (An error in a loader's hook would leave PyTorch's
                loaders as Lightning changes them there.)
        """
        if stage == "predict" and self.trainer is not None and self.trainer.predict_loop._data_source.instance is self:
            raise ValueError(
                "name the set to embed: trainer.predict(model, data.evaluation_loader('known', 'test')); "
                "TrainedRun.predict names new boxes."
            )
        if self._world_size > 1 and self.trainer._accelerator_connector.use_distributed_sampler:  # type: ignore[union-attr]
            raise ValueError(
                "several ranks need Trainer(use_distributed_sampler=False): the data are shared among them already."
            )
        _accept_own_loaders()
        self._crops()

    def _crops(self) -> CropStore:
        if self._store is None:
            self._store = open_crops(self.full_table, self.options, self.cache_dir, self.on_bad_frame)
            self._check_remaining_classes()
        return self._store

    def _check_remaining_classes(self) -> None:
        """Refuses bad frames that hold all crops of a class in a split."""
        assert self._store is not None
        if not self._store.bad_frames:
            return
        before, after = (
            set(zip(table["label"], table["split"], strict=True)) for table in (self.full_table, self.table)
        )
        for label, split in sorted(before - after):
            raise ValueError(
                f"All crops of the class {label!r} in {split} are in bad frames, the first being:"
                f" {next(iter(self._store.bad_frames.values()))}"
            )

    @override
    def train_dataloader(self) -> DataLoader[Any]:
        """Returns the loader of training crops, whose batches `on_after_batch_transfer` turns into `Batch`.

        The known crops come by each turn, then the clutter, upright.
        """
        upright, clutter = self.training_rows(), self.clutter_rows()
        turns = np.arange(self.turned_classes).repeat(len(upright))
        known = np.tile(upright, self.turned_classes)
        classes = self.labels[known] + self.num_classes * turns
        labels = np.concatenate([classes, np.full(len(clutter), CLUTTER)])
        rows = np.concatenate([known, clutter])
        crops = CropDataset(self._crops(), rows, labels, self.options, self._side_inputs)
        turns = np.concatenate([turns, np.zeros_like(clutter)])
        sampler = self._planned_sampler(classes)
        if self.has_clutter:
            sampler = ClutterBatchSampler(sampler, len(known), self.labels[clutter], self.clutter_crops)
        sampler.repeats = getattr(self.trainer, "overfit_batches", 0) > 0
        return TrainingLoader(
            TrainingCrops(crops, self.augmentation, self.seed, turns),
            sampler,
            num_workers=self.num_workers,
            pin_memory=self._pin_memory,
            progress=self._progress,
        )

    @override
    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader for each of the evaluation sets; those without classes have length 0."""
        return self._evaluation_loaders("val")

    @override
    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader for each of the evaluation sets; those without classes have length 0."""
        return self._evaluation_loaders("test")

    def _evaluation_loaders(self, split: Literal["val", "test"]) -> list[DataLoader[Batch]]:
        loaders = {name: self.evaluation_loader(name, split) for name in self._evaluation_sets()}
        if self.trainer is not None and not is_trial(self.trainer):
            option = f"limit_{split}_batches"
            limit = getattr(self.trainer, option)
            refuse_parts({name: len(each) for name, each in loaders.items()}, option, limit)
        return list(loaders.values())

    def _evaluation_sets(self) -> tuple[EvaluationSet, ...]:
        """Names of the sets, without calibration where there is no such split or a model is being trained."""
        if len(self.split_by or self.split_fractions) == len(SPLITS) and not self._is_fitting:
            return SETS
        return EVALUATION_SETS

    @override
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments a training batch on its device; leaves any other as it is."""
        return self.augment(batch) if isinstance(batch, TrainingBatch) else batch

    # Parts of the above, also for use without a trainer

    def augment(self, batch: TrainingBatch) -> Batch:
        """Turns what the training loader yields into the batch (B, 1, S, S) that a module sees."""
        if self._sheet.device != batch.patches.device:
            self._sheet = self._sheet.to(batch.patches.device)
        images = augment(batch.patches, batch.parameters, self.options.crop_size, self._sheet)
        return Batch(images, batch.labels, batch.index, batch.side)

    def rows(self, role: str, split: str) -> NDArray[np.int64]:
        """Rows of the table with that role in that split, ascending."""
        chosen = (self.table["role"] == role) & (self.table["split"] == split)
        return np.flatnonzero(chosen.to_numpy()).astype(np.int64)

    def training_rows(self) -> NDArray[np.int64]:
        """Rows of the known crops to train on, ascending: at most `train_per_class` of each class."""
        return self._rows_to_train("known")

    def clutter_rows(self) -> NDArray[np.int64]:
        """Rows of the clutter to train on, ascending: at most `train_per_class` of each class."""
        return self._rows_to_train("clutter")

    def _rows_to_train(self, role: str) -> NDArray[np.int64]:
        rows = self.rows(role, "train")
        return rows[capped_rows(rows, self.labels[rows], self.train_per_class, self.seed)]

    def training_side_inputs(self) -> Tensor:
        """Side inputs (N, n) of the known crops to train on, as they are."""
        return torch.from_numpy(self._side_inputs[self.training_rows()])

    def evaluation_crops(self, name: EvaluationSet, split: Literal["val", "test"]) -> CropDataset:
        """Returns a whole evaluation set, unsharded; `reference` and `calibration` are the same for both splits."""
        if name == "reference":
            rows = self.training_rows()
            rows = rows[capped_rows(rows, self.labels[rows], self.reference_per_class, self.split_seed)]
        elif name == "calibration":
            rows = self.rows("known", "calibration")
        else:
            rows = self.rows(name, split)
        return self._dataset(rows)

    def _dataset(self, rows: NDArray[np.int64]) -> CropDataset:
        return CropDataset(self._crops(), rows, self.labels[rows], self.options, self._side_inputs)

    @cached_property
    def _side_inputs(self) -> NDArray[np.float32]:
        """Side inputs of every row of the table, (N, n)."""
        boxes = self.full_table[BOX_COLUMNS].to_numpy(np.float64)
        gsd = self.full_table[COLUMN].to_numpy(np.float64) if self.options.needs_gsd else None
        return side_inputs(boxes, self._crops().statistics, self.options.side_inputs, gsd)

    def evaluation_loader(self, name: EvaluationSet, split: Literal["val", "test"]) -> DataLoader[Batch]:
        """Returns the loader of this rank's share of an evaluation set."""
        return evaluation_loader(
            self.evaluation_crops(name, split),
            self.eval_batch_size,
            rank=self._rank,
            world_size=self._world_size,
            num_workers=self.num_workers,
            pin_memory=self._pin_memory,
        )

    def _planned_sampler(self, labels: NDArray[np.int64]) -> PlannedBatchSampler:
        ranks = {"seed": self.seed, "rank": self._rank, "world_size": self._world_size}
        if self.sampler == "shuffled":
            size = self.classes_in_batch * self.samples_per_class
            return ShuffledBatchSampler(len(labels), size, batches_per_epoch=self.batches_per_epoch, **ranks)
        return PKBatchSampler(
            np.asarray(turned_names(self.known_class_names, self.turned_classes))[labels],
            self.classes_in_batch,
            self.samples_per_class,
            batches_per_epoch=self.batches_per_epoch,
            **ranks,
        )

    def _progress(self) -> tuple[int, float] | None:
        """Number of batches of this epoch that the trainer has processed (workers read ahead), and that it takes."""
        if self.trainer is None:
            return None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return cast(_ProcessedTracker, progress).processed, self.trainer.num_training_batches

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    @property
    def _is_fitting(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == "fit"

    @property
    def _pin_memory(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


def _accept_own_loaders() -> None:
    """Silences warnings of Lightning that are not true of these loaders."""
    # crops come out of a memory map in microseconds, so reading in the training process is no bottleneck
    warnings.filterwarnings("ignore", r"The '\w+_dataloader' does not have many workers")
    # a set without classes (say, no novel ones) is meant to be empty
    warnings.filterwarnings("ignore", r"Total length of `DataLoader` across ranks is zero")
    # Trainer.predict cannot know it, but every crop is in a batch
    warnings.filterwarnings("ignore", r"You are using a custom batch sampler `ShardBatchSampler` for prediction")


__all__ = ["ThermalWaterfowlDataModule"]
