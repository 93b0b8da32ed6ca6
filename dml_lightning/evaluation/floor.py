"""The floor of the balanced accuracy on validation: raw pixels, which learn nothing."""

import torch

from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.loaders import CropDataset
from dml_lightning.metrics.classification import balanced_accuracy, nearest_prototype_labels
from dml_lightning.models.encoder import RawPixels
from dml_lightning.types import Embeddings


def raw_pixel_accuracy(data: ThermalWaterfowlDataModule) -> float:
    """Balanced accuracy of raw pixels on the validation split, by nearest prototype.

    It is what the arm `configs/model/raw_pixels.yaml` has there. Each process that calls it takes whole sets, so that
    one rank of several may call it alone.

    Args:
        data: Data whose crops have been cut.
    """
    known = _pixels(data.evaluation_crops("known", "val"))
    reference = _pixels(data.evaluation_crops("reference", "val"))
    predicted = nearest_prototype_labels(known.vectors, reference.vectors, reference.labels)
    return balanced_accuracy(known.labels, predicted)


@torch.inference_mode()
def _pixels(crops: CropDataset) -> Embeddings:
    images, labels, index, _ = crops.__getitems__(range(len(crops)))
    return Embeddings(RawPixels()(images), labels, index)
