"""Base class of both arms: encoding, optimisation, and embeddings of the evaluation sets gathered over ranks."""

import math
import os
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.modules.module import _IncompatibleKeys
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from dml_lightning.data.loaders import put_loader_back
from dml_lightning.distributed import gather, without_copies
from dml_lightning.models.checkpoints import MODEL, load_module, model_section
from dml_lightning.models.encoder import Encoder
from dml_lightning.models.frozen import FeatureCache
from dml_lightning.models.layers import scale_rates, split_by_layer
from dml_lightning.models.moments import like_parameters
from dml_lightning.models.network import Network
from dml_lightning.models.schedule import check_rates, fit_steps, lr_factor
from dml_lightning.models.sharding import shard
from dml_lightning.models.sync import refuse_lost_activations
from dml_lightning.pairs.blocks import wide
from dml_lightning.types import (
    SETS,
    Batch,
    Embeddings,
    Encoded,
    EvaluationSet,
    LossOutput,
    PredictionRule,
    is_clutter,
)


class EmbeddingModule(Network, L.LightningModule, ABC):
    """An encoder trained by some loss and evaluated by its embeddings.

    Validation and test run over the loaders named in `types.SETS`; callbacks read the embeddings from
    `embeddings()`, which gathers over ranks once an epoch. Mixed precision concerns the encoder in training alone:
    losses, evaluation and predictions are computed in float32.

    Args:
        encoder: Encoder of crops (B, 1, S, S) to embeddings (B, D).
        optimizer: Function that makes the optimizer from parameters or parameter groups.
        num_classes: Number C of known classes.
        schedule: Course of the learning rate from step to step: `cosine` falls to 0 at the last step.
        warmup: Share of all steps in which the learning rate rises linearly from 0, in [0, 1).
        layer_decay: Factor in (0, 1) by which the learning rate falls from each layer of the backbone to the one before
            it, by timm's layers; the projection keeps the whole rate. None gives all layers the same.
        scheduler: Function that makes a scheduler from the optimizer, instead of `schedule` and `warmup`; stepped
            once an epoch.
        compile: Whether `torch.compile` compiles the encoder, if it finds its compiler; else it warns.
        channels_last: Whether convolutions keep their weights and maps with channels as the fastest
            dimension, which tensor cores prefer. The numbers change by rounding only. Sharded weights have no choice.
        turned_classes: Number of training classes for each known one; filled in from the data by the command line.
        clutter: Whether training batches hold clutter, labelled `CLUTTER`; filled in from the data by the command line.

    Raises:
        ValueError: If `encoder` or `optimizer` is something else, `schedule` is unknown, `warmup` or `layer_decay` out
            of range, or the backbone frozen that `layer_decay` is for.
    """

    prediction_rule: PredictionRule  # the arm's own way of naming a class

    def __init__(
        self,
        encoder: Encoder,
        optimizer: OptimizerCallable,
        num_classes: int,
        schedule: Literal["cosine", "constant"] = "cosine",
        warmup: float = 0.05,
        layer_decay: float | None = None,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
        channels_last: bool = False,
        turned_classes: int = 1,
        clutter: bool = False,
    ) -> None:
        if not isinstance(encoder, Encoder):
            raise ValueError(
                f"encoder is a {type(encoder).__name__}; give an Encoder: a network of your own goes into a class that "
                "derives from it (docs/extending.md)."
            )
        if not callable(optimizer):
            raise ValueError(
                f"optimizer is a {type(optimizer).__name__}; give the function that makes it from parameters, such as "
                "torch.optim.AdamW or functools.partial(torch.optim.AdamW, lr=0.001)."
            )
        super().__init__(encoder, num_classes, turned_classes, clutter, channels_last)
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup is a share of all steps, 0 <= warmup < 1, got {warmup}.")
        if schedule not in ("cosine", "constant"):
            raise ValueError(f"schedule is {schedule!r}; use 'cosine' or 'constant', or a scheduler.")
        if layer_decay is not None and (encoder.freeze or not 0 < layer_decay < 1):
            raise ValueError(
                f"layer_decay lies between 0 and 1 and is for a backbone that learns, got {layer_decay}"
                f"{' and a frozen one' if encoder.freeze else ''}; leave it out for one rate."
            )
        self._optimizer, self._scheduler = optimizer, scheduler
        self._schedule, self._warmup, self.layer_decay = schedule, warmup, layer_decay
        self._features, self._same_crops = FeatureCache(), False
        self.configured: Mapping[str, Any] = {}  # arguments in the words of the config, set by the command line
        self._rows: dict[EvaluationSet, list[dict[str, Tensor]]] = {}
        self._gathered: dict[EvaluationSet, Embeddings] | None = None
        if compile and has_compiler():
            self.encoder.compile()

    @abstractmethod
    def compute_loss(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Training loss of embeddings (B, D) with labels (B,)."""

    @property
    def separated(self) -> int:
        """Number of kinds of crops that a loss keeps apart: the training classes, and clutter if there is some."""
        return self.training_classes + self.clutter

    def diagnostics(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Further scalars of a training batch for the log, by name; by default none."""
        return {}

    def _embed(self, batch: Batch, same_crops: bool) -> Encoded:
        """Embeddings and features of a batch; those of a frozen backbone are kept where an index means the same pixels.

        Sharded parameters are gathered by all ranks together, so there every rank computes all of its features.
        """
        if not (self.encoder.freeze and same_crops and self.device_mesh is None):
            return self(batch.images, batch.side, with_features=True)  # type: ignore[no-any-return]
        compute = partial(self._sized, self.encoder.features)
        with self._float32():  # evaluation reads the same features
            features = self._features(batch.images, batch.index, compute)
        return self.encoder.encoded(features, batch.side)

    def _float32(self) -> torch.autocast:
        """Context without mixed precision, which is for the encoder's training alone.

        Losses need the digits. And galleries, their thresholds and predictions have to come from the same numbers.
        """
        return torch.autocast(self.device.type, enabled=False)

    @override
    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Take weights.

        Raises:
            ValueError: If they are of another module.
        """
        self._features.clear()
        return super().load_state_dict(state_dict, strict, assign)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        section = model_section(self, self.configured)
        if section is not None:
            checkpoint[MODEL] = section

    @override
    @classmethod
    def load_from_checkpoint(  # type: ignore[override] # of a path, and without a file of hyper-parameters
        cls,
        checkpoint_path: str | Path,
        map_location: Any = None,
        *,
        strict: bool | None = None,
        weights_only: bool | None = None,
        trust: Collection[str] = (),
        **given: Any,
    ) -> Self:
        """Make the module of a checkpoint again, with its weights; nothing that the file holds is run.

        The checkpoint holds plain values alone, and classes by their names: this package's, and those of libraries that
        `dml_lightning.trust` lists. What has no plain form, such as a loss object of your own, must be given again.

        Args:
            checkpoint_path: A checkpoint of a fit, by the command line or by a plain trainer.
            map_location: Device of the weights, see `torch.load`; the CPU if not given.
            strict: Whether all weights must fit; they must if not given.
            weights_only: Not used: only plain values are ever read.
            trust: Further modules whose classes the checkpoint may name.
            **given: Arguments of the class that take the place of saved ones.

        Raises:
            ValueError: If the file is no checkpoint, is of another class, names one that is not listed, or lacks an
                argument.

        Example:
            `TripletModule.load_from_checkpoint("best.ckpt", loss=MyLoss())`
        """
        module, weights = load_module(cls, Path(checkpoint_path), map_location or "cpu", trust, given)
        module.load_state_dict(weights, strict=strict is not False)
        assert isinstance(module, cls)
        return module

    @override
    def setup(self, stage: str) -> None:
        self._features.clear()  # the data may be others
        side_inputs = getattr(getattr(self.trainer, "datamodule", None), "training_side_inputs", None)
        if self.encoder.side_inputs and side_inputs is not None:
            self.encoder.side.standardise(side_inputs())  # a checkpoint, which is read later, has its own

    @override
    def configure_model(self) -> None:
        if self.device_mesh is not None:  # only ModelParallelStrategy has one
            self.to(memory_format=torch.contiguous_format)  # FSDP2 shards no other
            shard(self, self.device_mesh["data_parallel"])

    @override
    def on_fit_start(self) -> None:
        if self.encoder.freeze_batch_norm:  # what is frozen is meant to be in evaluation mode
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode at the start of training")
        refuse_lost_activations(self)
        data = getattr(self._trainer, "datamodule", None)
        turned = getattr(data, "turned_classes", self.turned_classes)
        if turned != self.turned_classes:
            raise ValueError(
                f"the model was made for turned_classes {self.turned_classes}, and the data have {turned}: give both "
                "the same."
            )
        if self.num_classes < 2:
            raise ValueError(
                f"a fit needs at least 2 known classes to tell apart, got {self.num_classes}; "
                "`dml test --ckpt_path none` evaluates an encoder as initialised."
            )
        classes = getattr(data, "num_classes", None)  # other people's data may have a method of that name
        if isinstance(classes, int) and classes != self.num_classes:
            raise ValueError(
                f"the model was made for num_classes {self.num_classes}, and the data have {classes} known classes: "
                "give it num_classes=data.num_classes."
            )
        given = getattr(data, "has_clutter", self.clutter)
        if given != self.clutter:
            raise ValueError(
                f"the model was made with clutter={self.clutter}, and ood_train of the data "
                f"{'names' if given else 'names no'} classes: give both or neither."
            )

    @override
    def on_train_start(self) -> None:
        self._same_crops = getattr(self.trainer.datamodule, "same_crops", False)  # type: ignore[attr-defined]
        put_loader_back(self.trainer)  # `configure_optimizers` made Lightning build it too early

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        _check_batch(batch)
        if batch_idx == 0 or batch.labels.device.type == "cpu":  # a GPU would be waited for
            self._check_labels(batch.labels)
        embeddings = wide(self._embed(batch, self._same_crops).vectors)
        with self._float32():
            loss, counts = self.compute_loss(embeddings, batch.labels)
            diagnostics = self.diagnostics(embeddings.detach(), batch.labels)
        self.log("train/loss", loss, on_step=True, on_epoch=False, prog_bar=True)
        for name, value in diagnostics.items():
            self.log(f"train/{name}", value, on_step=True, on_epoch=False)
        return {"loss": loss, "embeddings": embeddings, "labels": batch.labels, "counts": counts}

    def _check_labels(self, labels: Tensor) -> None:
        """Refuse labels (B,) of a training batch that the module has no class for."""
        strange = labels[((labels < 0) | (labels >= self.training_classes)) & ~is_clutter(labels)]
        if len(strange):
            raise ValueError(
                f"a training batch has the label {int(strange[0])}, and the model was made for num_classes "
                f"{self.num_classes}, that is for labels 0 to {self.training_classes - 1}."
            )

    # Evaluation --------------------------------------------------------------------------------

    def _evaluation_step(self, batch: Batch, dataloader_idx: int) -> None:
        _check_batch(batch)
        with self._float32():
            vectors, features = self._embed(batch, same_crops=True)
            logits = self.compute_logits(vectors)
        row = {"vectors": vectors.float(), "labels": batch.labels, "index": batch.index, "features": features.float()}
        if logits is not None:
            row["logits"] = logits.float()
        self._rows[SETS[dataloader_idx]].append(row)

    @override
    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluation_step(batch, dataloader_idx)

    @override
    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluation_step(batch, dataloader_idx)

    @override
    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Embeddings:
        _check_batch(batch)
        return self.embed(batch)

    @override
    def on_validation_epoch_start(self) -> None:
        self._rows = {name: [] for name in SETS}
        self._gathered = None

    @override
    def on_test_epoch_start(self) -> None:
        self.on_validation_epoch_start()

    def embeddings(self) -> dict[EvaluationSet, Embeddings]:
        """Embeddings of the evaluation sets of this epoch: gathered over ranks, without copies, ordered by index.

        Call it on every rank: it is a collective on its first call in an epoch.

        Raises:
            RuntimeError: If no evaluation epoch has run.
        """
        if self._gathered is None:
            if not self._rows:
                raise RuntimeError("embeddings() is there after a validation or test epoch, and none has run.")
            self._gathered = {name: self._gather(rows) for name, rows in self._rows.items()}
            self._rows = {name: [] for name in SETS}
        return self._gathered

    def _gather(self, rows: list[dict[str, Tensor]]) -> Embeddings:
        if not rows:  # a set without classes has no batches on any rank
            return Embeddings(
                torch.empty(0, self.encoder.embedding_dim, device=self.device),
                *(torch.empty(0, dtype=torch.int64, device=self.device) for _ in range(2)),
            )
        columns = {key: gather(torch.cat([row[key] for row in rows])) for key in rows[0]}
        kept = without_copies(columns["index"])
        return Embeddings(**{key: column[kept] for key, column in columns.items()})

    # Optimisation ------------------------------------------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of the parameters that learn, for the optimizer."""
        return [{"params": [each for each in self.parameters() if each.requires_grad]}]

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        if not any(each.requires_grad for each in self.parameters()):
            raise ValueError(
                f"{type(self).__name__} with the encoder {type(self.encoder).__name__} has nothing to train: evaluate "
                "it as it is, by dml test --ckpt_path none."
            )
        groups = self.parameter_groups()
        if self.layer_decay is not None:
            groups = split_by_layer(groups, self.encoder.backbone, self.layer_decay)
        optimizer = self._optimizer(groups)
        optimizer.register_load_state_dict_post_hook(like_parameters)
        scale_rates(optimizer)
        check_rates(optimizer)
        if self._scheduler is not None:
            return {"optimizer": optimizer, "lr_scheduler": self._scheduler(optimizer)}
        steps = fit_steps(self.trainer)
        if math.isinf(steps):
            raise ValueError(
                f"schedule: {self._schedule} needs the number of steps, and the trainer has no end: give it max_epochs "
                "or max_steps beside max_time, or this module a scheduler."
            )
        factor = lr_factor(self._schedule, self._warmup, int(steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


def _check_batch(batch: Any) -> None:
    """Refuse what another datamodule yields.

    Raises:
        ValueError: If it is not a `Batch`.
    """
    if not isinstance(batch, Batch):
        raise ValueError(
            f"a batch came as {type(batch).__name__}: give the trainer a ThermalWaterfowlDataModule as datamodule=..., "
            "which augments crops on the device, or have your loader yield dml_lightning.types.Batch(images "
            "(B, 1, S, S) float32, labels (B,) int64, index (B,) int64 that tells crops apart, side (B, 0) float32)."
        )


def has_compiler() -> bool:
    """Whether `torch.compile` finds the compiler that it calls; warns if it does not, and the encoder runs uncompiled.

    On a processor this is a C++ compiler, that of the variable CXX or the system's; with a GPU a C compiler, or CC.
    """
    variable, names = ("CC", ("gcc", "clang")) if torch.cuda.is_available() else ("CXX", ("g++", "clang++"))
    if any(map(shutil.which, filter(None, (os.environ.get(variable), *names)))):
        return True
    rank_zero_warn(
        f"compile: true needs a compiler, and there is none ({' or '.join(names)}, or the one that {variable} names): "
        "the encoder runs uncompiled, slower and with the same numbers up to rounding."
    )
    return False
