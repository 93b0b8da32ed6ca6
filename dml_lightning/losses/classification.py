"""Losses of the softmax arm, on logits.

B crops, C classes. Every mean is over the global batch, weighted by class where weights are given.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dml_lightning import distributed
from dml_lightning.arguments import remember
from dml_lightning.losses.base import ClassificationLoss
from dml_lightning.losses.functional import check_rows
from dml_lightning.pairs.blocks import wide
from dml_lightning.theory import check_metric_parameters, is_metric, label_distance, metric_bound
from dml_lightning.types import LossOutput


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")


class _WeightedLoss(ClassificationLoss):
    """Weighted mean over crops; a crop's weight is that of its class."""

    class_weights: Tensor | None  # (C,)

    def __init__(self, class_weights: Sequence[float] | None) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor(list(class_weights))
        if weights is not None and not (weights.isfinite().all() and (weights > 0).all()):
            raise ValueError(f"class_weights must be positive, got {class_weights}")
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> LossOutput:
        """Loss of this rank's logits (B, C) with labels (B,) within the global batch.

        Raises:
            ValueError: If the shapes disagree, labels are not integers, or there is not one weight per class.
        """
        check_rows(logits, labels)
        logits, weights = wide(logits), self.class_weights
        if weights is not None and len(weights) != logits.shape[1]:
            raise ValueError(f"{len(weights)} class_weights for logits of {logits.shape[1]} classes")
        with torch.autocast(logits.device.type, enabled=False):
            share = torch.ones_like(logits[:, 0]) if weights is None else weights.to(logits)[labels]
            total = (share * self.each(logits, labels)).sum()
            return LossOutput(distributed.global_mean(total, share.sum()), {})

    @abstractmethod
    def each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss (B,) of each crop."""


class CrossEntropyLoss(_WeightedLoss):
    """Cross-entropy −log p_y, p the softmax of the logits.

    Args:
        label_smoothing: Smoothing ε in [0, 1): the target is 1 − ε + ε/C for the true class and ε/C for the others.
        class_weights: Weight (C,) of a crop by its class; sums are divided by the sum of weights.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> CrossEntropyLoss()(torch.zeros(1, 4), torch.tensor([2])).loss  # log 4
        tensor(1.3863)
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: list[float] | None = None) -> None:
        remember(self, CrossEntropyLoss, locals())
        super().__init__(class_weights)
        _check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing

    def each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss (B,) of each crop."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none")


class BinaryCrossEntropyLoss(_WeightedLoss):
    """One classifier per class against the rest: mean over the classes of −log σ(±z_k).

    Args:
        label_smoothing: Smoothing ε in [0, 1): targets are 1 − ε/2 and ε/2.
        class_weights: Weight (C,) of a crop by its class.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> BinaryCrossEntropyLoss()(torch.zeros(1, 4), torch.tensor([2])).loss  # log 2
        tensor(0.6931)
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: list[float] | None = None) -> None:
        remember(self, BinaryCrossEntropyLoss, locals())
        super().__init__(class_weights)
        _check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing

    def each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss (B,) of each crop."""
        targets = F.one_hot(labels, logits.shape[1]).to(logits)
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


