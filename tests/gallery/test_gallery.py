"""A gallery and its answers before and after species are enrolled, removed and recalibrated."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import changes
from dml_lightning.gallery.answer import Answer, answer
from dml_lightning.gallery.gallery import Gallery, Species, encoder_digest
from dml_lightning.gallery.overlap import overlaps
from dml_lightning.openset.conformal import p_values
from dml_lightning.types import Embeddings

DIM = 16
NAMES = ["coot", "gadwall", "mallard"]
CENTRES = 8.0 * np.eye(DIM)
DIGEST = "0123456789abcdef"


def crops(centre: int, size: int, seed: int) -> NDArray[np.float32]:
    """Embeddings of one class."""
    noise = np.random.default_rng([centre, seed]).normal(0, 1, (size, DIM))
    return (CENTRES[centre] + noise).astype(np.float32)


def embeddings(centres: list[int], size: int, seed: int, first: int = 0) -> Embeddings:
    """`size` crops of each class, numbered from `first`, with logits that prefer the class after the true one."""
    labels = np.repeat(np.array(centres, np.int64), size)
    vectors = np.concatenate([crops(c, size, seed) for c in centres]) if centres else np.empty((0, DIM))
    logits = np.eye(3)[(labels + 1) % 3]
    return Embeddings(
        torch.from_numpy(vectors.astype(np.float32)),
        torch.from_numpy(labels),
        torch.arange(first, first + len(labels)),
        torch.from_numpy(logits).float(),
    )


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Three known classes at 0 to 2, OOD at 9."""
    sets = {
        "reference": embeddings([0, 1, 2], 30, 0, first=100),
        "known": embeddings([0, 1, 2], 20, 1),
        "novel": embeddings([], 0, 2),
        "ood": embeddings([9], 20, 3),
        "calibration": embeddings([0, 1, 2], 40, 4),
    }
    groups = {name: np.array([f"flight {i % 4}" for i in range(len(e))]) for name, e in sets.items()}
    return Evidence(sets, [*NAMES, *(f"class {i}" for i in range(3, 10))], 3, groups)


@pytest.fixture
def stored(evidence: Evidence, tmp_path: Path) -> Path:
    """A gallery on the disk."""
    Gallery.build(evidence, DIGEST).save(tmp_path / "gallery")
    return tmp_path / "gallery"


def same(first: Answer, second: Answer) -> bool:
    """Whether two answers are equal to the last bit."""
    return all(
        first_part == second_part
        if isinstance(first_part, list)
        else all(np.array_equal(first_part[rule], second_part[rule]) for rule in first_part)
        if isinstance(first_part, dict)
        else np.array_equal(first_part, second_part, equal_nan=True)
        for first_part, second_part in zip(first, second, strict=True)
    )


def test_what_is_loaded_answers_as_what_was_saved(evidence: Evidence, stored: Path) -> None:
    built, queries = Gallery.build(evidence, DIGEST), embeddings([0, 1, 2, 5, 9], 9, 5)
    loaded = Gallery.load(stored)
    assert same(answer(built, queries), answer(loaded, queries))
    assert (loaded.names, loaded.prior, loaded.encoder) == (NAMES, built.prior, DIGEST)
    assert list(loaded.rules) == ["A", "B", "C", "C_class"]
    assert loaded.default_rule == "C"
    threshold = loaded.detector("C").threshold
    assert (threshold.samples, threshold.groups) == (120, 4)
    assert np.array_equal(threshold.owners, built.detector("C").threshold.owners)


def test_saving_the_same_again_adds_nothing(evidence: Evidence, stored: Path) -> None:
    files = sorted(stored.iterdir())
    Gallery.build(evidence, DIGEST).save(stored)
    assert sorted(stored.iterdir()) == files


