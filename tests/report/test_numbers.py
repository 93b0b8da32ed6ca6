"""Curves, confusions, coverage and mistakes, against what their definitions say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from dml_lightning.evaluation.distances import distance_sample
from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.evaluation.numbers import measure
from dml_lightning.evaluation.ood import reference_prototypes
from dml_lightning.flights.drift import FlightDrift
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.metrics.ood import auroc
from dml_lightning.report.numbers import (
    confusion_counts,
    coverage,
    drift_of_test,
    mistakes,
    named,
    roc,
    rules_on_test,
    thresholds,
)
from dml_lightning.types import Embeddings
from tests.made_up import Made


@pytest.fixture
def evidence(tmp_path: Path, made: Made) -> Evidence:
    np.savez(tmp_path / "e.npz", **made(calibration=20))
    return read_evidence(tmp_path / "e.npz")


def test_a_curve_has_the_area_of_the_auroc_and_counts_ties_together() -> None:
    rng = np.random.default_rng(0)
    known, ood = rng.integers(0, 9, 40) * 1.0, rng.integers(2, 12, 30) * 1.0
    false, true = roc(known, ood)
    assert np.trapezoid(true, false) == pytest.approx(auroc(known, ood))
    cuts = [np.inf, *sorted({*known, *ood}, reverse=True)]
    np.testing.assert_allclose(false, [(known >= cut).mean() for cut in cuts])
    np.testing.assert_allclose(true, [(ood >= cut).mean() for cut in cuts])


@pytest.mark.parametrize("crops", [20, 40, 60, 5000])
def test_a_share_of_crops_is_the_nearest_number_to_it(crops: int) -> None:
    """So that 2 of 40 known crops are at most 5 %, which 1 - 38 / 40 is not in floating point."""
    false, true = roc(np.arange(float(crops)), np.arange(float(crops)) + 0.5)
    assert false[::2].tolist() == true[::2].tolist() == [refused / crops for refused in range(crops + 1)]
    assert 0.05 in false


def test_confusion_is_scikit_learns(evidence: Evidence) -> None:
    truth = evidence.sets["known"].labels.numpy()
    np.testing.assert_array_equal(confusion_counts(evidence), confusion_matrix(truth, named(evidence)))
    share = np.diag(confusion_counts(evidence)).sum() / len(truth)
    assert share == pytest.approx(measure(evidence)["accuracy"])


def test_sampled_distances_are_plain_distances(evidence: Evidence) -> None:
    reference = evidence.sets["reference"]
    means = np.stack([reference.vectors[reference.labels == c].double().mean(0) for c in range(3)])
    ood = evidence.sets["ood"].vectors.double().numpy()
    result = distance_sample(evidence)
    expected = np.linalg.norm(ood[:, None] - means, axis=2).min(1)
    np.testing.assert_allclose(result.ood, expected)
    known = evidence.sets["known"]
    pairs = np.linalg.norm(known.vectors.double()[:, None] - known.vectors.double(), axis=2)
    same = (known.labels[:, None] == known.labels).numpy() & ~np.eye(len(known), dtype=bool)
    assert result.intra.mean() == pytest.approx(pairs[same].mean(), abs=0.005)
    assert result.inter.min() == pytest.approx(pairs[(known.labels[:, None] != known.labels).numpy()].min())


def test_thresholds_are_there_for_the_rules_that_have_their_crops(evidence: Evidence) -> None:
    assert set(thresholds(evidence)) == {"C"}
    assert set(thresholds(evidence, evidence)) == {"B", "C"}
    calibration = evidence.sets["calibration"].vectors.numpy()
    own = np.sort(reference_prototypes(evidence).score(calibration))
    assert thresholds(evidence)["C"].value == own[int(np.ceil(61 * 0.95)) - 1]


@pytest.mark.filterwarnings("ignore:.*calibration samples.*too few")
def test_a_run_s_rule_c_is_that_of_its_gallery(evidence: Evidence) -> None:
    """Its own alpha and one crop per flight, where a calibration anew would take 5 % and all crops."""
    gallery = Gallery.build(evidence, "digest", alpha=0.25, per_flight=True)
    rule = thresholds(evidence, evidence, gallery)["C"]
    assert (rule.alpha, rule.samples, rule.groups) == (0.25, 4, 4)
    result = coverage(evidence, rule)
    assert result is not None
    assert (result.alpha, result.samples, result.flights) == (0.25, 4, 4)
    assert list(result.refused) == [0.2, 0.25, 0.3]  # four crops allow 1 / (4 + 1) and more
    refused = reference_prototypes(evidence).score(evidence.sets["known"].vectors.numpy()) > rule.value
    assert result.refused[0.25] == refused.mean()
    assert np.isinf(Gallery.build(evidence, "digest", alpha=0.01).threshold("C").value)
    assert "C" not in thresholds(evidence, None, Gallery.build(evidence, "digest", alpha=0.01))


def test_coverage_counts_refused_known_crops_in_all_and_by_flight(evidence: Evidence) -> None:
    result = coverage(evidence, thresholds(evidence)["C"])
    assert result is not None
    assert (result.samples, result.flights) == (60, 4)
    assert list(result.refused) == [0.02, 0.05, 0.1, 0.2, 0.3]  # 1 % needs 99 crops
    assert sum(n for _, n in result.by_flight.values()) == 45
    mean = sum(share * n for share, n in result.by_flight.values()) / 45
    assert mean == pytest.approx(result.refused[0.05])
    assert list(result.refused.values()) == sorted(result.refused.values())


def test_rules_are_judged_on_test_crops_by_their_own_scores(evidence: Evidence) -> None:
    gallery = Gallery.build(evidence, "digest", score="knn5")
    known, ood = (gallery.scores(evidence.sets[name]) for name in ("known", "ood"))
    rules = rules_on_test(evidence, gallery)
    assert list(rules) == ["A", "B", "C"]
    for rule in ("B", "C"):
        value = gallery.threshold(rule).value
        assert rules[rule].score == "distance to the 5th nearest reference crop"
        assert (rules[rule].known_refused, rules[rule].ood_refused) == ((known > value).mean(), (ood > value).mean())
        assert rules[rule].auroc == pytest.approx((known[:, None] < ood).mean())
    result = coverage(evidence, thresholds(evidence, None, gallery)["C"], gallery)
    assert result is not None
    assert result.refused[0.05] == rules["C"].known_refused


def test_drift_takes_all_calibration_crops_where_rule_c_takes_one_per_flight() -> None:
    evidence = shifted(0.0)
    gallery = Gallery.build(evidence, "digest", alpha=0.25, per_flight=True)
    rule = thresholds(evidence, None, gallery)["C"]
    assert rule.one_per_flight
    assert drift_of_test(evidence, rule) == []  # a mean of single crops says nothing of a flight
    (result,) = drift_of_test(evidence, rule, gallery)
    (all_crops,) = drift_of_test(evidence, Gallery.build(evidence, "digest", alpha=0.25).threshold("C"))
    assert (result.shift, result.p) == pytest.approx((all_crops.shift, all_crops.p))


def test_no_coverage_without_calibration_crops(tmp_path: Path, made: Made) -> None:
    np.savez(tmp_path / "e.npz", **made(calibration=6))
    assert thresholds(read_evidence(tmp_path / "e.npz")) == {}  # 18 crops, 19 needed
    assert coverage(read_evidence(tmp_path / "e.npz"), None) is None


def test_mistakes_are_mistakes_and_the_surest_come_first(evidence: Evidence) -> None:
    result = mistakes(evidence, number=5)
    wrong = result["Named wrongly, with the most confidence"]
    assert wrong
    assert all(crop.truth != crop.said for crop in wrong)
    sure = [float(crop.confidence.split()[-1]) for crop in wrong]
    assert sure == sorted(sure, reverse=True)
    near = [float(c.confidence.split()[-1]) for c in result["Not a known species, and closest to one"]]
    assert near == sorted(near)
    assert near[0] == pytest.approx(distance_sample(evidence).ood.min(), abs=0.006)
    far = [c.confidence for c in result["Known species, and farthest from all of them"]]
    assert float(far[0].split()[-1]) == pytest.approx(distance_sample(evidence).known.max(), abs=0.006)


def test_the_picture_of_a_mistake_is_that_crop(evidence: Evidence) -> None:
    names = evidence.class_names
    for crops in mistakes(evidence).values():
        for crop in crops:
            assert crop.thumbnail is not None
            assert (crop.thumbnail[names.index(crop.truth)] == 255).all()


def test_a_classifier_is_sure_by_its_probability(tmp_path: Path, made: Made) -> None:
    arrays = made()
    logits = np.random.default_rng(1).normal(size=(len(arrays["labels"]), 3)).astype(np.float32)
    np.savez(tmp_path / "e.npz", **arrays, logits=logits, prediction_rule=np.array("softmax"))
    evidence = read_evidence(tmp_path / "e.npz")
    wrong = mistakes(evidence)["Named wrongly, with the most confidence"]
    known = evidence.sets["known"]
    assert known.logits is not None
    p = known.logits.softmax(1)
    missed = p.argmax(1) != known.labels
    assert wrong[0].confidence == f"probability {float(p[missed].max()):.2f}"


def shifted(shift: float, flights: int = 6) -> Evidence:
    """Two classes on a line; known crops of the flight `new` lie `shift` further out."""
    rng = np.random.default_rng(0)

    def part(n: int, moved: float = 0.0) -> Embeddings:
        labels = np.arange(n) % 2
        vectors = np.stack([20.0 * labels, rng.normal(0, 1, n) + moved], axis=1)
        columns = (vectors.astype(np.float32), labels, np.arange(n))
        return Embeddings(*(torch.from_numpy(column) for column in columns))

    sets = {"reference": part(80), "known": part(60, shift), "novel": part(0), "ood": part(0)}
    sets["calibration"] = part(60 * flights)
    groups = {name: np.full(len(own), "new") for name, own in sets.items()}
    groups["calibration"] = np.repeat([f"c{i}" for i in range(flights)], 60)
    return Evidence(sets, ["a", "b"], 2, groups)


def drift_of(evidence: Evidence) -> list[FlightDrift]:
    return drift_of_test(evidence, thresholds(evidence).get("C"))


def test_a_flight_that_scores_otherwise_is_found() -> None:
    (same,), (moved,) = drift_of(shifted(0.0)), drift_of(shifted(6.0))
    assert (same.flight, same.used, same.drifted) == ("new", 60, False)
    assert moved.drifted
    assert moved.shift > 3


def test_two_calibration_flights_say_nothing() -> None:
    assert drift_of(shifted(0.0, flights=2)) == []
    bare = shifted(0.0)
    sets = {**bare.sets, "calibration": bare.sets["novel"]}
    groups = {**bare.groups, "calibration": np.empty(0, str)}
    assert drift_of(replace(bare, sets=sets, groups=groups)) == []
