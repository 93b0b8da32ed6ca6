"""Metrics of embeddings: distances, retrieval, classification and out-of-distribution (OOD) detection.

`dml_lightning.metrics.functional` holds pure functions. The same metrics as torchmetrics classes, for a LightningModule
or a MetricCollection, are imported from here, each on first use: the functions do not need torchmetrics.

>>> import torch
>>> from dml_lightning.metrics import OODFPR95
>>> metric = OODFPR95(positive="known")
>>> metric.update(scores=torch.tensor([0.1, 0.2, 0.3, 0.9]), known=torch.tensor([True, True, False, False]))
>>> float(metric.compute())
0.0
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dml_lightning.metrics.modular import (
        ActiveTripletFraction,
        InterIntraRatio,
        MAPAtR,
        RecallAtK,
        RetrievalMetrics,
        RPrecision,
    )
    from dml_lightning.metrics.modular_ood import OODAUROC, OODFPR95

__all__ = [
    "OODAUROC",
    "OODFPR95",
    "ActiveTripletFraction",
    "InterIntraRatio",
    "MAPAtR",
    "RPrecision",
    "RecallAtK",
    "RetrievalMetrics",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dml_lightning.metrics' has no attribute {name!r}")
    file = "modular_ood" if name.startswith("OOD") else "modular"
    return getattr(importlib.import_module(f"dml_lightning.metrics.{file}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