def test_scores_decisions_and_p_values_follow_their_definitions(evidence: Evidence) -> None:
    gallery, queries = Gallery.build(evidence, DIGEST), embeddings([0, 2, 5], 7, 6)
    said = answer(gallery, queries)
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
        assert said.label_prototype[row] == NAMES[nearest]
        assert said.distance[row] == pytest.approx(distances[nearest])
        assert said.score["C"][row] == pytest.approx(distances[nearest])
        inside = min(d - r for d, r in zip(distances, radii, strict=True))
        assert said.score["A"][row] == pytest.approx(inside, abs=1e-6)
        above = sum(score >= distances[nearest] for score in calibration)
        assert said.p_value[row] == pytest.approx((1 + above) / (len(calibration) + 1))
    for rule, detector in gallery.rules.items():
        assert np.array_equal(said.known[rule], said.score[rule] <= detector.threshold.value)
    assert np.array_equal(said.known["C"], said.p_value > 0.05)


def test_neighbours_are_the_nearest_stored_crops_in_their_order(evidence: Evidence, stored: Path) -> None:
    changes.enroll(stored, "eider", crops(5, 4, 0), DIGEST)
    queries = embeddings([0, 5], 3, 7)
    said = answer(Gallery.load(stored), queries, k=7)
    reference = evidence.sets["reference"]
    words = [f"{100 + i}:{NAMES[c]}" for i, c in enumerate(reference.labels.tolist())]
    words += [f"eider/{i}:eider" for i in range(4)]
    places = [*reference.vectors.double().numpy(), *crops(5, 4, 0).astype(float)]
    for row, vector in enumerate(queries.vectors.double().numpy()):
        order = sorted(range(len(places)), key=lambda i: np.linalg.norm(places[i] - vector))
        assert said.neighbours[row] == " ".join(words[i] for i in order[:7])
    assert said.label_knn == 3 * ["coot"] + 3 * ["eider"]


def test_an_enrolled_species_is_named_and_accepted(stored: Path) -> None:
    before = answer(Gallery.load(stored), embeddings([5], 40, 8))
    assert not before.known["C"].any()
    species = changes.enroll(stored, "eider", crops(5, 5, 0), DIGEST, source="here")
    after = answer(Gallery.load(stored), embeddings([5], 40, 8))
    assert after.label_prototype == 40 * ["eider"]
    inside = after.distance <= species.radius
    assert np.array_equal(np.array(after.label) == "eider", inside)
    for rule, known in after.known.items():
        assert known.mean() > 0.8, rule
        threshold = Gallery.load(stored).detector(rule).threshold.value
        assert np.array_equal(known, after.score[rule] <= threshold)
    assert np.array_equal(after.p_value, before.p_value)  # of the classes trained on
    assert np.allclose(after.distance, np.linalg.norm(crops(5, 40, 8) - species.prototype, axis=1))


def test_known_crops_keep_their_answers(stored: Path) -> None:
    """What stays nearest to a known prototype and out of the new ball is answered as before."""
    queries = embeddings([0, 1, 2], 50, 9)
    before = answer(Gallery.load(stored), queries)
    changes.enroll(stored, "eider", crops(5, 5, 0), DIGEST)
    after = answer(Gallery.load(stored), queries)
    assert same(before._replace(neighbours=[]), after._replace(neighbours=[]))


def test_the_species_adds_to_what_is_known_and_takes_nothing(stored: Path) -> None:
    """Enrolled in the midst of the coots, it takes their names and leaves them known."""
    queries = embeddings([0, 1, 2, 9], 50, 9)
    before = answer(Gallery.load(stored), queries)
    changes.enroll(stored, "eider", crops(0, 5, 77), DIGEST)
    after = answer(Gallery.load(stored), queries)
    assert "eider" in after.label
    for rule in before.known:
        assert (after.known[rule] | ~before.known[rule]).all()
        assert (after.score[rule] <= before.score[rule]).all()


