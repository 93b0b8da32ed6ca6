"""Encoders of crops, and the two arms that train them: softmax classification and metric learning."""

from typing import TYPE_CHECKING

from dml_lightning.lazy import lazy

if TYPE_CHECKING:
    from dml_lightning.models.base import EmbeddingModule
    from dml_lightning.models.encoder import Encoder, RawPixels
    from dml_lightning.models.softmax import SoftmaxModule
    from dml_lightning.models.sync import GlobalBatchNorm
    from dml_lightning.models.triplet import TripletModule

__all__ = ["EmbeddingModule", "Encoder", "GlobalBatchNorm", "RawPixels", "SoftmaxModule", "TripletModule"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "base": ["EmbeddingModule"],
        "encoder": ["Encoder", "RawPixels"],
        "softmax": ["SoftmaxModule"],
        "sync": ["GlobalBatchNorm"],
        "triplet": ["TripletModule"],
    },
)
