"""Numbers to the log: callbacks observe, they never change training."""

from dml_lightning.callbacks.accuracy import Accuracy
from dml_lightning.callbacks.active import ActiveTriplets
from dml_lightning.callbacks.assumptions import Assumptions
from dml_lightning.callbacks.distances import DistanceRatio
from dml_lightning.callbacks.ood import OODDetection
from dml_lightning.callbacks.retrieval import Retrieval
from dml_lightning.callbacks.state import TrainingState
from dml_lightning.callbacks.structure import Structure
from dml_lightning.callbacks.tracking import Tracking
from dml_lightning.callbacks.writer import RunWriter

__all__ = [
    "Accuracy",
    "ActiveTriplets",
    "Assumptions",
    "DistanceRatio",
    "OODDetection",
    "Retrieval",
    "RunWriter",
    "Structure",
    "Tracking",
    "TrainingState",
]
