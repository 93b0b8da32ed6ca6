"""The metrics on embeddings as torchmetrics classes, for any LightningModule or MetricCollection.

Every class keeps the embeddings (or scores) of an epoch and calls the pure function on all of them: retrieval,
distances and AUROC are no means over batches. Ranks are brought together when `compute` is called; what padding copied
is dropped by `index`, the number of each crop over all loaders. Every rank then computes the whole.

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
    """A number of all embeddings of an epoch.

    Keeps 4 D + 8 bytes per crop for float32 embeddings, and 8 more each for index and groups: 536 bytes at D = 128.

    Args:
        **kwargs: Of torchmetrics.Metric.
    """

    columns = {"embeddings": torch.empty(0, 1), "labels": INTEGERS, "index": INTEGERS, "groups": INTEGERS}  # noqa: RUF012

    @override
    def update(
        self, embeddings: Vectors, labels: Vectors, index: Vectors | None = None, groups: Vectors | None = None
    ) -> None:
        """Add a batch.

        Args:
            embeddings: (B, D).
            labels: (B,) integers.
            index: (B,) unique number of each crop: copies are dropped, and the order of rows is that of the numbers.
                Without it all rows count, and equal distances are ordered by chance of who held them.
            groups: (B,) integers, such as the flight of each crop, for metrics that leave out a query's own group;
                the others pass over it.

        Raises:
            ValueError: If shapes disagree, an embedding is not finite, or the others are not integers.
        """
        vectors = as_vectors(embeddings)
        self.keep(
            embeddings=vectors,
            labels=as_labels(labels, vectors),
            index=None if index is None else as_labels(index, vectors, "index", "number"),
            groups=None if groups is None else as_labels(groups, vectors, "groups", "group"),
        )

    def scalar(self, value: float) -> Tensor:
        """A number as torchmetrics wants it."""
        return torch.tensor(value, dtype=torch.float64, device=self.device)


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
        margin: Of the count, in the unit of the distance.
        squared: Whether the count compares squared distances.
        most_anchors: Of more crops as many are drawn as anchors, with a fixed seed, against all crops.
        **kwargs: Of torchmetrics.Metric.
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
        given = rows["embeddings"], rows["labels"], self.margin
        found = triplet_fractions(*given, squared=self.squared, most_anchors=most)
        return self.scalar(found["active_triplet_fraction"])


class RetrievalMetric(EmbeddingMetric):
    """Each crop against all the others, those of its own group left out where groups are given; see `query_ranks`.

    Crops with nothing to find are left out of the mean.

    Args:
        seed: Orders equal distances.
        **kwargs: Of torchmetrics.Metric.
    """

    higher_is_better: bool | None = True

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed

    def summary(self, ks: Sequence[int] = (1,)) -> RetrievalSummary:
        """All values of the rows that are here: those of every rank only inside `compute`."""
        rows = self.rows()
        return retrieval_summary(rows["embeddings"], rows["labels"], groups=rows.get("groups"), ks=ks, seed=self.seed)


class RecallAtK(RetrievalMetric):
    """Share of crops with one of their class among the `k` nearest.

    Args:
        k: At least 1.
        seed: Orders equal distances.
        **kwargs: Of torchmetrics.Metric.
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
    """Mean share of a crop's class among its R nearest, R the number of those that could be found."""

    @override
    def compute(self) -> Tensor:
        return self.scalar(self.summary().r_precision)


class MAPAtR(RetrievalMetric):
    """Mean average precision at R; see `map_at_r`."""

    @override
    def compute(self) -> Tensor:
        return self.scalar(self.summary().map_at_r)


class RetrievalMetrics(RetrievalMetric):
    """Recall@k for every k, R-precision and MAP@R in one pass, with the number of crops that had nothing to find.

    Its value is a dictionary, which a MetricCollection flattens and `self.log` does not take: log
    `metric.compute()` with `log_dict` at the end of an epoch, and call `reset`.

    Args:
        ks: Each at least 1.
        seed: Orders equal distances.
        **kwargs: Of torchmetrics.Metric.
    """

    higher_is_better = None

    def __init__(self, ks: Sequence[int] = (1,), seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        if not ks or min(ks) < 1:
            raise ValueError(f"Recall@k needs k of at least 1, got {tuple(ks)}.")
        self.ks = tuple(ks)

    @override
    def compute(self) -> dict[str, Tensor]:
        found = self.summary(self.ks)
        values = {f"recall_at_{k}": value for k, value in found.recall_at.items()}
        values |= {"r_precision": found.r_precision, "map_at_r": found.map_at_r, "left_out": found.left_out}
        return {name: self.scalar(value) for name, value in values.items()}
