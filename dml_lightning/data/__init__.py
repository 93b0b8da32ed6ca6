"""Data: reads frames and boxes, cuts crops, splits them by group and yields batches."""

from dml_lightning.data.datamodule import ThermalWaterfowlDataModule
from dml_lightning.data.samplers import PKBatchSampler

__all__ = ["PKBatchSampler", "ThermalWaterfowlDataModule"]
