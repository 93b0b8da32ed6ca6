"""Base classes of the callbacks that evaluate the gathered embeddings of an epoch."""

from abc import abstractmethod
from collections.abc import Mapping

import lightning as L
from torch import Tensor
from typing_extensions import override

from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.models import EmbeddingModule


class EvaluationCallback(L.Callback):
    """Base of callbacks that read the gathered embeddings at the end of a validation or test epoch.

    Every rank holds the same embeddings and computes the same numbers, so values are logged without a reduction. The
    sanity check is skipped.

    Raises:
        ValueError: As the trainer starts, if the module is not an EmbeddingModule.
    """

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        check_module(self, pl_module)

    @abstractmethod
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        """Evaluates what `module.embeddings()` returns.

        Args:
            trainer: Trainer in use.
            module: Module whose embeddings have been gathered.
            stage: `val` or `test`.
        """

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._run(trainer, pl_module, "val")

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._run(trainer, pl_module, "test")

    def _run(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if trainer.sanity_checking:
            return
        assert isinstance(module, EmbeddingModule)
        self.evaluate(trainer, module, stage)

    def log_values(self, module: L.LightningModule, stage: str, values: Mapping[str, float | Tensor]) -> None:
        """Logs values that are equal on all ranks, each as `stage/name`."""
        module.log_dict(
            {f"{stage}/{name}": float(value) for name, value in values.items()},
            sync_dist=True,  # the mean of equal numbers; Lightning warns without it
        )


def check_module(callback: L.Callback, module: L.LightningModule) -> None:
    """Refuse a module that does not embed.

    Raises:
        ValueError: If it is not an EmbeddingModule.
    """
    if not isinstance(module, EmbeddingModule):
        raise ValueError(
            f"{type(callback).__name__} observes an EmbeddingModule, not {type(module).__name__}: derive the module "
            "from dml_lightning.models.EmbeddingModule (an encoder and compute_loss), or leave this callback out."
        )


class Measurement(EvaluationCallback):
    """Base of callbacks that log the values of a pure function of the gathered embeddings."""

    @abstractmethod
    def compute(self, evidence: Evidence) -> dict[str, float]:
        """Computes the values to log.

        It is called on every rank with the same evidence, so that the ranks can share the work, or in a single process
        with the evidence that `read_evidence` returns.

        Args:
            evidence: Embeddings of the split, with class names and flights.

        Returns:
            Values by their name in the log, without the stage.
        """

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        self.log_values(module, stage, self.compute(evidence_of(trainer, module)))


def evidence_of(trainer: L.Trainer, module: EmbeddingModule) -> Evidence:
    """The gathered embeddings of this epoch, with class names, flights, prediction rule and linear head."""
    data, sets = data_of(trainer), module.embeddings()
    flights = data.groups
    return Evidence(
        sets=sets,
        class_names=data.class_names,
        num_classes=data.num_classes,
        groups={name: flights[part.index.cpu().numpy()] for name, part in sets.items()},
        far_ood=frozenset(data.far_ood),
        prediction_rule=module.prediction_rule,
        head=module.linear_head(),
        reject=module.reject_head(),
        other_groups=data.other_groups,
    )


def data_of(trainer: L.Trainer) -> ThermalWaterfowlDataModule:
    """The datamodule that the trainer uses.

    Raises:
        ValueError: If the trainer runs without a ThermalWaterfowlDataModule.
    """
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ThermalWaterfowlDataModule):
        raise ValueError(
            f"Class names, roles and flights come from a ThermalWaterfowlDataModule, not {type(data).__name__}; "
            "pass datamodule=... to the trainer."
        )
    return data
