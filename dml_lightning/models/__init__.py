"""Encoders of crops, and the two arms that train them: softmax classification and metric learning."""

from dml_lightning.models.base import EmbeddingModule
from dml_lightning.models.encoder import Encoder, RawPixels
from dml_lightning.models.softmax import SoftmaxModule
from dml_lightning.models.sync import GlobalBatchNorm
from dml_lightning.models.triplet import TripletModule

__all__ = ["EmbeddingModule", "Encoder", "GlobalBatchNorm", "RawPixels", "SoftmaxModule", "TripletModule"]
