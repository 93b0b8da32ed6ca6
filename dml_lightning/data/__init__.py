"""Data: reads frames and boxes, cuts crops, splits them by group and yields batches."""

from typing import TYPE_CHECKING

from dml_lightning.lazy import lazy

if TYPE_CHECKING:
    from dml_lightning.data.datamodule import ThermalWaterfowlDataModule
    from dml_lightning.data.samplers import PKBatchSampler

__all__ = ["PKBatchSampler", "ThermalWaterfowlDataModule"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "datamodule": ["ThermalWaterfowlDataModule"],
        "samplers": ["PKBatchSampler"],
    },
)
