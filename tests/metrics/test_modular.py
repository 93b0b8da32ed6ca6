"""torchmetrics classes against the pure functions, over batches, epochs and ranks of unequal size."""

import doctest
import importlib
import itertools
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric, MetricCollection

import dml_lightning.metrics
from dml_lightning.distributed import without_copies
from dml_lightning.metrics import (
    OODAUROC,
    OODFPR95,
    ActiveTripletFraction,
    InterIntraRatio,
    MAPAtR,
    RecallAtK,
    RetrievalMetrics,
    RPrecision,
)
from dml_lightning.metrics.functional import auroc, distance_summary, fpr_at_tpr, map_at_r, recall_at_k
from dml_lightning.metrics.retrieval import r_precision, retrieval_summary
from dml_lightning.metrics.triplets import fractions, triplet_fractions
from dml_lightning.stats.intervals import Scored, _interval

Batch = dict[str, Tensor]
N = 61


def crops(seed: int = 0, *, tied: bool = False) -> Batch:
    """Every column that any class takes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (N,), generator=generator)
    embeddings = torch.randn(4, 5, generator=generator)[labels] + torch.randn(N, 5, generator=generator)
    known = torch.rand(N, generator=generator) < 0.6
    groups = torch.randint(6, (N,), generator=generator) ** 2
    labels[:3], groups[:3] = 9, 16  # a class that was seen on one flight only
    return {
        "embeddings": embeddings.round() if tied else embeddings,
        "labels": labels,
        "index": torch.randperm(N, generator=generator) * 3 + 5,
        "groups": groups,
        "scores": torch.randn(N, generator=generator).round(decimals=1) - known.float(),
        "known": known,
    }


def part(batch: Batch, rows: Any) -> Batch:
    return {name: column[rows] for name, column in batch.items()}


def every_metric() -> dict[str, Metric]:
    return {
        "ratio": InterIntraRatio(),
        "recall": RecallAtK(k=2, seed=3),
        "r_precision": RPrecision(seed=3),
        "map_at_r": MAPAtR(seed=3),
        "together": RetrievalMetrics(ks=(1, 2), seed=3),
        "active": ActiveTripletFraction(margin=0.5, squared=True, most_anchors=20),
        "auroc": OODAUROC(),
        "fpr_ood": OODFPR95(positive="ood"),
        "fpr_known": OODFPR95(positive="known"),
    }


def expected(batch: Batch, *, grouped: bool = True) -> dict[str, float]:
    """The values of `every_metric` by the pure functions, of crops in the order of their index."""
    batch = part(batch, batch["index"].argsort())
    x, y, scores, known = (batch[name] for name in ("embeddings", "labels", "scores", "known"))
    options: dict[str, Any] = {"groups": batch["groups"] if grouped else None, "seed": 3}
    found = retrieval_summary(x, y, ks=(1, 2), **options)
    sides = scores[known], scores[~known]
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
        "auroc": auroc(*sides),
        "fpr_ood": fpr_at_tpr(*sides, positive="ood"),
        "fpr_known": fpr_at_tpr(*sides, positive="known"),
    }


def values(metrics: MetricCollection) -> dict[str, float]:
    with warnings.catch_warnings():  # on a rank that holds nothing
        warnings.filterwarnings("ignore", message=".*was called before the ``update`` method.*")
        return {name: float(value) for name, value in metrics.compute().items()}


def collection(compute_groups: bool = True) -> MetricCollection:
    return MetricCollection(every_metric(), compute_groups=compute_groups)


def test_functions_import_no_torchmetrics() -> None:
    code = (
        "import sys, dml_lightning.metrics\n"
        "from dml_lightning.metrics.functional import recall_at_k\n"
        "print(sorted({'torchmetrics', 'torchvision', 'lightning'} & set(sys.modules)))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_name_is_there() -> None:
    for name in dml_lightning.metrics.__all__:
        assert issubclass(getattr(dml_lightning.metrics, name), Metric)
        assert name in dir(dml_lightning.metrics)
    with pytest.raises(AttributeError, match=r"'dml_lightning.metrics' has no attribute 'DistanceRatio'"):
        _ = dml_lightning.metrics.DistanceRatio


@pytest.mark.parametrize("name", ["__init__", "modular", "modular_ood", "ranks", "retrieval", "triplets"])
def test_examples(name: str) -> None:
    module = importlib.import_module(f"dml_lightning.metrics.{name}".removesuffix(".__init__"))
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("compute_groups", [False, True])
def test_batches_equal_one_call(tied: bool, grouped: bool, compute_groups: bool) -> None:
    metrics = collection(compute_groups)
    for epoch in range(2):  # a reset forgets the epoch before
        batch = crops(epoch, tied=tied)
        given = batch if grouped else {name: column for name, column in batch.items() if name != "groups"}
        for rows in (slice(0, 0), slice(0, 30), slice(30, 31), slice(20, N)):  # ten of them come twice
            metrics.update(**part(given, rows))
        assert values(metrics) == expected(batch, grouped=grouped)
        metrics.reset()


def test_groups_change_retrieval_alone() -> None:
    with_groups, without = expected(crops()), expected(crops(), grouped=False)
    same = {name for name, value in without.items() if value == with_groups[name]}
    assert same == {"ratio", "active", "auroc", "fpr_ood", "fpr_known"}


def test_a_collection_keeps_the_rows_once() -> None:
    metrics = collection()
    metrics.update(**part(crops(), slice(0, 9)))
    metrics.update(**part(crops(), slice(9, N)))
    assert sorted(map(len, metrics.compute_groups.values())) == [3, 6]
    members = dict(metrics.items(copy_state=False))
    assert members["ratio"].embeddings is members["recall"].embeddings
    kept = sum(column.nbytes for state in members["ratio"].metric_state.values() for column in state)
    assert kept == N * (4 * 5 + 8 + 8 + 8)
    kept = sum(column.nbytes for state in members["auroc"].metric_state.values() for column in state)
    assert kept == N * (9 + 8 + 8)


def test_without_an_index_every_row_counts() -> None:
    batch = crops()
    metric = RecallAtK()
    metric.update(batch["embeddings"], batch["labels"])
    assert float(metric.compute()) == recall_at_k(batch["embeddings"], batch["labels"])
    metric.update(batch["embeddings"], batch["labels"])
    assert float(metric.compute()) == 1.0  # a copy is found at distance zero


def test_nothing_to_measure_is_nan() -> None:
    metrics = collection()
    assert all(np.isnan(value) for name, value in values(metrics).items() if name != "together_left_out")
    metrics.update(**part(crops(), slice(0, 0)))
    found = values(metrics)
    assert found.pop("together_left_out") == 0.0
    assert all(np.isnan(value) for value in found.values())


def test_what_comes_later_does_not_change_what_was_kept() -> None:
    batch = crops()
    whole = expected(batch)
    metrics = collection()
    metrics.update(**batch)
    for column in batch.values():
        column.zero_()
    assert values(metrics) == whole


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


def test_a_pickled_copy_goes_on() -> None:
    batch = crops()
    metrics = collection()
    metrics.update(**part(batch, slice(0, 40)))
    copy = pickle.loads(pickle.dumps(metrics))
    copy.update(**part(batch, slice(40, N)))
    assert values(copy) == expected(batch)


# Ranks ---------------------------------------------------------------------------------------------


def _on_rank(batches: list[Batch], compute_groups: bool) -> list[dict[str, float]]:
    metrics = collection(compute_groups)
    answers = []
    for again in (False, True, False):
        for batch in batches:
            metrics.update(**batch)
        answers.append(values(metrics))
        if again:  # the second time goes on from the first, with copies alone; the third begins anew
            metrics.reset()
    return answers


SHARES: dict[int, list[list[list[range]]]] = {  # world -> ways to share rows out -> rank -> batches
    1: [[[range(40), range(30, N)]]],
    2: [
        [[range(45), range(40, 50)], [range(48, N), range(3)]],
        [[range(N), range(N)], []],  # nothing on the last rank
        [[range(0)], [range(30), range(20, N)]],  # a batch without rows on the first
    ],
    3: [
        [[range(7, 8)], [range(8, N), range(7)], [range(20, 22), range(2)]],
        [[], [range(30), range(29, 40)], [range(40, N)]],
        [[range(N)], [], [range(0)]],
    ],
}


@pytest.mark.parametrize("compute_groups", [False, True])
@pytest.mark.parametrize(("world", "way"), [(w, i) for w, ways in SHARES.items() for i in range(len(ways))])
def test_ranks_together_equal_one_process(
    gloo: Callable[[int], Any], world: int, way: int, compute_groups: bool
) -> None:
    batch = crops(tied=True)
    batches = [[part(batch, list(rows)) for rows in of_rank] for of_rank in SHARES[world][way]]
    whole = expected(batch)
    for answer in gloo(world).run(_on_rank, batches, compute_groups):
        assert answer == [whole] * 3  # whoever holds a crop, to the last bit


def _without_index(batch: Batch) -> list[float]:
    metrics = [RecallAtK(k=2), InterIntraRatio(), OODAUROC()]
    columns = [("embeddings", "labels", "groups"), ("embeddings", "labels"), ("scores", "known")]
    for metric, names in zip(metrics, columns, strict=True):
        metric.update(**{name: batch[name] for name in names})
    return [float(metric.compute()) for metric in metrics]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_without_an_index_count_every_row(gloo: Callable[[int], Any], world: int) -> None:
    batch = crops()
    starts = [0, 4, 50, N][: world + 1]
    shares = [part(batch, slice(a, b)) for a, b in itertools.pairwise(starts)]
    whole = part(batch, slice(0, starts[world]))
    for answer in gloo(world).run(_without_index, shares):
        assert answer == pytest.approx(_without_index(whole), rel=1e-12)


def _nothing(empty: bool) -> list[float]:
    metrics = collection()
    if empty:
        metrics.update(**part(crops(), slice(0, 0)))
    return [value for name, value in values(metrics).items() if name != "together_left_out"]


def test_ranks_that_all_hold_nothing(gloo: Callable[[int], Any]) -> None:
    for answer in gloo(3).run(_nothing, [False, True, False]):
        assert np.isnan(answer).all()


def _fails(batch: Batch) -> str:
    metric = InterIntraRatio()
    metric.update(**batch)
    with pytest.raises(ValueError, match=r".") as error:
        metric.compute()
    return str(error.value)


def test_every_rank_refuses_what_does_not_fit_together(gloo: Callable[[int], Any]) -> None:
    batch = {name: crops()[name] for name in ("embeddings", "labels", "index")}
    some = part(batch, slice(0, 4))
    bare = {name: column for name, column in part(batch, slice(4, N)).items() if name != "index"}
    message = f"index came with 4 of {N} crops: give it in each update or in none."
    assert gloo(2).run(_fails, [some, bare]) == [message] * 2
    narrow = {**part(batch, slice(4, N)), "embeddings": batch["embeddings"][4:, :3]}
    for answer in gloo(2).run(_fails, [some, narrow]):
        assert answer.startswith("ranks must keep rows of one shape and type")
    other = {**some, "labels": some["labels"] + 1}
    for answer in gloo(2).run(_fails, [some, other]):
        assert answer.endswith("stands for crops that differ in labels: number the crops of all loaders apart.")


def _on_step(batch: Batch) -> tuple[float, float]:
    metric = OODAUROC(dist_sync_on_step=True)
    return float(metric(batch["scores"], batch["known"])), float(metric.compute())


def test_a_step_may_bring_ranks_together(gloo: Callable[[int], Any]) -> None:
    batch = crops()
    whole = expected(batch)["auroc"]
    assert gloo(2).run(_on_step, [part(batch, slice(0, 50)), part(batch, slice(50, N))]) == [(whole, whole)] * 2


# Intervals -----------------------------------------------------------------------------------------


def _intervals(batch: Batch) -> list[Any]:
    answers = []
    for metric in (OODAUROC(), OODFPR95("known")):
        if len(batch["scores"]):
            metric.update(batch["scores"], batch["known"], batch["index"], batch["groups"])
        answers.append(metric.interval(draws=100, seed=4))
    return answers


def test_interval_is_that_of_the_reports() -> None:
    batch = crops()
    scores, known, groups = (batch[name].numpy() for name in ("scores", "known", "groups"))
    names = np.strings.zfill(groups.astype(str), 2)  # in the order of the numbers
    sides = Scored(scores[known], names[known], scores[~known], names[~known])
    theirs = _interval([sides], 100, 4)
    ours = _intervals(batch)[0]
    assert ours.estimate == pytest.approx(theirs.estimate, rel=1e-12)
    assert ours.groups == theirs.groups == 6
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert ours.low < ours.estimate < ours.high


def test_ranks_share_one_interval(gloo: Callable[[int], Any]) -> None:
    batch = crops()
    shares = [part(batch, slice(0, 45)), part(batch, slice(0, 0)), part(batch, slice(40, N))]
    whole = part(batch, batch["index"].argsort())
    for answer in gloo(3).run(_intervals, shares):
        assert answer == _intervals(whole)


def test_an_interval_needs_groups() -> None:
    batch = crops()
    metric = OODAUROC()
    metric.update(batch["scores"], batch["known"])
    with pytest.raises(ValueError, match="an interval resamples groups: give them to each update"):
        metric.interval()
    metric.reset()
    metric.update(batch["scores"], batch["known"], groups=(~batch["known"]).long() * batch["groups"])
    lone = metric.interval()  # known crops of one flight
    assert lone.estimate == auroc(batch["scores"][batch["known"]], batch["scores"][~batch["known"]])
    assert np.isnan([lone.low, lone.high]).all()


# Any LightningModule -------------------------------------------------------------------------------


class Plain(L.LightningModule):
    """Somebody's module: embeddings change from epoch to epoch, one loader, metrics logged as objects."""

    def __init__(self, path: Path, indexed: bool = True) -> None:
        super().__init__()
        self.scale, self.path, self.indexed = torch.nn.Parameter(torch.ones(())), path, indexed
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
            whole = expected(moved(batch, epoch))
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": torch.zeros(N, 1)}, r"scores must have shape \(N,\), one score per sample, got \(61, 1\)"),
        ({"scores": torch.full((N,), torch.nan)}, "scores must not be NaN, but number 0 is"),
        (
            {"known": torch.ones(N).long()},
            r"known must hold one bool per score, shape \(61,\), got torch.int64 \(61,\)",
        ),
        ({"known": torch.ones(3).bool()}, r"known must hold one bool per score, shape \(61,\), got torch.bool \(3,\)"),
        ({"index": torch.zeros(N)}, "index must be integers"),
        ({"groups": torch.zeros(3).long()}, r"groups must hold one group per row, shape \(61,\), got \(3,\)"),
    ],
)
def test_wrong_scores(change: dict[str, Any], message: str) -> None:
    batch = {name: crops()[name] for name in ("scores", "known", "index", "groups")}
    with pytest.raises(ValueError, match=message):
        OODAUROC().update(**{**batch, **change})


