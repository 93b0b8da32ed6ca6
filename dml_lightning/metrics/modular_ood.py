"""Metrics on OOD scores as torchmetrics classes, for any LightningModule or MetricCollection.

Used as those of `dml_lightning.metrics.modular`; the scores may come from any detector.

>>> import torch
>>> from dml_lightning.metrics import OODAUROC
>>> metric = OODAUROC()
>>> scores, known = torch.tensor([0.1, 0.6, 0.5, 0.9]), torch.tensor([True, True, False, False])
>>> metric.update(scores, known, groups=torch.tensor([0, 1, 0, 1]))
>>> float(metric.compute())
0.75
>>> metric.interval(draws=200).groups
2
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from dml_lightning.metrics.bootstrap import Interval, cluster_bootstrap
from dml_lightning.metrics.ood import Positive, Scores, as_scores, auroc, fpr_at_tpr
from dml_lightning.metrics.rows import INTEGERS, RowMetric
from dml_lightning.pairs.blocks import Vectors


class OODMetric(RowMetric):
    """Base class of metrics on scores that tell known crops from OOD ones. Scores: larger = more OOD.

    Keeps 9 bytes per crop, and 8 more each for index and groups.

    Args:
        **kwargs: Arguments of `torchmetrics.Metric`.
    """

    columns = {  # noqa: RUF012
        "scores": torch.empty(0, dtype=torch.float64),
        "known": torch.empty(0, dtype=torch.bool),
        "index": INTEGERS,
        "groups": INTEGERS,
    }

    @abstractmethod
    def statistic(self, known: Scores, ood: Scores) -> float:
        """Value of the metric for scores (N,) of known crops and (M,) of OOD ones."""

    @override
    def update(
        self, scores: Vectors, known: Vectors, index: Vectors | None = None, groups: Vectors | None = None
    ) -> None:
        """Add a batch.

        Args:
            scores: Scores (B,).
            known: Whether (B,) each crop is known, bool; False for OOD crops.
            index: Unique number (B,) of each crop: copies are dropped. Without it all rows count.
            groups: Group (B,) of each crop, such as its flight, integers, for `interval`.

        Raises:
            ValueError: If shapes or types disagree, or a score is NaN.
        """
        as_scores(scores, "scores")
        values, flags = torch.as_tensor(scores).double(), torch.as_tensor(known)
        if flags.dtype != torch.bool or flags.shape != values.shape:
            shape, dtype = tuple(flags.shape), flags.dtype
            raise ValueError(f"known must hold one bool per score, shape ({len(values)},), got {dtype} {shape}.")
        self.keep_crops(values, index, groups, scores=values, known=flags.to(values.device))

    @override
    def compute(self) -> Tensor:
        known, ood = self._sides(self.rows(), "scores")
        return self.scalar(self.statistic(known, ood))

    def interval(self, draws: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
        """Bootstrap interval over groups, as in reports: crops of one flight are not independent.

        All ranks must call it, before a `reset`.

        Args:
            draws: Number of resamples.
            seed: Seed of the resampling.
            level: Coverage.

        Returns:
            Estimate and interval, with NaN as its ends if known or OOD crops come from fewer than five groups.

        Raises:
            ValueError: If updates came without groups.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.sync_on_compute):
            rows = self.rows()
        if "groups" not in rows:
            raise ValueError("an interval resamples groups: give them to each update, such as the flight of each crop.")
        sides, groups = self._sides(rows, "scores"), self._sides(rows, "groups")
        return cluster_bootstrap(*sides, *groups, self.statistic, draws, seed, level=level)

    @staticmethod
    def _sides(rows: dict[str, Tensor], name: str) -> tuple[Any, Any]:
        """The entries of a column for known crops and for OOD crops, as NumPy arrays."""
        known = rows["known"]
        return rows[name][known].cpu().numpy(), rows[name][~known].cpu().numpy()


class OODAUROC(OODMetric):
    """Probability that an OOD crop scores above a known one; the same for either positive class. See `auroc`."""

    higher_is_better = True

    @override
    def statistic(self, known: Scores, ood: Scores) -> float:
        return auroc(known, ood)


class OODFPR95(OODMetric):
    """False-positive rate at 95 % true positives; which class is positive has to be named. See `fpr_at_tpr`.

    Args:
        positive: "ood": share of known crops refused when 95 % of the OOD ones are. "known": share of OOD crops
            accepted when 95 % of the known ones are.
        **kwargs: Arguments of `torchmetrics.Metric`.

    Raises:
        ValueError: If `positive` is neither.

    Example:
        >>> metric = OODFPR95(positive="ood")
        >>> metric.update(torch.tensor([0.1, 0.6, 0.5, 0.9]), torch.tensor([True, True, False, False]))
        >>> float(metric.compute())
        0.5
    """

    higher_is_better = False

    def __init__(self, positive: Positive, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if positive not in ("ood", "known"):
            raise ValueError(f'positive must be "ood" or "known", got {positive!r}.')
        self.positive: Positive = positive

    @override
    def statistic(self, known: Scores, ood: Scores) -> float:
        return fpr_at_tpr(known, ood, positive=self.positive)
