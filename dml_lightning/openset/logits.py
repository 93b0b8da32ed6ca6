"""Detectors on the logits of a linear classifier: maximum softmax, maximum logit, energy and ViM.

Sources: maximum softmax probability, Hendrycks and Gimpel, ICLR 2017; max logit, Hendrycks et al., ICML 2022;
energy, Liu et al., NeurIPS 2020, equation 4; ViM, Wang et al., CVPR 2022, equations 5 to 8.

Softmax is the same for logits that differ by a common constant, so training leaves that constant free; it changes
every score here but the maximum softmax probability.
"""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from dml_lightning.openset.arrays import beside
from dml_lightning.openset.detector import Detector
from dml_lightning.pairs.blocks import Vectors, as_rows, as_vectors, to_numpy

SPANNED = 1e-12  # smallest variance, relative to the largest, of a direction that counts as spanned


class LogitDetector(Detector):
    """Base of the detectors on logits = embeddings @ weightᵀ + bias, in the precision of the embeddings.

    Args:
        weight: Weight (C, D) of the linear head.
        bias: Bias (C,) of the linear head.

    Raises:
        ValueError: If the shapes do not fit together.
    """

    _elements = 1 << 21  # a block takes little more than its rows, which are read once

    def __init__(self, weight: Vectors, bias: Vectors):
        self.weight = to_numpy(weight).astype(np.float64)
        self.bias = to_numpy(bias).astype(np.float64)
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(
                f"a linear head has weight (C, D) and bias (C,), got {self.weight.shape} and {self.bias.shape}."
            )

    def fit(self, embeddings: Vectors, labels: Vectors) -> Self:
        """Return the detector as it is: there is nothing to learn beside the head."""
        return self

    @override
    def _scores(self, embeddings: Vectors) -> Tensor:
        scores = super()._scores(embeddings)
        if not bool(torch.isfinite(scores.sum())):  # as where a vector is not finite, and with it all of its logits
            as_vectors(embeddings)
        return scores

    @override
    def _rows(self, embeddings: Vectors) -> Tensor:
        return as_rows(embeddings)  # a look at each number would take half as long as the logits

    def logits(self, vectors: Tensor) -> Tensor:
        """Logits (n, C) of vectors (n, D), in their precision.

        They lie class by class in memory, which makes a maximum or sum over a few classes several times as fast.

        Raises:
            ValueError: If the head is for embeddings of another size.
        """
        if vectors.shape[1] != self.weight.shape[1]:
            raise ValueError(f"embeddings have {vectors.shape[1]} dimensions, the head takes {self.weight.shape[1]}.")
        weight, bias = (beside(v, vectors).to(vectors.dtype) for v in (self.weight, self.bias))
        return torch.addmm(bias[:, None], weight, vectors.T).T


def _log_sum(logits: Tensor) -> Tensor:
    """Log Σ exp of each row of logits (n, C), float64.

    Terms are of the logits' own precision, and their sum is of float64: a term of 1e-9 beside 1 is not lost. A maximum
    beyond all numbers stays infinite.
    """
    most = torch.finfo(logits.dtype).max
    largest = logits.amax(1).clamp(-most, most)
    return (logits - largest[:, None]).exp_().sum(1, dtype=torch.float64).log_().add_(largest)


class MaxSoftmaxDetector(LogitDetector):
    """1 - maximum softmax probability, computed as the sum of the other probabilities.

    As a difference in float32 it would be 0 for every sample with a logit gap above 17, and those would tie.

    Example:
        >>> MaxSoftmaxDetector(torch.eye(2), torch.zeros(2)).score(torch.tensor([[0.0, 0.0]]))
        tensor([0.5000], dtype=torch.float64)
    """

    def _score(self, vectors: Tensor) -> Tensor:
        logits = self.logits(vectors).double()
        largest, column = logits.max(1, keepdim=True)
        odds = (logits - largest).exp_()  # to the most likely class
        total = odds.sum(1)
        return odds.scatter_(1, column, 0.0).sum(1) / total


class MaxLogitDetector(LogitDetector):
    """Minus the largest logit.

    Example:
        >>> MaxLogitDetector(torch.eye(2), torch.zeros(2)).score(torch.tensor([[3.0, 1.0]]))
        tensor([-3.], dtype=torch.float64)
    """

    def _score(self, vectors: Tensor) -> Tensor:
        return -self.logits(vectors).amax(1).double()


class EnergyDetector(LogitDetector):
    """Free energy -T log Σ exp(logits / T).

    Args:
        weight: Weight (C, D) of the linear head.
        bias: Bias (C,) of the linear head.
        temperature: Temperature T; towards 0 the score becomes that of `MaxLogitDetector`.

    Raises:
        ValueError: If the temperature is not positive, or the shapes do not fit together.

    Example:
        >>> EnergyDetector(torch.eye(2), torch.zeros(2)).score(torch.tensor([[0.0, 0.0]]))
        tensor([-0.6931], dtype=torch.float64)
    """

    def __init__(self, weight: Vectors, bias: Vectors, temperature: float = 1.0):
        super().__init__(weight, bias)
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        self.temperature = temperature

    def _score(self, vectors: Tensor) -> Tensor:
        return -self.temperature * _log_sum(self.logits(vectors).div_(self.temperature))