class FocalLoss(_WeightedLoss):
    """Focal loss −alpha (1 − p_y)^gamma log p_y; gamma = 0 is cross-entropy. Lin et al. 2017, equation 5.

    Args:
        gamma: Exponent, at least 0: the larger it is, the less count crops that are classified well already.
        alpha: Factor on every crop, above 0.
        class_weights: Weight (C,) of a crop by its class.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> FocalLoss(gamma=2.0)(torch.zeros(1, 2), torch.tensor([0])).loss  # (1/2)^2 log 2
        tensor(0.1733)
    """

    def __init__(self, gamma: float = 2.0, alpha: float = 1.0, class_weights: list[float] | None = None) -> None:
        remember(self, FocalLoss, locals())
        super().__init__(class_weights)
        if not 0 <= gamma < math.inf:
            raise ValueError(f"gamma must be at least 0, got {gamma}")
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be positive, got {alpha}")
        self.gamma, self.alpha = gamma, alpha

    def each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss (B,) of each crop."""
        log_p = -F.cross_entropy(logits, labels, reduction="none")
        wrong = (-log_p.expm1()).clamp_min(torch.finfo(log_p.dtype).tiny)  # γ < 1 has a slope at 0
        return -self.alpha * wrong**self.gamma * log_p


class MetricCrossEntropyLoss(_WeightedLoss):
    """Metric cross-entropy Σ_k d(p_k, y_k), with p_k the softmax and y the one-hot label.

    d(x, y) = −log(1 + a − b|x − y|^p) + log(1 + a). For `is_metric` parameters the loss is a metric on
    probability vectors, so that the largest loss ε of a batch bounds the distances of its outputs: at most
    2ε within a class, at least 2M − 2ε between classes, M = d(0, 1). With a = 0, b = 1, p = 1 it is
    −Σ log(1 − |p_k − y_k|), for which only the upper bound holds.

    Args:
        a: Parameter a, at least 0.
        b: Parameter b in (0, 1 + a]; M is infinite at 1 + a.
        p: Exponent p in (0, 1].
        class_weights: Weight (C,) of a crop by its class.

    Raises:
        ValueError: If a parameter is out of range.

    Example:
        >>> MetricCrossEntropyLoss()
        MetricCrossEntropyLoss(a=0.0, b=0.8, p=0.5: a metric, b/(1+a) = 0.8000 against 0.8284)
    """

    def __init__(
        self, a: float = 0.0, b: float = 0.8, p: float = 0.5, class_weights: list[float] | None = None
    ) -> None:
        remember(self, MetricCrossEntropyLoss, locals())
        super().__init__(class_weights)
        check_metric_parameters(a, b, p)
        self.a, self.b, self.p = a, b, p

    @property
    def is_metric(self) -> bool:
        """Whether the loss satisfies the axioms of a metric."""
        return is_metric(self.a, self.b, self.p)

    def each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss (B,) of each crop."""
        log_p, log_rest = log_softmax_and_rest(logits)
        true = F.one_hot(labels, logits.shape[1]).bool()
        log_gap = torch.where(true, log_rest, log_p)  # log |p_k − y_k|
        log_left = torch.where(true, log_p, log_rest)  # log(1 − |p_k − y_k|)
        return metric_distance(log_gap, log_left, self.b / (1 + self.a), self.p).sum(1)

    @torch.no_grad()
    def diagnostics(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Largest loss ε, the bounds that follow from it, and the distances that they bound, over the global batch.

        The upper bound holds for all parameters, since the triangle inequality through a label always does. The
        lower one holds only for a metric with a finite M, and is left out otherwise.
        """
        logits, labels = distributed.gather(wide(logits)), distributed.gather(labels)
        largest = self.each(logits, labels).max()
        scalars = {"metric_ce_epsilon": largest, "metric_ce_intra_bound": 2 * largest}
        if self.is_metric:
            scalars["metric_ce_inter_bound"] = 2 * label_distance(self.a, self.b, self.p) - 2 * largest
        outputs, within, between = logits.softmax(1), [], []
        for row, label in zip(outputs, labels, strict=True):
            gap = (outputs - row).abs() ** self.p  # (B, C)
            values = -torch.log1p(-self.b / (1 + self.a) * gap).sum(1)
            within.append(values[labels == label].max())
            between.append(torch.where(labels == label, torch.inf, values).min())
        scalars["metric_ce_max_intra"] = torch.stack(within).max()
        scalars["metric_ce_min_inter"] = torch.stack(between).min()
        return scalars

    def extra_repr(self) -> str:
        """The parameters, and whether they give a metric."""
        share, bound = self.b / (1 + self.a), metric_bound(self.p)
        kind = "a metric" if self.is_metric else "not a metric"
        return f"a={self.a}, b={self.b}, p={self.p}: {kind}, b/(1+a) = {share:.4f} against {bound:.4f}"


def log_softmax_and_rest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log p and log(1 − p), each (B, C), of the softmax p; exact to rounding even where p rounds to 0 or 1.

    Example:
        >>> log_p, log_rest = log_softmax_and_rest(torch.tensor([[1.0, 3.0]]).log())  # p is 1/4, 3/4
        >>> log_rest.exp()
        tensor([[0.7500, 0.2500]])
    """
    log_p = logits.log_softmax(1)
    top = F.one_hot(logits.argmax(1), logits.shape[1]).bool()
    every = logits.logsumexp(1, keepdim=True)
    rest = logits.masked_fill(top, -torch.inf).logsumexp(1, keepdim=True) - every
    below = torch.log1p(-torch.where(top, 0, log_p.exp()))  # p <= 1/2 there
    return log_p, torch.where(top, rest, below)


def metric_distance(log_gap: Tensor, log_left: Tensor, share: float, p: float) -> Tensor:
    """Distance −log(1 − share·u^p) for u in [0, 1], from log u and log(1 − u) of any one shape.

    In logarithms neither the infinite slope of u^p at 0 nor the pole at u = 1 is ever met.

    Args:
        log_gap: Tensor of log u.
        log_left: Tensor of log(1 − u).
        share: b / (1 + a), in (0, 1].
        p: Exponent in (0, 1].

    Example:
        >>> metric_distance(torch.tensor(0.25).log(), torch.tensor(0.75).log(), share=0.8, p=0.5)  # -log 0.6
        tensor(0.5108)
    """
    small = -torch.log1p(-share * (p * log_gap.clamp_max(-0.4)).exp())  # u up to 0.67
    log_u = torch.log1p(-log_left.clamp(-15, -0.5).exp())
    near = torch.log(-torch.expm1(p * log_u))  # log(1 − u^p)
    near = torch.where(log_left < -15, math.log(p) + log_left, near)
    constant = torch.full_like(near, math.log1p(-share) if share < 1 else -torch.inf)
    large = -torch.logaddexp(constant, math.log(share) + near)
    return torch.where(log_left < -1, large, small)
