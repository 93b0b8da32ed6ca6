"""Differences flight by flight: each metric of a flight by its own definition, and what four flights would decide."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.evaluation.open_set import open_set_sample
from dml_lightning.metrics.bootstrap import expanded_interval, group_draws
from dml_lightning.metrics.ood import auroc
from dml_lightning.metrics.open_set import aurc
from dml_lightning.stats.arms import beside_flights, compare_arms
from dml_lightning.stats.flights import (
    RunEvidence,
    flight_differences,
    flight_values,
    flights_of,
    mean_over_flights,
)
from dml_lightning.stats.paired import sign_flip_p
from tests.made_up import arrays
from tests.stats.runs import asked, runs

Array = NDArray[np.float64]


@pytest.fixture
def evidence(tmp_path: Any) -> Evidence:
    np.savez(tmp_path / "test.npz", **arrays(3, spread=0.6))
    return read_evidence(tmp_path / "test.npz")


def test_accuracy_of_a_flight_is_that_of_its_crops(evidence: Evidence) -> None:
    known, reference = evidence.sets["known"], evidence.sets["reference"]
    means = np.stack([reference.vectors.numpy()[reference.labels.numpy() == c].mean(0) for c in range(3)])
    nearest = ((known.vectors.numpy()[:, None] - means) ** 2).sum(-1).argmin(1)
    right, labels = nearest == known.labels.numpy(), known.labels.numpy()
    plain, balanced = (flight_values(evidence, f"{name}_prototype") for name in ("accuracy", "balanced_accuracy"))
    assert list(plain) == [f"flight_{n}" for n in range(4)]
    for flight in plain:
        own = evidence.groups["known"] == flight
        assert plain[flight] == pytest.approx(right[own].mean())
        shares = [right[own & (labels == c)].mean() for c in set(labels[own])]
        assert balanced[flight] == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("name", ["known", "novel"])
@pytest.mark.parametrize("others", [False, True])
def test_retrieval_of_a_flight_searches_the_whole_test(evidence: Evidence, name: Any, others: bool) -> None:
    part, groups = evidence.sets[name], evidence.groups[name]
    vectors, labels = part.vectors.double().numpy(), part.labels.numpy()
    first = np.zeros(len(labels))
    for query in range(len(labels)):
        allowed = groups != groups[query] if others else np.arange(len(labels)) != query
        distances = np.where(allowed, ((vectors - vectors[query]) ** 2).sum(1), np.inf)
        first[query] = labels[distances.argmin()] == labels[query]
    prefix, suffix = "novel_" if name == "novel" else "", "_other_groups" if others else ""
    values = flight_values(evidence, f"{prefix}recall_at_1{suffix}")
    assert values == pytest.approx({flight: first[groups == flight].mean() for flight in sorted(set(groups))})


def test_the_auroc_of_a_flight_is_within_it(evidence: Evidence) -> None:
    groups = dict(evidence.groups)
    groups["ood"] = np.where(groups["ood"] == "flight_3", "flight_2", groups["ood"])
    given = replace(evidence, groups=groups)
    values = flight_values(given, "ood_auroc")
    assert np.isnan(values["flight_3"])  # no OOD crops in it
    reference, sets = given.sets["reference"], given.sets
    means = np.stack([reference.vectors.numpy()[reference.labels.numpy() == c].mean(0) for c in range(3)])
    scores = {s: np.sqrt(((sets[s].vectors.numpy()[:, None] - means) ** 2).sum(-1)).min(1) for s in ("known", "ood")}  # type: ignore[index]
    for flight in ("flight_0", "flight_2"):
        own = [scores[s][groups[s] == flight] for s in ("known", "ood")]  # type: ignore[index]
        assert values[flight] == pytest.approx(auroc(*own))


def test_naming_with_refusal_of_a_flight_is_within_it(evidence: Evidence) -> None:
    sets, groups = evidence.sets, evidence.groups
    sample = open_set_sample(evidence)
    of_novel, risks = flight_values(evidence, "novel_oscr"), flight_values(evidence, "aurc")
    assert len(sets["known"]) > len(of_novel) == 4
    for flight in of_novel:
        own, strange = groups["known"] == flight, sample.novel[groups["novel"] == flight]
        below = [(score < strange).mean() * right for score, right in zip(sample.known, sample.right, strict=True)]
        assert of_novel[flight] == pytest.approx(np.array(below)[own].mean())
        assert risks[flight] == pytest.approx(aurc(sample.known[own], ~sample.right[own]))


def test_numbers_of_a_whole_test_and_crops_without_flights_have_no_values(evidence: Evidence) -> None:
    assert flight_values(evidence, "inter_intra_ratio") == {}
    alone: dict[Any, Any] = {
        name: np.array([f"{name} {n}" for n in range(len(own))], dtype=str) for name, own in evidence.groups.items()
    }
    unnamed = replace(evidence, groups=alone)
    assert flights_of(unnamed, "recall_at_1") == set()
    assert flight_values(unnamed, "recall_at_1") == {}


def test_flights_are_those_of_the_crops_that_a_metric_is_about(evidence: Evidence) -> None:
    groups = dict(evidence.groups)
    groups["novel"] = np.where(groups["novel"] == "flight_0", "elsewhere", groups["novel"])
    groups["ood"] = np.array(["over there"] * len(groups["ood"]))
    groups["clutter"] = np.array(["far away"])
    given = replace(evidence, groups=groups)
    known = {f"flight_{n}" for n in range(4)}
    novel = set(groups["novel"].tolist())
    assert "elsewhere" in novel
    for metric, names in {
        "map_at_r": known,
        "balanced_accuracy_prototype": known,
        "novel_map_at_r": novel,
        "novel_auroc": known | novel,
        "novel_oscr_prototype": known | novel,
        "ood_auroc_far": known | {"over there"},
        "oscr": known | {"over there"},
        "aurc": known,
        "reject_ood_auroc": known | {"over there"},
        "reject_novel_auroc": known | novel,
        "clutter_auroc": known | {"far away"},
        "reject_clutter_auroc": known | {"far away"},
    }.items():
        assert flights_of(given, metric) == names
    assert set(flight_values(given, "novel_recall_at_1")) == novel


def test_the_difference_of_a_flight_is_its_mean_over_runs(evidence: Evidence, tmp_path: Any) -> None:
    given = []
    for arm, seed in (("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2)):  # the last has no partner
        np.savez(tmp_path / "one.npz", **arrays(seed, spread=0.3 if arm == "a" else 0.7))
        given.append(RunEvidence(arm, seed, 0, read_evidence(tmp_path / "one.npz")))
    values = {(run.arm, run.seed): flight_values(run.evidence, "recall_at_1") for run in given}
    gaps = flight_differences(iter(given), "recall_at_1", baseline="b")
    expected = [np.mean([values["a", s][f] - values["b", s][f] for s in (0, 1)]) for f in sorted(values["a", 0])]
    assert list(gaps) == ["a"]
    assert gaps["a"] == pytest.approx(expected)

    table = runs({"b": 0.0, "a": 0.1}, seeds=2, folds=1)
    result = beside_flights(compare_arms(table, asked(baseline="b")), given, "recall_at_1")
    assert result.flights == 4
    (found,) = result.by_flight
    assert found.estimate == mean_over_flights(gaps["a"])
    assert result.sentence.endswith(
        f"these classes and these 4 test flights. Flight by flight, a minus b in map_at_r: {found.estimate.text('+')} "
        "over 4 test flights, too few to speak of other flights."
    )
    by_fold = beside_flights(compare_arms(runs({"b": 0.0, "a": 0.1}), asked(baseline="b", unit="fold")), given, "x")
    assert (by_fold.by_flight, by_fold.flights) == ((), 4)


def test_from_five_flights_on_there_is_the_one_interval() -> None:
    values = np.random.default_rng(0).normal(0.02, 0.05, 7)
    found = mean_over_flights(values)
    means = group_draws(7, 2000, 0) @ values / 7
    assert (found.low, found.high) == expanded_interval(means, 7)
    assert (found.mean, found.spread, found.units) == (pytest.approx(values.mean()), "interval", 7)
    few = mean_over_flights(values[:4])
    assert (few.low, few.high, few.spread) == (values[:4].min(), values[:4].max(), "range")


def no_difference(flights: int, worlds: int = 1500, seeds: int = 8) -> tuple[Array, Array, Array]:
    """Differences over seeds (seeds, worlds), over flights (flights, worlds), and of these seeds on all flights.

    On flights to come the arms are equal but for their seeds; flights spread half more than seeds do.
    """
    rng = np.random.default_rng(flights)
    of_flight = rng.normal(0, 0.03, (flights, worlds))
    of_seed, noise = rng.normal(0, 0.02, (seeds, worlds)), rng.normal(0, 0.02, (seeds, flights, worlds))
    cells = of_flight + of_seed[:, None] + noise
    return cells.mean(axis=1), cells.mean(axis=0), of_seed.mean(axis=0)


def test_seeds_on_four_flights_name_winners_that_flights_to_come_do_not_know() -> None:
    over_seeds, _, _ = no_difference(4)
    assert (sign_flip_p(over_seeds) <= 0.05).mean() > 0.25
    over_seeds, over_flights, truth = no_difference(8)
    assert (sign_flip_p(over_seeds) <= 0.05).mean() > 0.15  # more flights do not mend it
    outside = []
    for world in range(200):
        found = mean_over_flights(over_flights[:, world])
        outside.append(not found.low <= truth[world] <= found.high)
    assert np.mean(outside) < 0.11
