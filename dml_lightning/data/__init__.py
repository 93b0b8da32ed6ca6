"""Frames and boxes become crops, crops become batches."""

from dml_lightning.data.datamodule import ThermalWaterfowlDataModule
from dml_lightning.data.samplers import PKBatchSampler

__all__ = ["PKBatchSampler", "ThermalWaterfowlDataModule"]
