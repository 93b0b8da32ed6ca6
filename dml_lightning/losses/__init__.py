"""Losses on embeddings and on logits; each returns a `LossOutput` of loss and triplet counts."""

from typing import TYPE_CHECKING

from dml_lightning.lazy import lazy

if TYPE_CHECKING:
    from dml_lightning.losses.base import ClassificationLoss, EmbeddingLoss
    from dml_lightning.losses.classification import (
        BinaryCrossEntropyLoss,
        CrossEntropyLoss,
        FocalLoss,
        MetricCrossEntropyLoss,
    )
    from dml_lightning.losses.contrastive import ContrastiveLoss, NPairLoss
    from dml_lightning.losses.pml import MultiSimilarityLoss, PMLLoss
    from dml_lightning.losses.triplet import TripletLoss

__all__ = [
    "BinaryCrossEntropyLoss",
    "ClassificationLoss",
    "ContrastiveLoss",
    "CrossEntropyLoss",
    "EmbeddingLoss",
    "FocalLoss",
    "MetricCrossEntropyLoss",
    "MultiSimilarityLoss",
    "NPairLoss",
    "PMLLoss",
    "TripletLoss",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "base": ["ClassificationLoss", "EmbeddingLoss"],
        "classification": ["BinaryCrossEntropyLoss", "CrossEntropyLoss", "FocalLoss", "MetricCrossEntropyLoss"],
        "contrastive": ["ContrastiveLoss", "NPairLoss"],
        "pml": ["MultiSimilarityLoss", "PMLLoss"],
        "triplet": ["TripletLoss"],
    },
)
