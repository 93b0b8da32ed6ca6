"""The metrics on embeddings as torchmetrics classes, for any LightningModule or MetricCollection.

Every class keeps the embeddings (or scores) of an epoch and calls the pure function on all of them: retrieval,
distances and AUROC are no means over batches. Rows are gathered over ranks when `compute` is called; copies that
padding made are dropped by `index`, the number of each crop over all loaders. Every rank then computes the whole value.

>>> import torch
>>> from torchmetrics import MetricCollection
>>> from dml_lightning.metrics import InterIntraRatio, RecallAtK
>>> metrics = MetricCollection({"recall_at_1": RecallAtK(k=1), "inter_intra_ratio": InterIntraRatio()})
>>> points, labels = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
>>> metrics.update(embeddings=points[:3], labels=labels[:3], index=torch.tensor([0, 1, 2]))
>>> metrics.update(embeddings=points[2:], labels=labels[2:], index=torch.tensor([2, 3]))  # 2 once more, as padding
>>> {name: float(value) for name, value in metrics.compute().items()}
{'inter_intra_ratio': 4.0, 'recall_at_1': 1.0}

In a LightningModule make one for each loader, in `__init__`; Lightning computes it when the epoch ends and resets it:

    def validation_step(self, batch, batch_idx):
        self.recall.update(self(batch.images), batch.labels, index=batch.index)
        self.log("val/recall_at_1", self.recall)

All metrics of this file take the same arguments, so that a MetricCollection keeps their rows once; likewise those of
`dml_lightning.metrics.modular_ood`. Values are float64 scalars, NaN where there is nothing to measure.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from dml_lightning.metrics.distances import distance_summary
from dml_lightning.metrics.retrieval import RetrievalSummary, retrieval_summary
from dml_lightning.metrics.rows import INTEGERS, RowMetric
from dml_lightning.metrics.triplets import MOST_ANCHORS, triplet_fractions
from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors


class EmbeddingMetric(RowMetric):
    """Base class of metrics on all embeddings of an epoch.

    Keeps 4 D + 8 bytes per crop for float32 embeddings, and 8 more each for index and groups: 536 bytes at D = 128.

    Args:
        **kwargs: Arguments of `torchmetrics.Metric`.
    """

    columns = {"embeddings": torch.empty(0, 1), "labels": INTEGERS, "index": INTEGERS, "groups": INTEGERS}  # noqa: RUF012

    @override
    def update(
        self, embeddings: Vectors, labels: Vectors, index: Vectors | None = None, groups: Vectors | None = None
    ) -> None:
        """Add a batch.

        Args:
            embeddings: Embeddings (B, D).
            labels: Labels (B,), integers.
            index: Unique number (B,) of each crop: copies are dropped, and rows are ordered by it. Without it all rows
                count, and the order of equal distances depends on which rank held which row.
            groups: Group (B,) of each crop, such as its flight, integers, for metrics that leave out a query's own
                group; the others ignore it.

        Raises:
            ValueError: If shapes disagree, an embedding is not finite, or the others are not integers.
        """
        vectors = as_vectors(embeddings)
        self.keep_crops(vectors, index, groups, embeddings=vectors, labels=as_labels(labels, vectors))


class InterIntraRatio(EmbeddingMetric):
    """Mean distance between classes over that within, over all pairs; see `distance_summary`."""

    higher_is_better = True

    @override
    def compute(self) -> Tensor:
        rows = self.rows()
        return self.scalar(distance_summary(rows["embeddings"], rows["labels"]).ratio)


class ActiveTripletFraction(EmbeddingMetric):
    """Share of the valid triplets whose loss is not zero; see `triplet_fractions`.

    Args:
        margin: Margin in the unit of the (squared) distance.
        squared: Whether distances are squared.
        most_anchors: Most crops that are anchors: of more, that many are drawn with a fixed seed, against all crops.
        **kwargs: Arguments of `torchmetrics.Metric`.

    Raises:
        ValueError: If `most_anchors` is below 1.

    Example:
        >>> metric = ActiveTripletFraction(margin=0.2)
        >>> metric.update(torch.tensor([[0.0], [0.1], [1.0], [9.0]]), torch.tensor([0, 0, 1, 1]))
        >>> float(metric.compute())
        0.25
    """

    higher_is_better = False

    def __init__(
        self, margin: float = 0.2, squared: bool = False, most_anchors: int = MOST_ANCHORS, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if most_anchors < 1:
            raise ValueError(f"most_anchors must be at least 1, got {most_anchors}.")
        self.margin, self.squared, self.most_anchors = margin, squared, most_anchors

    @override
    def compute(self) -> Tensor:
        rows, most = self.rows(), self.most_anchors
        args = rows["embeddings"], rows["labels"], self.margin
        shares = triplet_fractions(*args, squared=self.squared, most_anchors=most)
        return self.scalar(shares["active_triplet_fraction"])


class RetrievalMetric(EmbeddingMetric):
    """Base class of retrieval: each crop queries all others, but those of its own group if groups are given.

    Crops with nothing to find are left out of the mean; see `query_ranks`.

    Args:
        seed: Seed of the order of equal distances.
        **kwargs: Arguments of `torchmetrics.Metric`.
    """

    higher_is_better: bool | None = True

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed

    def summary(self, ks: Sequence[int] = (1,)) -> RetrievalSummary:
        """Retrieval over the rows that this process holds, which are those of all ranks only inside `compute`."""
        rows = self.rows()
        return retrieval_summary(rows["embeddings"], rows["labels"], groups=rows.get("groups"), ks=ks, seed=self.seed)


class RecallAtK(RetrievalMetric):
    """Share of crops with one of their class among the `k` nearest.

    Args:
        k: Number of neighbours, at least 1.
        seed: Seed of the order of equal distances.
        **kwargs: Arguments of `torchmetrics.Metric`.

    Raises:
        ValueError: If k is below 1.

    Example:
        >>> metric = RecallAtK(k=1)
        >>> metric.update(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 0]))
        >>> round(float(metric.compute()), 4)
        0.6667
    """

    def __init__(self, k: int = 1, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        if k < 1:
            raise ValueError(f"Recall@k needs k of at least 1, got {k}.")
        self.k = k

    @override
    def compute(self) -> Tensor:
        return self.scalar(self.summary((self.k,)).recall_at[self.k])


class RPrecision(RetrievalMetric):
    """Mean share of a crop's class among its R nearest, R the number of crops of its class that could be found.

    Example:
        >>> metric = RPrecision()
        >>> metric.update(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 0]))
        >>> float(metric.compute())
        0.5
    """

    @override
    def compute(self) -> Tensor:
        return self.scalar(self.summary().r_precision)


class MAPAtR(RetrievalMetric):
    """Mean average precision at R; see `map_at_r`.

    Example:
        >>> metric = MAPAtR()
        >>> metric.update(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 0]))
        >>> round(float(metric.compute()), 4)
        0.4167
    """

    @override
    def compute(self) -> Tensor:
        return self.scalar(self.summary().map_at_r)


class RetrievalMetrics(RetrievalMetric):
    """Recall@k for every k, R-precision and MAP@R in one pass, with the number of crops that had nothing to find.

    Its value is a dictionary, which a MetricCollection flattens and `self.log` does not take: log
    `metric.compute()` with `log_dict` at the end of an epoch, and call `reset`.

    Args:
        ks: Numbers of neighbours, each at least 1.
        seed: Seed of the order of equal distances.
        **kwargs: Arguments of `torchmetrics.Metric`.

    Raises:
        ValueError: If there is no k, or one is below 1.

    Example:
        >>> metric = RetrievalMetrics(ks=(1, 2))
        >>> metric.update(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 0]))
        >>> {name: round(float(value), 4) for name, value in metric.compute().items()}
        {'recall_at_1': 0.6667, 'recall_at_2': 1.0, 'r_precision': 0.5, 'map_at_r': 0.4167, 'left_out': 1.0}
    """

    higher_is_better = None

    def __init__(self, ks: Sequence[int] = (1,), seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        if not ks or min(ks) < 1:
            raise ValueError(f"Recall@k needs k of at least 1, got {tuple(ks)}.")
        self.ks = tuple(ks)

    @override
    def compute(self) -> dict[str, Tensor]:
        summary = self.summary(self.ks)
        values = {f"recall_at_{k}": value for k, value in summary.recall_at.items()}
        values |= {"r_precision": summary.r_precision, "map_at_r": summary.map_at_r, "left_out": summary.left_out}
        return {name: self.scalar(value) for name, value in values.items()}
