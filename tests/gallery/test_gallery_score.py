"""Rules B and C by each score: what is stored, what comes back, and what stays as it was."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.evaluation.choice import choose_score, fitted
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import changes
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.openset import conformal_threshold
from dml_lightning.openset.scores import KINDS, RANK_SUM, ranked, score, text
from tests.gallery.crops import DIGEST, crops, embeddings, same

EVERY = (*KINDS, RANK_SUM)


@pytest.mark.parametrize("kind", EVERY)
def test_rules_b_and_c_decide_by_the_score_before_and_after_the_disk(
    kind: str, evidence: Evidence, tmp_path: Path
) -> None:
    built, queries = Gallery.build(evidence, DIGEST, score=kind), embeddings([0, 1, 2, 5, 9], 9, 5)
    built.save(tmp_path)
    loaded = Gallery.load(tmp_path)
    assert (loaded.choice.kind, loaded.why) == (kind, f"Rules B and C refuse by the {text(kind)}: it was asked for.")
    result = answer(loaded, queries)
    assert same(answer(built, queries), result)
    everything = fitted(evidence)
    arrays = everything.arrays | ranked(everything.scores(evidence.sets["known"]))
    own, held_out = (score(kind, everything.crops(part), arrays) for part in (queries, evidence.sets["calibration"]))
    assert result.score["C"] == pytest.approx(own, rel=1e-9)
    expected = conformal_threshold(held_out, 0.05)
    assert loaded.threshold("C").value == pytest.approx(expected.value, rel=1e-9)
    assert result.p_value == pytest.approx(expected.p_values(own))
    for rule in ("B", "C"):
        assert result.known[rule].tolist() == (result.score[rule] <= loaded.threshold(rule).value).tolist()
        assert (loaded.threshold(rule).kind, loaded.threshold(rule).score) == (kind, text(kind))
    alone = [answer(loaded, queries.at(slice(i, i + 1))).score["C"][0] for i in range(0, 45, 9)]
    assert alone == pytest.approx(result.score["C"][::9].tolist(), rel=1e-12)


@pytest.mark.parametrize("kind", [RANK_SUM, "knn5"])
def test_enrolled_species_and_recalibrations_keep_the_score(kind: str, evidence: Evidence, tmp_path: Path) -> None:
    Gallery.build(evidence, DIGEST, score=kind).save(tmp_path)
    queries, before = embeddings([0, 1, 9], 20, 5), Gallery.load(tmp_path)
    changes.add_species(tmp_path, "eider", crops(5, 5, 0), DIGEST)
    checked = embeddings([0, 1, 2], 30, 12)
    changes.recalibrate_rule_c(tmp_path, checked, np.repeat(["a", "b"], 45), DIGEST, alpha=0.1)
    after = Gallery.load(tmp_path)
    expected = conformal_threshold(before.scores(checked), 0.1).value
    assert (after.threshold("C").kind, after.threshold("C").value) == (kind, expected)
    assert after.threshold("C").refused == (before.scores(evidence.sets["known"]) > expected).mean()
    assert answer(after, queries).score["B"].tolist() == answer(before, queries).score["B"].tolist()


def test_the_same_score_again_adds_no_record(evidence: Evidence, tmp_path: Path) -> None:
    """Its arrays follow from the reference crops; rounding turns those of Mahalanobis as it likes."""
    Gallery.build(evidence, DIGEST, score="mahalanobis").save(tmp_path)
    files = sorted(tmp_path.iterdir())
    sets = {}
    for name, part in evidence.sets.items():
        assert part.features is not None
        sets[name] = replace(part, features=part.features * (1 + 1e-7))
    Gallery.build(replace(evidence, sets=sets), DIGEST, score="mahalanobis").save(tmp_path)
    assert sorted(tmp_path.iterdir()) == files
    Gallery.build(evidence, DIGEST, score="knn1").save(tmp_path)
    assert Gallery.load(tmp_path).choice.kind == "knn1"


def test_another_classifier_is_another_gallery(evidence: Evidence, tmp_path: Path) -> None:
    """Of one encoder, as where the encoder is frozen."""
    assert evidence.reject is not None
    Gallery.build(evidence, DIGEST, score="reject").save(tmp_path)
    other = replace(evidence, reject=evidence.reject._replace(weight=evidence.reject.weight + 1))
    Gallery.build(other, DIGEST, score="reject").save(tmp_path)
    crop = embeddings([0], 1, 5)
    assert Gallery.load(tmp_path).scores(crop) == Gallery.build(other, DIGEST, score="reject").scores(crop)
    with pytest.raises(ValueError, match="there is no score 'reject' of these embeddings, only nearest"):
        Gallery.build(replace(evidence, reject=None), DIGEST, score="reject")


def test_the_choice_of_validation_is_the_gallery_s(evidence: Evidence, stored: Path) -> None:
    choice, gallery = choose_score(evidence), Gallery.load(stored)
    assert (gallery.choice.kind, gallery.choice.reason) == (choice.kind, choice.reason)
    assert gallery.choice.aurocs == choice.aurocs
    assert f"refuse by the {text(choice.kind)}: validation AUROC " in gallery.why


def test_crops_without_features_are_refused_by_a_score_of_features(evidence: Evidence) -> None:
    bare = replace(embeddings([0], 3, 5), features=None)
    for kind in ("knn1_features", "mahalanobis", RANK_SUM):
        with pytest.raises(ValueError, match=r"refuses by the .*, and the crops come without features"):
            answer(Gallery.build(evidence, DIGEST, score=kind), bare)
    assert len(answer(Gallery.build(evidence, DIGEST, score="knn1"), bare).label) == 3
    with pytest.raises(ValueError, match="there is no score 'knn9' of these embeddings, only nearest, radius, knn1"):
        Gallery.build(evidence, DIGEST, score="knn9")


@pytest.mark.parametrize("per_flight", [True, False])
def test_drift_is_told_by_distances_whatever_the_score(evidence: Evidence, per_flight: bool) -> None:
    """The threshold on the distance is that of the same crops under rule C."""
    by_distance, by_another = (
        Gallery.build(evidence, DIGEST, alpha=0.3, per_flight=per_flight, score=kind) for kind in ("nearest", "knn5")
    )
    assert by_another.distance_threshold() == by_distance.threshold("C").value == by_distance.distance_threshold()
    assert by_another.threshold("C").value != by_distance.threshold("C").value
