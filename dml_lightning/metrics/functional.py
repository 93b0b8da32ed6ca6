"""Every metric as a pure function."""

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
    aupr,
    auroc,
    best_threshold,
    detection_accuracy,
    fpr_at_tpr,
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

__all__ = [
    "AnchorDistances",
    "DistanceSummary",
    "GapSummary",
    "QueryRanks",
    "RetrievalSummary",
    "anchor_distances",
    "aupr",
    "auroc",
    "best_threshold",
    "class_distance_table",
    "detection_accuracy",
    "distance_summary",
    "fpr_at_tpr",
    "gap_summary",
    "map_at_r",
    "query_ranks",
    "r_precision",
    "recall_at_k",
    "retrieval_summary",
    "summarise_distances",
    "summarise_gaps",
    "summarise_retrieval",
]
