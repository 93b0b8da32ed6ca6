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

from typing import TYPE_CHECKING

from dml_lightning.lazy import lazy

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

__getattr__, __dir__ = lazy(
    __name__,
    {
        "modular": [
            "ActiveTripletFraction",
            "InterIntraRatio",
            "MAPAtR",
            "RecallAtK",
            "RetrievalMetrics",
            "RPrecision",
        ],
        "modular_ood": ["OODAUROC", "OODFPR95"],
    },
)