def test_the_softmax_arm_names_it_by_its_prototype_alone(stored: Path) -> None:
    changes.enroll(stored, "eider", crops(5, 5, 0), DIGEST)
    gallery = replace(Gallery.load(stored), prediction_rule="softmax")
    said = answer(gallery, embeddings([0, 5], 10, 10))
    inside = said.distance[10:] <= gallery.enrolled[0].radius
    assert said.label[:10] == 10 * ["gadwall"]  # the logits prefer the next class
    assert said.label[10:] == ["eider" if near else "coot" for near in inside]
    assert 0.7 < inside.mean() < 1
    without = answer(replace(gallery, enrolled=()), embeddings([0, 5], 10, 10))
    assert "eider" not in without.label


def test_removing_restores_every_answer(stored: Path) -> None:
    queries = embeddings([0, 1, 2, 5, 9], 20, 11)
    before = answer(Gallery.load(stored), queries)
    changes.enroll(stored, "eider", crops(5, 5, 0), DIGEST)
    assert not same(before, answer(Gallery.load(stored), queries))
    changes.remove(stored, "eider")
    assert same(before, answer(Gallery.load(stored), queries))
    assert Gallery.load(stored).names == NAMES
    species = changes.enroll(stored, "eider", crops(5, 2, 1), DIGEST)
    assert len(species.vectors) == 2  # the removed crops stay away


def test_more_crops_of_a_species_add_up(stored: Path) -> None:
    changes.enroll(stored, "eider", crops(5, 3, 0), DIGEST)
    changes.enroll(stored, "smew", crops(6, 2, 0), DIGEST)
    species = changes.enroll(stored, "eider", crops(5, 4, 1), DIGEST)
    both = np.concatenate([crops(5, 3, 0), crops(5, 4, 1)])
    assert np.array_equal(species.vectors, both)
    assert species.radius == Gallery.load(stored).prior.radius(both)
    assert sorted(Gallery.load(stored).names[3:]) == ["eider", "smew"]


def _enroll(stored: Path, label: str, seed: int) -> None:
    changes.enroll(stored, label, crops(5, 3, seed), DIGEST)


@pytest.mark.parametrize("labels", [("eider", "smew"), ("eider", "eider")])
def test_two_enrolments_at_the_same_time_both_survive(stored: Path, labels: tuple[str, str]) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_enroll, args=(stored, label, seed)) for seed, label in enumerate(labels)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    found = np.concatenate([species.vectors for species in Gallery.load(stored).enrolled])
    expected = np.concatenate([crops(5, 3, 0), crops(5, 3, 1)])
    assert np.array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


def test_recalibration_replaces_rule_c_alone(evidence: Evidence, stored: Path) -> None:
    changes.enroll(stored, "eider", crops(5, 5, 0), DIGEST)
    checked = embeddings([0, 1, 2], 30, 12)
    vectors = 2 * checked.vectors.numpy()
    groups = np.repeat(["a", "b", "c"], 30)
    changes.recalibrate(stored, vectors, checked.labels.numpy(), groups, DIGEST, alpha=0.1)
    before, after = Gallery.build(evidence, DIGEST), Gallery.load(stored)
    distances = before.rules["A"].distances(vectors).min(1)
    threshold = after.detector("C").threshold
    assert (threshold.alpha, threshold.samples, threshold.groups) == (0.1, 90, 3)
    assert threshold.value == pytest.approx(np.sort(distances)[82 - 1])  # ceil(91 * 0.9)
    assert np.allclose(p_values(threshold.scores, distances), threshold.p_values(distances))
    assert after.rules["B"].threshold.value == before.rules["B"].threshold.value
    assert [species.label for species in after.enrolled] == ["eider"]
    assert "C_class" in after.rules


def test_classes_with_few_checked_crops_have_no_thresholds_of_their_own(stored: Path) -> None:
    checked = embeddings([0, 1], 30, 12)
    groups = np.repeat("a", 60)
    after = changes.recalibrate(stored, checked.vectors.numpy(), checked.labels.numpy(), groups, DIGEST)
    assert list(after.rules) == list(Gallery.load(stored).rules) == ["A", "B", "C"]


