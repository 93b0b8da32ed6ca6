"""Every metric as a pure function."""

from dml_lightning.metrics.classification import balanced_accuracy, knn_labels, nearest_prototype_labels
from dml_lightning.metrics.distances import (
    AnchorDistances,
    DistanceSummary,
    GapSummary,
    anchor_distances,
    class_distance_table,
    distance_summary,
    gap_summary,
    summarise_distances,
    summarise_gaps,
)
from dml_lightning.metrics.ood import (
    OODMetrics,
    aupr,
    auroc,
    best_threshold,
    detection_accuracy,
    fpr_at_tpr,
    ood_metrics,
)
from dml_lightning.metrics.retrieval import (
    QueryRanks,
    RetrievalSummary,
    map_at_r,
    query_ranks,
    r_precision,
    recall_at_k,
    retrieval_summary,
    summarise_retrieval,
)
from dml_lightning.pairs.neighbours import Neighbours, nearest_neighbours

__all__ = [
    "AnchorDistances",
    "DistanceSummary",
    "GapSummary",
    "Neighbours",
    "OODMetrics",
    "QueryRanks",
    "RetrievalSummary",
    "anchor_distances",
    "aupr",
    "auroc",
    "balanced_accuracy",
    "best_threshold",
    "class_distance_table",
    "detection_accuracy",
    "distance_summary",
    "fpr_at_tpr",
    "gap_summary",
    "knn_labels",
    "map_at_r",
    "nearest_neighbours",
    "nearest_prototype_labels",
    "ood_metrics",
    "query_ranks",
    "r_precision",
    "recall_at_k",
    "retrieval_summary",
    "summarise_distances",
    "summarise_gaps",
    "summarise_retrieval",
]
