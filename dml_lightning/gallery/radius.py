"""How far crops of a class lie from its prototype, when only a few crops of it are there.

The largest of k distances says little for small k: in 128 dimensions it leaves out nearly every fresh crop of the
class at k = 5. So the spread of a new class is shrunk towards that of the known classes, which held-out crops
measure.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.pairs.blocks import Vectors, as_vectors, to_numpy

STRENGTH = 5.0  # crops that the known classes' spread counts as
QUANTILE = 0.95  # share of a class's fresh crops that its radius should hold


@dataclass(frozen=True)
class RadiusPrior:
    """What held-out crops of the known classes say about the spread of a class."""

    variance: float  # mean over classes of the mean squared distance to the class's prototype
    ratio: float  # the QUANTILE of the distances, in units of their class's root mean square
    strength: float = STRENGTH

    @staticmethod
    def fit(detector: PrototypeDetector, embeddings: Vectors, labels: Vectors) -> "RadiusPrior":
        """Measures the spread on held-out crops.

        Args:
            detector: Fitted on the reference crops of the same classes.
            embeddings: (N, D) crops that it has not seen.
            labels: (N,) their classes.

        Raises:
            ValueError: If there is no crop, or a label has no prototype.
        """
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
        """The radius of a class of which only the crops `vectors` (k, D) are known.

        A fresh crop lies sigma² (1 + 1/k) from the mean of k crops, in squared distance and on average; sigma² is
        estimated from the k crops with k - 1 degrees of freedom, and from the known classes with `strength`.
        """
        crops = np.asarray(vectors, dtype=np.float64)
        freedom = len(crops) - 1
        squares = float(((crops - crops.mean(axis=0)) ** 2).sum())
        variance = (squares + self.strength * self.variance) / (freedom + self.strength)
        return float(self.ratio * np.sqrt(variance * (1 + 1 / len(crops))))