def test_a_new_base_keeps_species_of_the_same_encoder_alone(evidence: Evidence, stored: Path) -> None:
    changes.enroll(stored, "eider", crops(5, 5, 0), DIGEST)
    Gallery.build(evidence, DIGEST, alpha=0.2).save(stored)
    assert Gallery.load(stored).names == [*NAMES, "eider"]
    Gallery.build(evidence, "another").save(stored)
    assert Gallery.load(stored).names == NAMES


def test_rules_are_the_strongest_that_the_data_allow(evidence: Evidence) -> None:
    none = embeddings([], 0, 0)
    groups = {**evidence.groups, "calibration": np.empty(0, str)}
    plain = replace(evidence, sets={**evidence.sets, "calibration": none}, groups=groups)
    assert Gallery.build(plain, DIGEST).default_rule == "B"
    bare = replace(plain, sets={**plain.sets, "ood": none})
    gallery = Gallery.build(bare, DIGEST)
    assert gallery.default_rule == "A"
    assert np.isnan(answer(gallery, embeddings([0], 3, 0)).p_value).all()
    with pytest.raises(ValueError, match=r"no rule 'C' .* which has A\. Rule C needs a calibration"):
        gallery.detector("C")


def test_a_calibration_too_small_for_alpha_is_not_the_default(evidence: Evidence) -> None:
    few = embeddings([0, 1, 2], 2, 13)
    sets = {**evidence.sets, "calibration": few}
    groups = {**evidence.groups, "calibration": np.repeat("a", 6)}
    with pytest.warns(UserWarning, match="too few for alpha"):
        gallery = Gallery.build(replace(evidence, sets=sets, groups=groups), DIGEST)
    assert gallery.default_rule == "B"
    enrolled = replace(gallery, enrolled=(Species("eider", crops(5, 3, 0), 1.0),))
    assert answer(enrolled, embeddings([9], 5, 0)).known["C"].all()  # refuses nothing


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
        changes.enroll(stored, label, vectors, encoder)
    assert sorted(stored.iterdir()) == files


def test_enrolling_the_same_crops_again_is_refused(stored: Path) -> None:
    changes.enroll(stored, "eider", crops(5, 3, 0), DIGEST)
    rounded = crops(5, 3, 0) * np.float32(1 + 1e-7)
    with pytest.raises(ValueError, match="3 of the 4 crops are there twice or enrolled as 'eider'"):
        changes.enroll(stored, "eider", np.concatenate([crops(5, 1, 1), rounded]), DIGEST)


