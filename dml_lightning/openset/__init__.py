"""Embeddings to decisions: detectors, thresholds with a guarantee, and the conditions they rest on."""

from typing import TYPE_CHECKING

from dml_lightning.lazy import lazy

if TYPE_CHECKING:
    from dml_lightning.openset.assumptions import AssumptionReport, assumption_report
    from dml_lightning.openset.conformal import (
        ClassThresholds,
        class_thresholds,
        one_per_group,
        p_values,
        refusal_rates,
        samples_needed,
    )
    from dml_lightning.openset.detector import Decision, Detector
    from dml_lightning.openset.knn import KNNDetector
    from dml_lightning.openset.logits import (
        EnergyDetector,
        LogitDetector,
        MaxLogitDetector,
        MaxSoftmaxDetector,
        RejectDetector,
        ViMDetector,
    )
    from dml_lightning.openset.mahalanobis import MahalanobisDetector, RelativeMahalanobisDetector
    from dml_lightning.openset.prototypes import Prediction, PrototypeDetector
    from dml_lightning.openset.thresholds import Threshold, choose_threshold, conformal_threshold, validated_threshold
    from dml_lightning.openset.weighted import shift_weights, weighted_p_values, weighted_thresholds

__all__ = [
    "AssumptionReport",
    "ClassThresholds",
    "Decision",
    "Detector",
    "EnergyDetector",
    "KNNDetector",
    "LogitDetector",
    "MahalanobisDetector",
    "MaxLogitDetector",
    "MaxSoftmaxDetector",
    "Prediction",
    "PrototypeDetector",
    "RejectDetector",
    "RelativeMahalanobisDetector",
    "Threshold",
    "ViMDetector",
    "assumption_report",
    "choose_threshold",
    "class_thresholds",
    "conformal_threshold",
    "one_per_group",
    "p_values",
    "refusal_rates",
    "samples_needed",
    "shift_weights",
    "validated_threshold",
    "weighted_p_values",
    "weighted_thresholds",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "assumptions": ["AssumptionReport", "assumption_report"],
        "conformal": [
            "ClassThresholds",
            "class_thresholds",
            "one_per_group",
            "p_values",
            "refusal_rates",
            "samples_needed",
        ],
        "detector": ["Decision", "Detector"],
        "knn": ["KNNDetector"],
        "logits": [
            "EnergyDetector",
            "LogitDetector",
            "MaxLogitDetector",
            "MaxSoftmaxDetector",
            "RejectDetector",
            "ViMDetector",
        ],
        "mahalanobis": ["MahalanobisDetector", "RelativeMahalanobisDetector"],
        "prototypes": ["Prediction", "PrototypeDetector"],
        "thresholds": ["Threshold", "choose_threshold", "conformal_threshold", "validated_threshold"],
        "weighted": ["shift_weights", "weighted_p_values", "weighted_thresholds"],
    },
)
