"""Mahalanobis detectors: distance of a sample to the classes, in units of the spread within them.

Sources: Lee, Lee, Lee and Shin, A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS
2018, equations 1 and 2; Ren et al., A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection, 2021,
equation 3; Mueller and Hein, Mahalanobis++, ICML 2025 (features of unit length first).

The papers invert the plain covariance, which fails for fewer samples than dimensions and for a dimension that is
constant in the reference. Here it is shrunk towards a multiple of the identity, after Ledoit and Wolf (2004), on
class-centred data, by scikit-learn. Everything is computed in float64.
"""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from dml_lightning.metrics.classification import class_means
from dml_lightning.openset.arrays import beside
from dml_lightning.openset.detector import Detector
from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors, check_widths

FLAT = 1e-6  # smallest variance relative to the mean one; shrinkage leaves more for up to 1e6 samples
SPREAD_ROUNDING = 1e-24  # smallest variance relative to the mean square; less is rounding


def whitening(vectors: Tensor, centred: Tensor) -> Tensor:
    """Matrix (D, D) that maps `centred` to rows whose shrunk covariance is the identity.

    Args:
        vectors: Samples (N, D) float64, for the scale of rounding errors.
        centred: The samples (N, D) minus the mean of their class.

    Example:
        >>> x = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
        >>> whitening(x, x)
        tensor([[0.5000]], dtype=torch.float64)
    """
    variances, directions = torch.linalg.eigh(_shrunk_covariance(centred))
    floor = max(FLAT * float(variances.mean()), SPREAD_ROUNDING * float(vectors.square().mean()))
    matrix: Tensor = directions / variances.clamp(min=floor or 1.0).sqrt()
    return matrix


def _shrunk_covariance(centred: Tensor) -> Tensor:
    """Ledoit and Wolf's covariance (D, D) of rows (N, D) float64 of mean 0."""
    from sklearn.covariance import ledoit_wolf  # imported here because it takes a second

    if len(centred) == 1:  # scikit-learn would warn
        return centred.T @ centred
    shrunk, _ = ledoit_wolf(centred.cpu().numpy(), assume_centered=True)
    return torch.from_numpy(shrunk).to(centred.device)


class MahalanobisDetector(Detector):
    """Squared Mahalanobis distance to the nearest class mean, under one covariance for all classes.

    The covariance is pooled over samples (1/N times the sum over classes of their scatter), so a large class
    weighs more. Without spread within the classes (one sample each) the order is that of nearest prototypes.

    Args:
        normalize: Whether to give the features unit length first (Mahalanobis++); a zero vector stays zero.

    Example:
        >>> x, y = torch.tensor([[-1.0], [1.0], [9.0], [11.0]]), torch.tensor([0, 0, 1, 1])
        >>> MahalanobisDetector().fit(x, y).score(torch.tensor([[3.0]]))
        tensor([9.], dtype=torch.float64)
    """

    def __init__(self, normalize: bool = False):
        self.normalize = normalize
        self.centre: NDArray[np.float64] = np.empty(0)  # (D,) mean of all samples
        self.whitening: NDArray[np.float64] = np.empty((0, 0))  # (D, D)
        self.means: NDArray[np.float64] = np.empty((0, 0))  # (C, D) of the classes, whitened

    def fit(self, embeddings: Vectors, labels: Vectors) -> Self:
        """Take class means and the pooled covariance from reference samples.

        Args:
            embeddings: Reference samples (N, D).
            labels: Integer labels (N,) of the samples.

        Raises:
            ValueError: If there are no samples.
        """
        self._learn(self._prepared(as_vectors(embeddings)), labels)
        return self

    def _learn(self, vectors: Tensor, labels: Vectors) -> None:
        owners = as_labels(labels, vectors)
        classes, means = class_means(vectors, owners)
        owners = torch.searchsorted(classes, owners)  # from 0 to C - 1
        matrix = whitening(vectors, vectors - means[owners])
        # Computed from the class means, so that for a single class it equals that class's mean exactly.
        centre = owners.bincount().to(means) / len(owners) @ means
        self.centre, self.whitening = centre.cpu().numpy(), matrix.cpu().numpy()
        self.means = ((means - centre) @ matrix).cpu().numpy()

    def _prepared(self, vectors: Tensor) -> Tensor:
        return normalize(vectors.double()) if self.normalize else vectors.double()

    def _centred(self, vectors: Tensor) -> Tensor:
        """Rows (n, D), normalised if the detector does so, minus the mean of all reference samples."""
        if len(self.means) == 0:
            raise ValueError(f"this {type(self).__name__} has no classes yet: call fit first.")
        centre = beside(self.centre, vectors)
        check_widths(vectors, centre[None])
        return self._prepared(vectors) - centre

    def _score(self, vectors: Tensor) -> Tensor:
        whitened = self._centred(vectors) @ beside(self.whitening, vectors)
        means = beside(self.means, vectors)
        to_means = means.square().sum(1) - 2 * whitened @ means.T  # |z - m|^2 - |z|^2, (n, C)
        return (whitened.square().sum(1) + to_means.amin(1)).clamp(min=0)


class RelativeMahalanobisDetector(MahalanobisDetector):
    """Squared Mahalanobis distance to the nearest class, minus that to one Gaussian of all samples.

    The covariance of all samples is exactly the covariance within classes plus that of the class means. Only the
    former is shrunk, and both distances use it. In directions in which the class means do not differ the two
    distances therefore cancel, as they do in the paper with plain covariances, but would not if each covariance were
    shrunk by itself. So only the span of the whitened class means counts, and with one class every score is 0.

    Args:
        normalize: Whether to give the features unit length first (relative Mahalanobis++).

    Example:
        >>> x, y = torch.tensor([[-1.0], [1.0], [9.0], [11.0]]), torch.tensor([0, 0, 1, 1])
        >>> RelativeMahalanobisDetector().fit(x, y).score(torch.tensor([[3.0]]))  # 9 - 2² / 26
        tensor([8.8462], dtype=torch.float64)
    """

    def __init__(self, normalize: bool = False):
        super().__init__(normalize)
        self.spread: NDArray[np.float64] = np.empty((0, 0))  # (D, at most C) whitened, see `_score`

    def _learn(self, vectors: Tensor, labels: Vectors) -> None:
        super()._learn(vectors, labels)
        sizes = torch.unique(as_labels(labels, vectors), return_counts=True)[1].to(vectors)
        between = (sizes / len(vectors)).sqrt()[:, None] * beside(self.means, vectors)  # (C, D)
        # B = betweenᵀ between is the whitened covariance of the class means, I + B that of all samples.
        _, lengths, directions = torch.linalg.svd(between, full_matrices=False)
        spread = directions.T * (lengths / (1 + lengths.square()).sqrt())
        self.spread = spread.cpu().numpy()

    def _score(self, vectors: Tensor) -> Tensor:
        # With z whitened: |z - m|^2 - z (I + B)^-1 z = |m|^2 - 2 z m + z (I - (I + B)^-1) z, nothing cancels.
        means, spread = beside(self.means, vectors), beside(self.spread, vectors)
        axes = beside(self.whitening, vectors) @ torch.cat([means.T, spread], dim=1)
        products, shares = (self._centred(vectors) @ axes).tensor_split([len(means)], dim=1)
        return (means.square().sum(1) - 2 * products).amin(1) + shares.square().sum(1)
