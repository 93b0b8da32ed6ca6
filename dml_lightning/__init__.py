"""Deep metric learning on thermal drone imagery of waterfowl.

The names that most users need are imported from here, each when it is first asked for:

>>> from dml_lightning import TripletLoss
>>> TripletLoss(margin=0.2).mining
'all'
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from dml_lightning.renamed import OldNames

if TYPE_CHECKING:
    from dml_lightning.callbacks import ActiveTriplets, DistanceRatio, OODDetection
    from dml_lightning.data import ThermalWaterfowlDataModule
    from dml_lightning.gallery.trained import TrainedRun
    from dml_lightning.losses import TripletLoss
    from dml_lightning.models import Encoder, SoftmaxModule, TripletModule

__version__ = "0.2.0.dev0"

_WHERE = {
    "ActiveTriplets": "dml_lightning.callbacks",
    "DistanceRatio": "dml_lightning.callbacks",
    "Encoder": "dml_lightning.models",
    "OODDetection": "dml_lightning.callbacks",
    "SoftmaxModule": "dml_lightning.models",
    "ThermalWaterfowlDataModule": "dml_lightning.data",
    "TrainedRun": "dml_lightning.gallery.trained",
    "TripletLoss": "dml_lightning.losses",
    "TripletModule": "dml_lightning.models",
}

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


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'dml_lightning' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
