"""Deep metric learning on thermal drone imagery of waterfowl.

The names that most users need are imported from here, each when it is first asked for:

>>> from dml_lightning import TripletLoss
>>> TripletLoss(margin=0.2).mining
'all'
"""

import sys
from typing import TYPE_CHECKING

from dml_lightning.lazy import lazy
from dml_lightning.renamed import OldNames

if TYPE_CHECKING:
    from dml_lightning.callbacks import ActiveTriplets, DistanceRatio, OODDetection
    from dml_lightning.data import ThermalWaterfowlDataModule
    from dml_lightning.gallery.trained import TrainedRun
    from dml_lightning.losses import TripletLoss
    from dml_lightning.models import Encoder, SoftmaxModule, TripletModule

__version__ = "0.2.0.dev0"

__all__ = [
    "ActiveTriplets",
    "DistanceRatio",
    "Encoder",
    "OODDetection",
    "SoftmaxModule",
    "ThermalWaterfowlDataModule",
    "TrainedRun",
    "TripletLoss",
    "TripletModule",
    "__version__",
]

sys.meta_path.insert(0, OldNames())  # first: an empty folder of before would be found as a package

__getattr__, __dir__ = lazy(
    __name__,
    {
        "callbacks": ["ActiveTriplets", "DistanceRatio", "OODDetection"],
        "data": ["ThermalWaterfowlDataModule"],
        "gallery.trained": ["TrainedRun"],
        "losses": ["TripletLoss"],
        "models": ["Encoder", "SoftmaxModule", "TripletModule"],
    },
)
