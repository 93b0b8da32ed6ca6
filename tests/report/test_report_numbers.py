"""Curves, confusions, coverage and mistakes, against what their definitions say."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from dml_lightning.evaluation.distances import distance_sample
from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.metrics.ood import auroc
from dml_lightning.report.numbers import confusion, coverage, measure, mistakes, named, roc, thresholds


@pytest.fixture
def evidence(tmp_path: Path, made) -> Evidence:  # type: ignore[no-untyped-def]
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


def test_a_long_curve_is_thinned_from_end_to_end() -> None:
    false, true = roc(np.arange(5000.0), np.arange(5000.0) + 0.5)
    assert len(false) == 300
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_confusion_is_scikit_learns(evidence: Evidence) -> None:
    truth = evidence.sets["known"].labels.numpy()
    np.testing.assert_array_equal(confusion(evidence), confusion_matrix(truth, named(evidence)))
    share = np.diag(confusion(evidence)).sum() / len(truth)
    assert share == pytest.approx(measure(evidence)["accuracy"])


def test_sampled_distances_are_plain_distances(evidence: Evidence) -> None:
    reference = evidence.sets["reference"]
    means = np.stack([reference.vectors[reference.labels == c].double().mean(0) for c in range(3)])
    ood = evidence.sets["ood"].vectors.double().numpy()
    found = distance_sample(evidence)
    expected = np.linalg.norm(ood[:, None] - means, axis=2).min(1)
    np.testing.assert_allclose(found.ood, expected)
    known = evidence.sets["known"]
    pairs = np.linalg.norm(known.vectors.double()[:, None] - known.vectors.double(), axis=2)
    same = (known.labels[:, None] == known.labels).numpy() & ~np.eye(len(known), dtype=bool)
    assert found.intra.mean() == pytest.approx(pairs[same].mean(), abs=0.005)
    assert found.inter.min() == pytest.approx(pairs[(known.labels[:, None] != known.labels).numpy()].min())


def test_thresholds_name_the_rules_that_have_their_crops(evidence: Evidence) -> None:
    assert set(thresholds(evidence)) == {"C: conformal 5 %"}
    assert set(thresholds(evidence, evidence)) == {"B: validation", "C: conformal 5 %"}
    found = thresholds(evidence)["C: conformal 5 %"]
    calibration = evidence.sets["calibration"].vectors.numpy()
    from dml_lightning.report.numbers import fitted

    own = np.sort(fitted(evidence).score(calibration))
    assert found == own[int(np.ceil(61 * 0.95)) - 1]


def test_coverage_counts_refused_known_crops_in_all_and_by_flight(evidence: Evidence) -> None:
    found = coverage(evidence)
    assert found is not None
    assert (found.samples, found.flights) == (60, 4)
    assert list(found.refused) == [0.02, 0.05, 0.1, 0.2, 0.3]  # 1 % needs 99 crops
    assert sum(n for _, n in found.by_flight.values()) == 45
    mean = sum(share * n for share, n in found.by_flight.values()) / 45
    assert mean == pytest.approx(found.refused[0.05])
    assert list(found.refused.values()) == sorted(found.refused.values())


def test_no_coverage_without_calibration_crops(tmp_path: Path, made) -> None:  # type: ignore[no-untyped-def]
    np.savez(tmp_path / "e.npz", **made(calibration=6))
    assert coverage(read_evidence(tmp_path / "e.npz")) is None  # 18 crops, 19 needed


def test_mistakes_are_mistakes_and_the_surest_come_first(evidence: Evidence) -> None:
    found = mistakes(evidence, number=5)
    wrong = found["Named wrongly, with the most confidence"]
    assert wrong
    assert all(crop.truth != crop.said for crop in wrong)
    sure = [float(crop.confidence.split()[-1]) for crop in wrong]
    assert sure == sorted(sure, reverse=True)
    near = [float(c.confidence.split()[-1]) for c in found["Not a known species, and closest to one"]]
    assert near == sorted(near)
    assert near[0] == pytest.approx(distance_sample(evidence).ood.min(), abs=0.006)
    far = [c.confidence for c in found["Known species, and farthest from all of them"]]
    assert float(far[0].split()[-1]) == pytest.approx(distance_sample(evidence).known.max(), abs=0.006)


def test_the_picture_of_a_mistake_is_that_crop(evidence: Evidence) -> None:
    names = evidence.class_names
    for crops in mistakes(evidence).values():
        for crop in crops:
            assert crop.thumbnail is not None
            assert (crop.thumbnail[names.index(crop.truth)] == 255).all()


def test_a_classifier_is_sure_by_its_probability(tmp_path: Path, made) -> None:  # type: ignore[no-untyped-def]
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
