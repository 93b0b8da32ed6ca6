"""torchmetrics classes on embeddings against the pure functions, over batches, epochs and unequal ranks."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric, MetricCollection

from dml_lightning.metrics import (
    OODAUROC,
    ActiveTripletFraction,
    InterIntraRatio,
    MAPAtR,
    RecallAtK,
    RetrievalMetrics,
    RPrecision,
)
from dml_lightning.metrics.functional import auroc, distance_summary, map_at_r, recall_at_k
from dml_lightning.metrics.retrieval import r_precision, retrieval_summary
from dml_lightning.metrics.triplets import triplet_fractions
from tests.metrics.made import SHARES, Batch, N, crops, kept_bytes, part, shared, values
from tests.ranks import Gloo


def every_metric() -> dict[str, Metric]:
    return {
        "ratio": InterIntraRatio(),
        "recall": RecallAtK(k=2, seed=3),
        "r_precision": RPrecision(seed=3),
        "map_at_r": MAPAtR(seed=3),
        "together": RetrievalMetrics(ks=(1, 2), seed=3),
        "active": ActiveTripletFraction(margin=0.5, squared=True, most_anchors=20),
    }


def expected(batch: Batch, *, grouped: bool = True) -> dict[str, float]:
    """The values of `every_metric` by the pure functions, of crops in the order of their index."""
    batch = part(batch, batch["index"].argsort())
    x, y = batch["embeddings"], batch["labels"]
    options: dict[str, Any] = {"groups": batch["groups"] if grouped else None, "seed": 3}
    found = retrieval_summary(x, y, ks=(1, 2), **options)
    return {
        "ratio": distance_summary(x, y).ratio,
        "recall": recall_at_k(x, y, k=2, **options),
        "r_precision": r_precision(x, y, **options),
        "map_at_r": map_at_r(x, y, **options),
        "together_recall_at_1": found.recall_at[1],  # torchmetrics names the metric where another has a value's name
        "together_recall_at_2": found.recall_at[2],
        "together_r_precision": found.r_precision,
        "together_map_at_r": found.map_at_r,
        "together_left_out": found.left_out,
        "active": triplet_fractions(x, y, 0.5, squared=True, most_anchors=20)["active_triplet_fraction"],
    }


def collection(compute_groups: bool = True) -> MetricCollection:
    return MetricCollection(every_metric(), compute_groups=compute_groups)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("compute_groups", [False, True])
def test_batches_equal_one_call(tied: bool, grouped: bool, compute_groups: bool) -> None:
    metrics = collection(compute_groups)
    for epoch in range(2):
        batch = crops(epoch, tied=tied)
        given = batch if grouped else {name: column for name, column in batch.items() if name != "groups"}
        for rows in (slice(0, 0), slice(0, 30), slice(30, 31), slice(20, N)):  # ten of them come twice
            metrics.update(**part(given, rows))
        assert values(metrics) == expected(batch, grouped=grouped)
        metrics.reset()


def test_groups_change_retrieval_alone() -> None:
    with_groups, without = expected(crops()), expected(crops(), grouped=False)
    same = {name for name, value in without.items() if value == with_groups[name]}
    assert same == {"ratio", "active"}


def test_a_collection_keeps_the_rows_once() -> None:
    metrics = MetricCollection({**every_metric(), "auroc": OODAUROC()})
    metrics.update(**part(crops(), slice(0, 9)))
    metrics.update(**part(crops(), slice(9, N)))
    assert sorted(map(len, metrics.compute_groups.values())) == [1, 6]
    members = dict(metrics.items(copy_state=False))
    assert members["ratio"].embeddings is members["recall"].embeddings
    assert kept_bytes(metrics, "ratio") == N * (4 * 5 + 8 + 8 + 8)


def test_without_an_index_every_row_counts() -> None:
    batch = crops()
    metric = RecallAtK()
    metric.update(batch["embeddings"], batch["labels"])
    assert float(metric.compute()) == recall_at_k(batch["embeddings"], batch["labels"])
    metric.update(batch["embeddings"], batch["labels"])
    assert float(metric.compute()) == 1.0  # a copy is found at distance zero


def test_nothing_to_measure_is_nan() -> None:
    metrics = collection()
    for _ in range(2):
        found = values(metrics)
        assert found.pop("together_left_out") == 0.0
        assert np.isnan(list(found.values())).all()
        metrics.update(**part(crops(), slice(0, 0)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_and_arrays(dtype: torch.dtype) -> None:
    batch = crops()
    x = batch["embeddings"].to(dtype)
    metric = MAPAtR()
    metric.update(x, batch["labels"])
    assert float(metric.compute()) == map_at_r(x, batch["labels"])
    again = MAPAtR()
    again.update(x.double().numpy(), batch["labels"].numpy(), batch["index"].numpy(), batch["groups"].numpy())
    order = batch["index"].argsort()
    labels, groups = batch["labels"][order], batch["groups"][order]
    assert float(again.compute()) == map_at_r(x[order].double(), labels, groups=groups)


def test_a_forward_gives_the_batch_and_keeps_it() -> None:
    batch = crops()
    metric = InterIntraRatio()
    for rows in (slice(0, 30), slice(30, N)):
        x, y, index = (batch[name][rows] for name in ("embeddings", "labels", "index"))
        assert float(metric(x, y, index)) == pytest.approx(distance_summary(x, y).ratio, rel=1e-12)
    assert float(metric.compute()) == expected(batch)["ratio"]


# Ranks ---------------------------------------------------------------------------------------------


def _on_rank(batches: list[Batch], compute_groups: bool) -> dict[str, float]:
    metrics = collection(compute_groups)
    for batch in batches:
        metrics.update(**batch)
    return values(metrics)


@pytest.mark.parametrize("compute_groups", [False, True])
@pytest.mark.parametrize(("world", "way"), [(2, 0), (3, 1)])
def test_ranks_together_equal_one_process(gloo: Gloo, world: int, way: int, compute_groups: bool) -> None:
    batch = crops(tied=True)
    whole = expected(batch)
    for answer in gloo(world).run(_on_rank, shared(batch, SHARES[world][way]), compute_groups):
        assert answer == whole  # whoever holds a crop, to the last bit


def test_ranks_that_all_hold_nothing(gloo: Gloo) -> None:
    for answer in gloo(2).run(_on_rank, [[], [part(crops(), slice(0, 0))]], True):
        assert answer.pop("together_left_out") == 0.0
        assert np.isnan(list(answer.values())).all()


# Any LightningModule -------------------------------------------------------------------------------


class Plain(L.LightningModule):
    """Somebody's module: embeddings change from epoch to epoch, one loader, metrics logged as objects."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.scale, self.path = torch.nn.Parameter(torch.ones(())), path
        self.recall = RecallAtK(k=2, seed=3)
        self.metrics = MetricCollection({"auroc": OODAUROC(), "ratio": InterIntraRatio()}, prefix="val/")
        self.seen: list[dict[str, float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.scale.square()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def validation_step(self, columns: list[Tensor], batch_idx: int) -> None:
        batch = moved(dict(zip(crops(), columns, strict=True)), self.current_epoch)
        self.recall.update(batch["embeddings"], batch["labels"], batch["index"], batch["groups"])
        self.metrics.update(**batch)
        self.log("val/recall", self.recall)
        self.log_dict(self.metrics)

    def on_train_epoch_end(self) -> None:
        self.seen.append({name: float(value) for name, value in self.trainer.callback_metrics.items()})
        torch.save(self.seen, f"{self.path}.{self.global_rank}")


def moved(batch: Batch, epoch: int) -> Batch:
    """Other embeddings and scores in each epoch."""
    scale = torch.tensor([1.0 + 4.0 * epoch, 1, 1, 1, 1])
    return {**batch, "embeddings": batch["embeddings"] * scale, "scores": batch["scores"] * (1 - 2 * epoch)}


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_plain_module_logs_the_objects(tmp_path: Path, ranks: int) -> None:
    """61 crops on two ranks: Lightning's sampler pads one with a copy."""
    batch = crops()
    data = TensorDataset(*batch.values())
    trainer = L.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp_fork" if ranks > 1 else "auto",
        max_epochs=2,
        limit_train_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    loaders = DataLoader(data, batch_size=8), DataLoader(data, batch_size=8)
    trainer.fit(Plain(tmp_path / "seen"), *loaders)
    for rank in range(ranks):
        for epoch, seen in enumerate(torch.load(tmp_path / f"seen.{rank}")):
            now = moved(batch, epoch)
            whole = expected(now) | {"auroc": auroc(now["scores"][now["known"]], now["scores"][~now["known"]])}
            found = [seen[f"val/{name}"] for name in ("recall", "auroc", "ratio")]
            assert found == pytest.approx([whole[name] for name in ("recall", "auroc", "ratio")], rel=1e-6)
            assert whole["ratio"] != expected(batch)["ratio"] or epoch == 0


# Errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": torch.zeros(N)}, r"embeddings must have shape \(N, D\), one row each, got \(61,\)"),
        ({"embeddings": torch.full((N, 5), torch.nan)}, "embeddings must be finite, but row 0"),
        ({"labels": torch.zeros(3).long()}, r"labels must hold one label per row, shape \(61,\), got \(3,\)"),
        ({"labels": torch.zeros(N)}, "labels must be integers, got torch.float32"),
        ({"index": torch.zeros(3).long()}, r"index must hold one number per row, shape \(61,\), got \(3,\)"),
        ({"groups": torch.zeros(3).long()}, r"groups must hold one group per row, shape \(61,\), got \(3,\)"),
        ({"groups": np.array(["a"] * N)}, "groups must be integers, got <U1: np.unique"),
    ],
)
def test_wrong_embeddings(change: dict[str, Any], message: str) -> None:
    batch = {name: crops()[name] for name in ("embeddings", "labels", "index", "groups")}
    metric = RecallAtK()
    with pytest.raises(ValueError, match=message):
        metric.update(**{**batch, **change})
    metric.update(**batch)  # and nothing of it was kept
    assert float(metric.compute()) == recall_at_k(*(batch[k] for k in ("embeddings", "labels")), groups=batch["groups"])


def test_wrong_options() -> None:
    for k in (0, -1):
        with pytest.raises(ValueError, match=f"Recall@k needs k of at least 1, got {k}"):
            RecallAtK(k=k)
    for ks in ((), (1, 0)):
        with pytest.raises(ValueError, match="Recall@k needs k of at least 1"):
            RetrievalMetrics(ks=ks)
    with pytest.raises(ValueError, match="most_anchors must be at least 1, got 0"):
        ActiveTripletFraction(most_anchors=0)
