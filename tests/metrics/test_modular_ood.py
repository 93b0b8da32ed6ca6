"""torchmetrics classes on OOD scores against the pure functions, their intervals, and unequal ranks."""

from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from dml_lightning.metrics import OODAUROC, OODFPR95
from dml_lightning.metrics.functional import auroc, fpr_at_tpr
from dml_lightning.stats.intervals import Scored, _interval
from tests.metrics.made import SHARES, Batch, N, crops, kept_bytes, part, shared, values
from tests.ranks import Gloo


def collection() -> MetricCollection:
    return MetricCollection({"auroc": OODAUROC(), "ood": OODFPR95(positive="ood"), "known": OODFPR95("known")})


def expected(batch: Batch) -> dict[str, float]:
    """The values of `collection` by the pure functions."""
    sides = batch["scores"][batch["known"]], batch["scores"][~batch["known"]]
    return {
        "auroc": auroc(*sides),
        "ood": fpr_at_tpr(*sides, positive="ood"),
        "known": fpr_at_tpr(*sides, positive="known"),
    }


def test_batches_equal_one_call() -> None:
    metrics = collection()
    for epoch in range(2):
        batch = crops(epoch)
        for rows in (slice(0, 0), slice(0, 30), slice(30, 31), slice(20, N)):  # ten of them come twice
            metrics.update(**part(batch, rows))
        assert values(metrics) == expected(batch)
        assert len(set(values(metrics).values())) == 3
        metrics.reset()


def test_without_an_index_every_row_counts() -> None:
    batch = {name: crops()[name] for name in ("scores", "known")}
    metrics = collection()
    for rows in (slice(0, N), slice(0, 9)):
        metrics.update(**part(batch, rows))
    assert values(metrics) == expected(part(batch, [*range(N), *range(9)])) != expected(batch)


def test_a_collection_keeps_the_rows_once() -> None:
    metrics = collection()
    metrics.update(**part(crops(), slice(0, 9)))
    metrics.update(**part(crops(), slice(9, N)))
    assert [len(group) for group in metrics.compute_groups.values()] == [3]
    assert kept_bytes(metrics, "known") == N * (9 + 8 + 8)


@pytest.mark.parametrize("rows", [None, slice(0, 0), "known"])
def test_a_side_without_crops_is_nan(rows: Any) -> None:
    metrics, batch = collection(), crops()
    if rows is not None:
        metrics.update(**part(batch, batch["known"] if rows == "known" else rows))
    assert np.isnan(list(values(metrics).values())).all()


def test_arrays_and_other_precisions() -> None:
    batch = crops()
    metric = OODAUROC()
    metric.update(*(batch[name].numpy() for name in ("scores", "known", "index", "groups")))
    half = OODAUROC()
    half.update(batch["scores"].half(), batch["known"])
    assert float(metric.compute()) == expected(batch)["auroc"]
    assert float(half.compute()) == expected({**batch, "scores": batch["scores"].half()})["auroc"]


# Ranks ---------------------------------------------------------------------------------------------


def _on_rank(batches: list[Batch]) -> dict[str, float]:
    metrics = collection()
    for batch in batches:
        metrics.update(**batch)
    return values(metrics)


@pytest.mark.parametrize(("world", "way"), [(2, 0), (3, 1)])
def test_ranks_together_equal_one_process(gloo: Gloo, world: int, way: int) -> None:
    batch = crops()
    for answer in gloo(world).run(_on_rank, shared(batch, SHARES[world][way])):
        assert answer == expected(batch)


def _on_step(batch: Batch) -> tuple[float, float]:
    metric = OODAUROC(dist_sync_on_step=True)
    return float(metric(batch["scores"], batch["known"])), float(metric.compute())


def test_a_step_may_bring_ranks_together(gloo: Gloo) -> None:
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


def test_ranks_share_one_interval(gloo: Gloo) -> None:
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


# Errors --------------------------------------------------------------------------------------------


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


def test_the_convention_has_to_be_named() -> None:
    with pytest.raises(ValueError, match='positive must be "ood" or "known", got \'id\''):
        OODFPR95(positive="id")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="positive"):
        OODFPR95()  # type: ignore[call-arg]