def test_other_refusals(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no species 'eider' is enrolled; there are: none"):
        changes.remove(stored, "eider")
    checked = embeddings([0, 1, 2], 30, 12)
    groups = np.repeat("a", 90)
    with pytest.raises(ValueError, match="do not share a space"):
        changes.recalibrate(stored, checked.vectors.numpy(), checked.labels.numpy(), groups, "another")
    with pytest.raises(ValueError, match="has no gallery: `dml fit` writes it"):
        Gallery.load(tmp_path / "elsewhere" / "gallery")


def test_the_digest_knows_weights_names_and_options() -> None:
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    first = encoder_digest(encoder, "options")
    assert first == encoder_digest(encoder, "options")
    assert len(first) == 16
    assert first != encoder_digest(encoder, "other options")
    with torch.no_grad():
        encoder[0].bias[0] += 1e-6
    assert first != encoder_digest(encoder, "options")


def test_overlaps_against_a_loop(evidence: Evidence, stored: Path) -> None:
    """A species between the coots and the gadwalls."""
    middle = (CENTRES[0] + CENTRES[1]) / 2 + np.random.default_rng(0).normal(0, 3, (6, DIM))
    changes.enroll(stored, "smew", crops(6, 3, 0), DIGEST)
    species = changes.enroll(stored, "eider", middle.astype(np.float32), DIGEST)
    found = overlaps(Gallery.load(stored), species)
    assert {each.label for each in found[2:]} == {"mallard", "smew"}
    own = [vector.astype(float) for vector in species.vectors]
    for each in found[:2]:
        number = NAMES.index(each.label)
        reference = evidence.sets["reference"]
        vectors = reference.vectors[reference.labels == number].double().numpy()
        mean = vectors.mean(axis=0)
        to_new = [np.linalg.norm(v - species.prototype) for v in vectors]
        nearer = [d < np.linalg.norm(v - mean) for d, v in zip(to_new, vectors, strict=True)]
        assert each.distance == pytest.approx(np.linalg.norm(mean - species.prototype))
        assert each.inside == np.mean([d <= species.radius for d in to_new])
        assert each.nearer == np.mean(nearer)
        lost = [
            np.linalg.norm(crop - mean) < np.linalg.norm(crop - np.mean(own[:i] + own[i + 1 :], axis=0))
            for i, crop in enumerate(own)
        ]
        assert each.lost == np.mean(lost)
    single = changes.enroll(stored, "pintail", crops(7, 1, 0), DIGEST)
    assert all(np.isnan(each.lost) for each in overlaps(Gallery.load(stored), single))


class OnADevice(torch.Tensor):
    """A tensor that, like one on a GPU, has no NumPy form before `.cpu()`."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func in (torch.Tensor.__array__, torch.Tensor.numpy):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        found = super().__torch_function__(func, types, args, kwargs or {})
        moved = func is torch.Tensor.cpu or (func is torch.Tensor.to and "cpu" in map(str, args))
        return found.as_subclass(torch.Tensor) if moved else found


def test_a_gallery_is_built_from_embeddings_on_a_device(evidence: Evidence) -> None:
    moved = {
        name: Embeddings(*(column.as_subclass(OnADevice) for column in (own.vectors, own.labels, own.index)))
        for name, own in evidence.sets.items()
    }
    with pytest.raises(TypeError):
        np.asarray(moved["known"].labels)
    gallery = Gallery.build(replace(evidence, sets=moved), DIGEST)
    assert list(gallery.rules) == ["A", "B", "C", "C_class"]


def test_one_crop_per_flight_is_an_option_of_rule_c(evidence: Evidence) -> None:
    chosen = Gallery.build(evidence, DIGEST, alpha=0.3, per_flight=True).rules["C"].threshold
    assert chosen is not None
    assert (chosen.samples, chosen.groups) == (4, 4)
    everything = Gallery.build(evidence, DIGEST, alpha=0.3).rules["C"].threshold
    assert everything is not None
    assert (everything.samples, everything.groups) == (120, 4)


@pytest.mark.parametrize("label", ["unknown", " other "])
def test_words_for_what_is_refused_are_no_species(stored: Path, label: str) -> None:
    with pytest.raises(ValueError, match="stands for what is refused"):
        changes.enroll(stored, label, np.ones((1, DIM), np.float32), DIGEST)


def test_rounding_of_another_device_does_not_undo_a_recalibration(evidence: Evidence, stored: Path) -> None:
    held_out = evidence.sets["known"]
    groups = evidence.groups["known"]
    changes.recalibrate(stored, held_out.vectors.numpy(), held_out.labels.numpy(), groups, DIGEST, alpha=0.2)
    sets = {name: replace(own, vectors=own.vectors * (1 + 1e-7)) for name, own in evidence.sets.items()}
    Gallery.build(replace(evidence, sets=sets), DIGEST).save(stored)
    assert Gallery.load(stored).rules["C"].threshold.alpha == 0.2
    Gallery.build(evidence, DIGEST, alpha=0.1).save(stored)  # a change that was asked for
    assert Gallery.load(stored).rules["C"].threshold.alpha == 0.1
