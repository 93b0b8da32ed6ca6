"""Answers against a loop over the crops, before and after species are enrolled."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import changes
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.summary import EnrolledSpecies
from dml_lightning.types import Embeddings
from tests.gallery.crops import DIGEST, NAMES, crops, embeddings

PLANE_NAMES = ["coot", "teal", "glint"]
SETS = {"reference": ([0, 1], 30), "known": ([0, 1], 30), "novel": ([], 0), "ood": ([2], 30), "clutter": ([], 0)}
PLACES = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
EIDER = np.array([4.5, 4.0])


def on_a_plane(labels: list[int], size: int, seed: int) -> Embeddings:
    owners = np.repeat(np.array(labels, np.int64), size)
    noise = np.random.default_rng(seed).normal(size=(len(owners), 2))
    vectors = (PLACES[owners] + noise).astype(np.float32)
    logits = torch.from_numpy(np.eye(2, dtype=np.float32)[(owners + 1) % 2])  # of the other class
    return Embeddings(torch.from_numpy(vectors), torch.from_numpy(owners), torch.arange(len(owners)), logits)


@pytest.fixture(scope="module")
def trained() -> Gallery:
    sets = {name: on_a_plane(*words, seed) for seed, (name, words) in enumerate(SETS.items())}
    sets["calibration"] = on_a_plane([0, 1], 40, 7)
    groups = {name: np.array(["f"] * len(part)) for name, part in sets.items()}
    return Gallery.build(Evidence(sets, PLANE_NAMES, 2, groups), "digest")


@pytest.fixture(scope="module")
def gallery(trained: Gallery) -> Gallery:
    """With one species whose ball is large, and one whose ball is too small for its surroundings."""
    spread = np.array([[1.0, 0.0], [-1.0, 0.0]])
    enrolled = (
        EnrolledSpecies("eider", (EIDER + spread).astype(np.float32), 3.5),
        EnrolledSpecies("smew", (-EIDER / 2 + spread).astype(np.float32), 0.5),
    )
    return replace(trained, enrolled=enrolled)


@pytest.fixture(scope="module")
def queries() -> Embeddings:
    """A grid over all of them."""
    places = np.stack(np.meshgrid(np.arange(-9, 14, 0.7), np.arange(-9, 14, 0.7)), -1).reshape(-1, 2)
    owners = torch.zeros(len(places), dtype=torch.int64)
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(len(places), 2)))
    return Embeddings(torch.from_numpy(places).float(), owners, torch.arange(len(places)), logits)


@pytest.mark.parametrize("named_by", ["prototype", "softmax"])
def test_every_answer_is_that_of_the_definition(
    trained: Gallery, gallery: Gallery, queries: Embeddings, named_by: str
) -> None:
    rule = {"prediction_rule": named_by}
    result = answer(replace(gallery, **rule), queries)  # type: ignore[arg-type]
    before = answer(replace(trained, **rule), queries)  # type: ignore[arg-type]
    own = [*gallery.prototypes.prototypes, *(s.prototype for s in gallery.enrolled)]
    radii = [*gallery.prototypes.radii, *(s.radius for s in gallery.enrolled)]
    seen = set()
    for row, place in enumerate(queries.vectors.double().numpy()):
        distances = np.array([np.linalg.norm(place - prototype) for prototype in own])
        nearest = int(distances.argmin())
        inside = nearest >= 2 and distances[nearest] <= radii[nearest]
        assert result.label[row] == (gallery.names[nearest] if inside else before.label[row])
        assert result.label_prototype[row] == gallery.names[nearest]
        assert result.label_radius[row] == gallery.names[int((distances - radii).argmin())]
        assert result.distance[row] == pytest.approx(distances.min())
        assert result.distance_trained[row] == before.distance[row] == pytest.approx(distances[:2].min())
        for name, threshold in gallery.thresholds.items():
            assert result.known[name][row] == (before.known[name][row] or inside)
            expected = before.score[name][row]
            if nearest >= 2:
                beyond = distances[nearest] - radii[nearest]
                expected = min(expected, threshold.value + beyond)
            assert result.score[name][row] == pytest.approx(expected)
        in_a_ball = (distances[2:] <= radii[2:]).any()
        seen.add((nearest >= 2, bool(in_a_ball), bool(before.known["C"][row])))
    assert {(False, True, False), (True, False, True), (True, True, False)} <= seen


def test_no_refused_crop_becomes_one_of_a_trained_class(
    trained: Gallery, gallery: Gallery, queries: Embeddings
) -> None:
    before, after = answer(trained, queries), answer(gallery, queries)
    for rule in gallery.thresholds:
        gained = after.known[rule] & ~before.known[rule]
        assert gained.any()
        assert {name for name, new in zip(after.label, gained, strict=True) if new} <= {"eider", "smew"}
        refused = after.score[rule] > gallery.threshold(rule).value
        assert np.array_equal(after.known[rule], ~refused)


def test_scores_decisions_and_p_values_follow_their_definitions(evidence: Evidence) -> None:
    gallery, queries = Gallery.build(evidence, DIGEST), embeddings([0, 2, 5], 7, 6)
    result = answer(gallery, queries)
    reference = evidence.sets["reference"]
    means = [reference.vectors[reference.labels == c].double().mean(0).numpy() for c in range(3)]
    radii = [
        max(np.linalg.norm(v - means[c]) for v in reference.vectors[reference.labels == c].numpy()) for c in range(3)
    ]
    held_out = evidence.sets["calibration"].vectors.double().numpy()
    calibration = [min(np.linalg.norm(v - m) for m in means) for v in held_out]
    for row, vector in enumerate(queries.vectors.double().numpy()):
        distances = [float(np.linalg.norm(vector - mean)) for mean in means]
        nearest = int(np.argmin(distances))
        assert result.label_prototype[row] == NAMES[nearest]
        assert result.distance[row] == pytest.approx(distances[nearest])
        assert result.score["C"][row] == pytest.approx(distances[nearest])
        inside = min(d - r for d, r in zip(distances, radii, strict=True))
        assert result.score["A"][row] == pytest.approx(inside, abs=1e-6)
        above = sum(score >= distances[nearest] for score in calibration)
        assert result.p_value[row] == pytest.approx((1 + above) / (len(calibration) + 1))
    for rule, threshold in gallery.thresholds.items():
        assert np.array_equal(result.known[rule], result.score[rule] <= threshold.value)
    assert np.array_equal(result.known["C"], result.p_value > 0.05)


def test_neighbours_are_the_nearest_stored_crops_in_their_order(evidence: Evidence, stored: Path) -> None:
    changes.add_species(stored, "eider", crops(5, 4, 0), DIGEST)
    queries = embeddings([0, 5], 3, 7)
    result = answer(Gallery.load(stored), queries, k=7)
    reference = evidence.sets["reference"]
    names = [(str(100 + i), NAMES[c]) for i, c in enumerate(reference.labels.tolist())]
    names += [(f"eider/{i}", "eider") for i in range(4)]
    places = [*reference.vectors.double().numpy(), *crops(5, 4, 0).astype(float)]
    for row, vector in enumerate(queries.vectors.double().numpy()):
        order = sorted(range(len(places)), key=lambda i: np.linalg.norm(places[i] - vector))
        nearest = [names[i] for i in order[:7]]
        assert list(zip(result.neighbours[row], result.neighbour_labels[row], strict=True)) == nearest
    assert result.label_knn == 3 * ["coot"] + 3 * ["eider"]


def test_the_softmax_arm_names_it_by_its_prototype_alone(stored: Path) -> None:
    changes.add_species(stored, "eider", crops(5, 5, 0), DIGEST)
    gallery = replace(Gallery.load(stored), prediction_rule="softmax")
    result = answer(gallery, embeddings([0, 5], 10, 10))
    inside = result.distance[10:] <= gallery.enrolled[0].radius
    assert result.label[:10] == 10 * ["gadwall"]  # the logits prefer the next class
    assert result.label[10:] == ["eider" if near else "coot" for near in inside]
    assert 0.7 < inside.mean() < 1
    without = answer(replace(gallery, enrolled=()), embeddings([0, 5], 10, 10))
    assert "eider" not in without.label


def test_the_name_is_the_first_of_its_set_or_the_enrolled_species_the_last(gallery: Gallery) -> None:
    """By distances and, for an arm that classifies, by its logits, which prefer another class here."""
    queries = on_a_plane([0, 1], 40, 11)
    eiders = Embeddings(torch.from_numpy((EIDER + np.zeros((1, 2))).astype(np.float32)), *queries_columns(1))
    for own in (gallery, replace(gallery, prediction_rule="softmax")):
        result = answer(own, queries, sets=own.set_thresholds(0.2))
        named = zip(result.species_set, result.label, strict=True)
        assert all(own_set[0] == label for own_set, label in named if label in own.class_names)
        assert answer(own, queries).species_set == 80 * [[]]
    (inside,) = answer(gallery, eiders, sets=gallery.set_thresholds(0.2)).species_set
    assert inside[-1] == "eider"
    assert set(inside[:-1]) <= set(gallery.class_names)
    assert inside[:-1]


def queries_columns(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and index of crops of no known class."""
    return torch.full((count,), 2), torch.arange(count)


@pytest.mark.parametrize("change", [{"calibration": None}, {"prediction_rule": "softmax"}])
def test_sets_need_calibration_crops_by_class(gallery: Gallery, change: dict[str, object]) -> None:
    kept = gallery.calibration
    assert kept is not None
    bare = replace(gallery, calibration=replace(kept, logits=None))
    with pytest.raises(ValueError, match="keeps no calibration crops by class, so there are no sets of species"):
        replace(bare, **change).set_thresholds()  # type: ignore[arg-type]


def test_limits_of_logits_are_not_those_of_distances(gallery: Gallery) -> None:
    classifies = replace(gallery, prediction_rule="softmax")
    queries = replace(on_a_plane([0, 1], 4, 11), logits=None)
    with pytest.raises(ValueError, match="are made of logits, and the crops have none"):
        answer(classifies, queries, sets=classifies.set_thresholds(0.2))
    assert answer(gallery, queries, sets=gallery.set_thresholds(0.2)).species_set[0]
