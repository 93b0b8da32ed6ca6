"""Answers before and after species are enrolled, removed and recalibrated."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import changes
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.openset.conformal import p_values
from tests.gallery.crops import DIGEST, DIM, NAMES, crops, embeddings, same


def test_an_enrolled_species_is_named_and_accepted(stored: Path) -> None:
    before = answer(Gallery.load(stored), embeddings([5], 40, 8))
    assert not before.known["C"].any()
    species = changes.add_species(stored, "eider", crops(5, 5, 0), DIGEST, source="here")
    after = answer(Gallery.load(stored), embeddings([5], 40, 8))
    assert after.label_prototype == 40 * ["eider"]
    inside = after.distance <= species.radius
    assert np.array_equal(np.array(after.label) == "eider", inside)
    for rule, known in after.known.items():
        assert known.mean() > 0.8, rule
        threshold = Gallery.load(stored).threshold(rule).value
        assert np.array_equal(known, after.score[rule] <= threshold)
    assert np.array_equal(after.p_value, before.p_value)  # of the classes trained on
    assert np.allclose(after.distance, np.linalg.norm(crops(5, 40, 8) - species.prototype, axis=1))


def test_known_crops_keep_their_answers(stored: Path) -> None:
    """What stays nearest to a known prototype and out of the new ball is answered as before."""
    queries = embeddings([0, 1, 2], 50, 9)
    before = answer(Gallery.load(stored), queries)
    changes.add_species(stored, "eider", crops(5, 5, 0), DIGEST)
    after = answer(Gallery.load(stored), queries)
    assert same(before._replace(neighbours=[]), after._replace(neighbours=[]))


def test_the_species_adds_to_what_is_known_and_takes_nothing(stored: Path) -> None:
    """Enrolled in the midst of the coots, it takes their names and leaves them known."""
    queries = embeddings([0, 1, 2, 9], 50, 9)
    before = answer(Gallery.load(stored), queries)
    changes.add_species(stored, "eider", crops(0, 5, 77), DIGEST)
    after = answer(Gallery.load(stored), queries)
    assert "eider" in after.label
    for rule in before.known:
        assert (after.known[rule] | ~before.known[rule]).all()
        assert (after.score[rule] <= before.score[rule]).all()


def test_removing_restores_every_answer(stored: Path) -> None:
    queries = embeddings([0, 1, 2, 5, 9], 20, 11)
    before = answer(Gallery.load(stored), queries)
    changes.add_species(stored, "eider", crops(5, 5, 0), DIGEST)
    assert not same(before, answer(Gallery.load(stored), queries))
    changes.remove_species(stored, "eider")
    assert same(before, answer(Gallery.load(stored), queries))
    assert Gallery.load(stored).names == NAMES
    species = changes.add_species(stored, "eider", crops(5, 2, 1), DIGEST)
    assert len(species.vectors) == 2  # the removed crops stay away


def test_more_crops_of_a_species_add_up(stored: Path) -> None:
    changes.add_species(stored, "eider", crops(5, 3, 0), DIGEST)
    changes.add_species(stored, "smew", crops(6, 2, 0), DIGEST)
    species = changes.add_species(stored, "eider", crops(5, 4, 1), DIGEST)
    both = np.concatenate([crops(5, 3, 0), crops(5, 4, 1)])
    assert np.array_equal(species.vectors, both)
    assert species.radius == Gallery.load(stored).prior.radius(both)
    assert sorted(Gallery.load(stored).names[3:]) == ["eider", "smew"]


def _enroll(stored: Path, label: str, seed: int) -> None:
    changes.add_species(stored, label, crops(5, 3, seed), DIGEST)


@pytest.mark.parametrize("labels", [("eider", "smew"), ("eider", "eider")])
def test_two_enrolments_at_the_same_time_both_survive(stored: Path, labels: tuple[str, str]) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_enroll, args=(stored, label, seed)) for seed, label in enumerate(labels)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    result = np.concatenate([species.vectors for species in Gallery.load(stored).enrolled])
    expected = np.concatenate([crops(5, 3, 0), crops(5, 3, 1)])
    assert np.array_equal(result[np.lexsort(result.T)], expected[np.lexsort(expected.T)])


def test_recalibration_replaces_rule_c_alone(evidence: Evidence, stored: Path) -> None:
    changes.add_species(stored, "eider", crops(5, 5, 0), DIGEST)
    checked = embeddings([0, 1, 2], 30, 12)
    vectors = 2 * checked.vectors.numpy()
    groups = np.repeat(["a", "b", "c"], 30)
    changes.recalibrate_rule_c(stored, replace(checked, vectors=torch.from_numpy(vectors)), groups, DIGEST, alpha=0.1)
    before, after = Gallery.build(evidence, DIGEST), Gallery.load(stored)
    distances = before.prototypes.distances(vectors).min(1)
    threshold = after.threshold("C")
    assert (threshold.alpha, threshold.samples, threshold.groups) == (0.1, 90, 3)
    assert threshold.value == pytest.approx(np.sort(distances)[82 - 1])  # ceil(91 * 0.9)
    assert np.allclose(p_values(threshold.scores, distances), threshold.p_values(distances))
    assert after.threshold("B").value == before.threshold("B").value
    assert [species.label for species in after.enrolled] == ["eider"]
    assert "C_class" in after.thresholds


def test_one_crop_per_flight_outlives_a_recalibration(evidence: Evidence, tmp_path: Path) -> None:
    """Rule C counts flights again, while all crops are kept; the other choice has to be asked for."""
    folder = tmp_path / "gallery"
    Gallery.build(evidence, DIGEST, alpha=0.3, per_flight=True).save(folder)
    checked, groups = embeddings([0, 1, 2], 30, 12), np.array([f"night {i % 5}" for i in range(90)])
    changes.recalibrate_rule_c(folder, checked, groups, DIGEST, alpha=0.2)
    after = Gallery.load(folder)
    threshold, kept = after.threshold("C"), after.calibration
    assert (threshold.samples, threshold.groups, after.per_flight) == (5, 5, True)
    assert threshold.origin.startswith("split conformal, alpha=0.2, n=5 crops of 5 flights, one of each; refuses ")
    assert kept is not None
    assert np.array_equal(kept.labels, checked.labels)
    assert kept.logits is not None
    assert np.array_equal(kept.logits, checked.logits)
    scores, owners = after.calibration_scores()
    assert np.array_equal(scores, after.prototypes.score(checked.vectors.numpy()))
    assert np.array_equal(owners, np.arange(90) % 5)
    assert sorted(scores[kept.rows(0.2)]) == threshold.scores.tolist()
    changes.recalibrate_rule_c(folder, checked, groups, DIGEST, alpha=0.2, per_flight=False)
    assert (Gallery.load(folder).threshold("C").samples, Gallery.load(folder).per_flight) == (90, False)


def test_classes_with_few_checked_crops_have_no_thresholds_of_their_own(stored: Path) -> None:
    checked = embeddings([0, 1], 30, 12)
    groups = np.repeat("a", 60)
    after = changes.recalibrate_rule_c(stored, checked, groups, DIGEST)
    assert list(after.thresholds) == list(Gallery.load(stored).rules) == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("label", "vectors", "encoder", "message"),
    [
        ("coot", crops(5, 2, 0), DIGEST, "'coot' is a class that the run was trained on"),
        (" ", crops(5, 2, 0), DIGEST, "must not be empty"),
        ("eider", crops(5, 2, 0), "another", "encoder another, and the gallery is of 0123"),
        ("eider", crops(5, 2, 0)[:, :3], DIGEST, r"must be \(k, 16\) with k >= 1, got \(2, 3\)"),
        ("eider", crops(5, 0, 0), DIGEST, r"got \(0, 16\)"),
        ("eider", crops(5, 2, 0) * np.nan, DIGEST, "NaN or infinity"),
        ("eider", np.repeat(crops(5, 1, 0), 2, axis=0), DIGEST, "1 of the 2 crops are there twice"),
    ],
)
def test_crops_that_cannot_be_enrolled_leave_the_gallery_as_it_is(
    stored: Path, label: str, vectors: NDArray[np.float32], encoder: str, message: str
) -> None:
    files = sorted(stored.iterdir())
    with pytest.raises(ValueError, match=message):
        changes.add_species(stored, label, vectors, encoder)
    assert sorted(stored.iterdir()) == files


def test_enrolling_the_same_crops_again_is_refused(stored: Path) -> None:
    changes.add_species(stored, "eider", crops(5, 3, 0), DIGEST)
    rounded = crops(5, 3, 0) * np.float32(1 + 1e-7)
    with pytest.raises(ValueError, match="3 of the 4 crops are there twice or enrolled as 'eider'"):
        changes.add_species(stored, "eider", np.concatenate([crops(5, 1, 1), rounded]), DIGEST)


def test_other_refusals(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no species 'eider' is enrolled; there are: none"):
        changes.remove_species(stored, "eider")
    checked = embeddings([0, 1, 2], 30, 12)
    groups = np.repeat("a", 90)
    with pytest.raises(ValueError, match="do not share a space"):
        changes.recalibrate_rule_c(stored, checked, groups, "another")
    with pytest.raises(ValueError, match="has no gallery: `dml fit` writes it"):
        Gallery.load(tmp_path / "elsewhere" / "gallery")


@pytest.mark.parametrize("label", ["unknown", " other ", "false boxes"])
def test_words_for_what_is_refused_are_no_species(stored: Path, label: str) -> None:
    with pytest.raises(ValueError, match="stands for what is refused or counted apart"):
        changes.add_species(stored, label, np.ones((1, DIM), np.float32), DIGEST)


def test_rounding_of_another_device_does_not_undo_a_recalibration(evidence: Evidence, stored: Path) -> None:
    held_out = evidence.sets["known"]
    groups = evidence.groups["known"]
    changes.recalibrate_rule_c(stored, held_out, groups, DIGEST, alpha=0.2)
    sets = {name: replace(own, vectors=own.vectors * (1 + 1e-7)) for name, own in evidence.sets.items()}
    Gallery.build(replace(evidence, sets=sets), DIGEST, per_class=True).save(stored)
    assert Gallery.load(stored).thresholds["C"].alpha == 0.2
    Gallery.build(evidence, DIGEST, alpha=0.1).save(stored)  # a change that was asked for
    assert Gallery.load(stored).thresholds["C"].alpha == 0.1