def test_updates_that_do_not_fit_together() -> None:
    x, y = crops()["embeddings"], crops()["labels"]
    metric = InterIntraRatio()
    metric.update(x, y)
    with pytest.raises(ValueError, match="embeddings have 3 dimensions and those before 5: embed all with one encoder"):
        metric.update(x[:, :3], y)
    metric.update(x, y, groups=y)
    with pytest.raises(ValueError, match=f"groups came with {N} of {2 * N} crops"):
        metric.compute()
    clash = InterIntraRatio()  # two loaders that both count from 0
    clash.update(x[:3], torch.tensor([0, 1, 2]), index=torch.tensor([0, 1, 2]))
    clash.update(x[3:5], torch.tensor([0, 3]), index=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="index 1 stands for crops that differ in labels: number the crops of all"):
        clash.compute()
    scores = OODAUROC()
    scores.update(torch.zeros(2), torch.tensor([True, False]), index=torch.tensor([4, 4]))
    with pytest.raises(ValueError, match="index 4 stands for crops that differ in known"):
        scores.compute()


def test_wrong_options() -> None:
    for k in (0, -1):
        with pytest.raises(ValueError, match=f"Recall@k needs k of at least 1, got {k}"):
            RecallAtK(k=k)
    for ks in ((), (1, 0)):
        with pytest.raises(ValueError, match="Recall@k needs k of at least 1"):
            RetrievalMetrics(ks=ks)
    with pytest.raises(ValueError, match="most_anchors must be at least 1, got 0"):
        ActiveTripletFraction(most_anchors=0)
    with pytest.raises(ValueError, match='positive must be "ood" or "known", got \'id\''):
        OODFPR95(positive="id")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="positive"):
        OODFPR95()  # type: ignore[call-arg]


