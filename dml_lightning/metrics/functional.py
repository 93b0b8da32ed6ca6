"""The metrics that most users need, as pure functions of embeddings or scores; no torchmetrics is imported.

>>> import torch
>>> from dml_lightning.metrics.functional import recall_at_k
>>> recall_at_k(torch.tensor([[0.0], [0.1], [5.0], [5.2]]), torch.tensor([0, 0, 1, 1]), k=1)
1.0
"""

from typing import Any

from dml_lightning.metrics.distances import DistanceSummary, distance_summary
from dml_lightning.metrics.ood import auroc, fpr_at_tpr
from dml_lightning.metrics.retrieval import map_at_r, recall_at_k
from dml_lightning.renamed import moved_name

__all__ = ["DistanceSummary", "auroc", "distance_summary", "fpr_at_tpr", "map_at_r", "recall_at_k"]

_OTHERS = ("classification", "distances", "ood", "ranks", "retrieval")  # their names were exported here, too


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name, (*(f"metrics.{module}" for module in _OTHERS), "pairs.neighbours"))
