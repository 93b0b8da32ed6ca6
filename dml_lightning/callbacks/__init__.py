"""Callbacks that log measurements and write result files; they observe and never change the weights."""

from dml_lightning.callbacks.active import ActiveTriplets
from dml_lightning.callbacks.measurements import (
    Accuracy,
    Assumptions,
    ClassResults,
    DistanceRatio,
    OODDetection,
    ProbabilityCalibration,
    Retrieval,
    Structure,
    Verification,
)
from dml_lightning.callbacks.state import TrainingState
from dml_lightning.callbacks.tracking import Tracking
from dml_lightning.callbacks.writer import RunWriter

__all__ = [
    "Accuracy",
    "ActiveTriplets",
    "Assumptions",
    "ClassResults",
    "DistanceRatio",
    "OODDetection",
    "ProbabilityCalibration",
    "Retrieval",
    "RunWriter",
    "Structure",
    "Tracking",
    "TrainingState",
    "Verification",
]
