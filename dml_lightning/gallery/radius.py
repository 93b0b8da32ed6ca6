"""Radius of a class of which only a few crops are known.

The largest of k distances is too small for small k: in 128 dimensions and at k = 5 it leaves out nearly every fresh
crop of the class. So the spread of a new class is shrunk towards that of the known classes, measured on held-out
crops.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml_lightning.pairs.arrays import Vectors, to_numpy

if TYPE_CHECKING:
    from dml_lightning.openset.prototypes import PrototypeDetector

STRENGTH = 5.0  # weight of the known classes' spread, in degrees of freedom
QUANTILE = 0.95  # share of a class's fresh crops that should lie within its radius


@dataclass(frozen=True)
class RadiusPrior:
    """Spread of the known classes, measured on held-out crops, as a prior for the radius of a new class.

    Example:
        >>> RadiusPrior(variance=4.0, ratio=2.0).radius(np.array([[1.0, 0.0]]))  # 2 sqrt(4 (1 + 1 / 1))
        5.656854249492381
    """

    variance: float  # mean over classes of the mean squared distance to the class's prototype
    ratio: float  # QUANTILE of the distances, each divided by the root mean square of its class
    strength: float = STRENGTH  # weight of `variance`, in degrees of freedom

    @staticmethod
    def fit(detector: "PrototypeDetector", embeddings: Vectors, labels: Vectors) -> "RadiusPrior":
        """Measure the spread on held-out crops.

        Args:
            detector: Detector fitted on reference crops of the same classes.
            embeddings: Embeddings (N, D) of crops that the detector has not seen.
            labels: Classes (N,) of the crops.

        Raises:
            ValueError: If there is no crop, or a label has no prototype.
        """
        from dml_lightning.pairs.blocks import as_vectors  # and PyTorch with it, which `radius` does without

        vectors = as_vectors(embeddings).cpu()
        if len(vectors) == 0:
            raise ValueError("the spread of the known classes needs held-out crops, got none.")
        columns = detector.columns(to_numpy(labels))
        own = to_numpy(detector.distances(vectors))[np.arange(len(columns)), columns]  # (N,)
        present, owner, sizes = np.unique(columns, return_inverse=True, return_counts=True)
        squares = np.bincount(owner, own**2, minlength=len(present)) / sizes  # (C,)
        units = own / np.sqrt(np.maximum(squares[owner], np.finfo(float).tiny))
        return RadiusPrior(float(squares.mean()), float(np.quantile(units, QUANTILE)))

    def radius(self, vectors: NDArray[Any]) -> float:
        """Radius of a class from the embeddings (k, D) of its k >= 1 known crops.

        The squared distance of a fresh crop to the mean of k crops is sigma² (1 + 1/k) on average. sigma² is
        estimated from the k crops with k - 1 degrees of freedom, and from the known classes with `strength`.
        """
        crops = np.asarray(vectors, dtype=np.float64)
        freedom = len(crops) - 1
        squares = float(((crops - crops.mean(axis=0)) ** 2).sum())
        variance = (squares + self.strength * self.variance) / (freedom + self.strength)
        return float(self.ratio * np.sqrt(variance * (1 + 1 / len(crops))))
