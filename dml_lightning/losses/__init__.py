"""Embeddings or logits -> loss and counts."""

from dml_lightning.losses.base import ClassificationLoss, EmbeddingLoss
from dml_lightning.losses.classification import CrossEntropyLoss
from dml_lightning.losses.pml import PMLLoss
from dml_lightning.losses.triplet import TripletLoss

__all__ = ["ClassificationLoss", "CrossEntropyLoss", "EmbeddingLoss", "PMLLoss", "TripletLoss"]
