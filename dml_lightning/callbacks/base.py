"""The one hook that every evaluation callback needs."""

from abc import abstractmethod
from collections.abc import Mapping

import lightning as L
from torch import Tensor
from typing_extensions import override

from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.models import EmbeddingModule


class EvaluationCallback(L.Callback):
    """Observes the gathered embeddings at the end of a validation or test epoch.

    Every rank holds the same embeddings and computes the same numbers, so values are logged as they are.
    """

    @abstractmethod
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        """Reads `module.embeddings()`; `stage` is `val` or `test`."""

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._run(trainer, pl_module, "val")

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._run(trainer, pl_module, "test")

    def _run(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if trainer.sanity_checking:
            return
        if not isinstance(module, EmbeddingModule):
            raise ValueError(
                f"{type(self).__name__} observes an EmbeddingModule, not {type(module).__name__}."
            )
        self.evaluate(trainer, module, stage)

    def log_values(
        self, module: L.LightningModule, stage: str, values: Mapping[str, float | Tensor]
    ) -> None:
        """Logs numbers that are equal on all ranks as `stage/name`."""
        module.log_dict(
            {f"{stage}/{name}": float(value) for name, value in values.items()},
            sync_dist=True,  # the mean of equal numbers; Lightning warns without it
        )


def data_of(trainer: L.Trainer) -> ThermalWaterfowlDataModule:
    """The datamodule in use.

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