class RejectDetector(LogitDetector):
    """Log odds of the reject class, which order samples as its softmax probability does.

    The probability itself would be 1 for every sample with a gap above 37, and those would tie.

    Args:
        weight: Weight (C, D) of the linear head.
        bias: Bias (C,) of the linear head.
        reject_weight: Weight (1, D) of the reject class.
        reject_bias: Bias (1,) of the reject class.

    Raises:
        ValueError: If the shapes do not fit together.

    Example:
        >>> detector = RejectDetector(torch.eye(2), torch.zeros(2), torch.zeros(1, 2), torch.zeros(1))
        >>> detector.score(torch.tensor([[0.0, 0.0]]))  # probability 1/3, odds 1/2
        tensor([-0.6931], dtype=torch.float64)
    """

    def __init__(self, weight: Vectors, bias: Vectors, reject_weight: Vectors, reject_bias: Vectors):
        super().__init__(weight, bias)
        rows = [to_numpy(each).astype(np.float64) for each in (reject_weight, reject_bias)]
        wanted = [(1, self.weight.shape[1]), (1,)]
        if [row.shape for row in rows] != wanted:
            raise ValueError(
                f"the reject class beside a head {self.weight.shape} has weight {wanted[0]} and bias (1,), got "
                f"{rows[0].shape} and {rows[1].shape}."
            )
        self.weight, self.bias = np.concatenate([self.weight, rows[0]]), np.concatenate([self.bias, rows[1]])

    def _score(self, vectors: Tensor) -> Tensor:
        logits = self.logits(vectors).double()
        return logits[:, -1] - _log_sum(logits[:, :-1])


class ViMDetector(LogitDetector):
    """Virtual-logit matching: alpha times the length of the residual, minus log Σ exp(logits).

    Features are measured from the origin o = -W⁺b, where all logits vanish if C <= D. The principal space is spanned
    by the directions in which the reference features are largest (about o, not about their mean); the residual is
    the part of a feature outside it. alpha scales it: mean largest logit / mean residual length of the reference.

    Args:
        weight: Weight (C, D) of the linear head.
        bias: Bias (C,) of the linear head.
        principal: Dimensions of the principal space, below D. By default half of D, like the authors' 1000 of
            2048, or fewer if the reference spans no more: outside its span nothing sets the scale.

    Raises:
        ValueError: If the shapes do not fit together, or `principal` is not in 0..D - 1.

    Example:
        >>> detector = ViMDetector(torch.tensor([[1.0, 0.0]]), torch.zeros(1), principal=1)
        >>> _ = detector.fit(torch.tensor([[3.0, 1.0], [3.0, -1.0]]), torch.tensor([0, 0]))
        >>> detector.score(torch.tensor([[3.0, 2.0]]))  # alpha = 3 / 1
        tensor([3.], dtype=torch.float64)
    """

    def __init__(self, weight: Vectors, bias: Vectors, principal: int | None = None):
        super().__init__(weight, bias)
        dim = self.weight.shape[1]
        if principal is not None and not 0 <= principal < dim:
            raise ValueError(f"principal must lie in 0..{dim - 1}, got {principal}.")
        self.principal = principal
        self.origin: NDArray[np.float64] = -np.linalg.pinv(self.weight) @ self.bias  # (D,)
        self.residual: NDArray[np.float64] = np.empty((dim, 0))  # (D, D - principal)
        self.alpha = float("nan")

    def fit(self, embeddings: Vectors, labels: Vectors) -> Self:
        """Take the principal space and alpha from reference samples (N, D); the labels are not used.

        Raises:
            ValueError: If there are no samples, or they all lie in a principal space of the wanted size.
        """
        vectors = as_vectors(embeddings)
        if len(vectors) == 0:
            raise ValueError("ViM needs at least one reference embedding, got none.")
        largest = float(self.logits(vectors).amax(1).mean())
        features = vectors.double() - beside(self.origin, vectors)
        sizes, directions = torch.linalg.eigh(features.T @ features / len(features))  # ascending
        spanned = int((sizes > SPANNED * sizes[-1]).sum())
        principal = self.principal
        if principal is None:
            principal = max(0, min(vectors.shape[1] // 2, spanned - 1))
        if principal >= max(spanned, 1):
            raise ValueError(
                f"the reference embeddings span {spanned} dimensions, so nothing of them is outside "
                f"{principal} principal ones: choose fewer."
            )
        self.residual = directions[:, : vectors.shape[1] - principal].cpu().numpy()
        length = float(self._residual_lengths(vectors).mean())
        self.alpha = largest / length if length > 0 else 0.0
        return self

    def _score(self, vectors: Tensor) -> Tensor:
        logits = self.logits(vectors)
        if self.residual.shape[1] == 0:
            raise ValueError("this ViMDetector has no residual space yet: call fit first.")
        return self.alpha * self._residual_lengths(vectors) - _log_sum(logits)

    def _residual_lengths(self, vectors: Tensor) -> Tensor:
        """Distances (n,) float64 of rows (n, D) from the principal space."""
        origin, residual = (beside(values, vectors).to(vectors.dtype) for values in (self.origin, self.residual))
        lengths: Tensor = ((vectors - origin) @ residual).norm(dim=1).double()
        return lengths