# What the classes share with the rest ---------------------------------------------------------------


def test_triplet_fractions_equal_a_count_by_hand() -> None:
    x, y = crops()["embeddings"].double(), crops()["labels"]
    distance = (x[:, None] - x).norm(dim=2)
    same = y[:, None] == y
    valid = (same & ~torch.eye(N, dtype=torch.bool))[:, :, None] & ~same[:, None]  # (N, N, N) anchor, pos., neg.
    gaps = (distance[:, :, None] - distance[:, None])[valid].numpy()
    found = triplet_fractions(x, y, margin=0.2, most_anchors=N)
    assert found["active_triplet_fraction"] == pytest.approx(np.mean(gaps + 0.2 > 0))
    assert found["hard_triplet_fraction"] == pytest.approx(np.mean(gaps > 0))
    nothing = triplet_fractions(x[:0], y[:0])
    assert np.isnan(list(nothing.values())).all()
    assert set(nothing) == set(fractions({k: torch.ones(()) for k in ("valid", "active", "hard", "semihard", "easy")}))


def test_of_copies_the_first_stays() -> None:
    index = torch.tensor([7, 2, 7, -1, 2, 9])
    assert without_copies(index).tolist() == [3, 1, 0, 5]
    assert without_copies(index[:0]).tolist() == []
