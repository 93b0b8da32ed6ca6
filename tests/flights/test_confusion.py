"""The confusion matrix of held-out flights, against a loop over their crops."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.flights.confusion import OTHER, held_out_confusion
from dml_lightning.flights.counting import cautions
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.summary import EnrolledSpecies
from dml_lightning.types import UNKNOWN, Embeddings
from tests.flights.as_arrays import deciding, split_of

NAMES = ["coot", "mallard", "eider", "smew", "glint"]  # two known, two novel, one OOD


def crops(labels: list[int], size: int, seed: int) -> Embeddings:
    owners = np.repeat(np.array(labels, np.int64), size)
    noise = np.random.default_rng(seed).normal(0, 1.2, (len(owners), 4))
    vectors = 3 * np.eye(5)[owners][:, :4] + noise
    index = torch.arange(len(owners))
    return Embeddings(torch.from_numpy(vectors).float(), torch.from_numpy(owners), index)


def evidence() -> Evidence:
    sets = {
        "reference": crops([0, 1], 40, 0),
        "known": crops([0, 1], 24, 1),
        "novel": crops([2, 3], 9, 2),
        "ood": crops([4], 9, 3),
        "calibration": crops([0, 1], 30, 4),
    }
    groups = {name: np.array([f"f{i % 3}" for i in range(len(e))]) for name, e in sets.items()}
    return Evidence(sets, NAMES, 2, groups)


@pytest.mark.parametrize("name", ["novel", "ood"])
def test_a_species_with_all_its_crops_enrolled_has_no_row(name: str) -> None:
    held_out = evidence()
    part, label = held_out.sets[name], {"novel": 2, "ood": 4}[name]
    own = part.vectors[part.labels == label].numpy()
    built = Gallery.build(held_out, "digest")
    first = np.arange(len(own)) % 3 == 0  # crops of the first flight
    for vectors, rows in [
        (own, ["coot", "mallard", OTHER]),
        (own[first][:1], ["coot", "mallard", NAMES[label], OTHER]),
        (own[~first], ["coot", "mallard", NAMES[label], OTHER]),
        (own[[0, 1, 2]], ["coot", "mallard", OTHER]),  # a crop of each flight
    ]:
        gallery = replace(built, enrolled=(EnrolledSpecies(NAMES[label], vectors, 2.0),))
        matrix = held_out_confusion(deciding(gallery), split_of(held_out), "B")
        assert matrix.rows == rows
        assert matrix.uncorrected == ([] if NAMES[label] in rows else [NAMES[label]])
        assert (matrix.counts.sum(axis=(0, 2)) > 0).all()


def test_every_held_out_crop_is_counted_once_in_its_flight() -> None:
    held_out = evidence()
    novel = held_out.sets["novel"].vectors.numpy()
    teals = -np.ones((2, 4), np.float32)
    enrolled = (EnrolledSpecies("eider", novel[[0, 3]], 2.0), EnrolledSpecies("teal", teals, 0.1))
    gallery = replace(Gallery.build(held_out, "digest"), enrolled=enrolled)
    matrix = held_out_confusion(deciding(gallery), split_of(held_out), "B")
    assert matrix.rows == ["coot", "mallard", "eider", OTHER]
    assert matrix.columns == ["coot", "mallard", "eider", "teal", UNKNOWN]
    expected = np.zeros((3, 4, 5))
    for name in ("known", "novel", "ood"):
        part, result = held_out.sets[name], answer(gallery, held_out.sets[name])
        for i, label in enumerate(part.labels.tolist()):
            if name == "novel" and i in (0, 3, 6):
                continue  # of a flight of which an eider was enrolled, so not held out
            true = NAMES[label] if NAMES[label] in matrix.rows else OTHER
            answered = result.label[i] if result.known["B"][i] else UNKNOWN
            place = matrix.rows.index(true), matrix.columns.index(answered)
            expected[int(held_out.groups[name][i][1])][place] += 1
    assert np.array_equal(matrix.counts, expected)
    assert matrix.counts.sum() == 48 + 18 - 3 + 9
    assert matrix.uncorrected == ["teal"]
    kept = matrix.corrigible()
    assert kept.columns == ["coot", "mallard", "eider", UNKNOWN]
    assert np.array_equal(kept.counts, matrix.counts[:, :, [0, 1, 2, 4]])
    told = " ".join(cautions(matrix, split_of(held_out), ["f1", "new"]))
    assert "eider (6)" in told
    assert "teal was enrolled and has no held-out crops" in told
    assert "f1: named like a flight" in told


def test_flights_that_recalibrated_rule_c_are_left_out() -> None:
    """Their crops chose the threshold by which crops are refused."""
    held_out = evidence()
    gallery, known = Gallery.build(held_out, "digest"), held_out.sets["known"]
    groups = held_out.groups["known"]
    assert held_out_confusion(deciding(gallery), split_of(held_out), "C").flights == ["f0", "f1", "f2"]

    def recalibrated(flights: list[str]) -> Gallery:
        rows = np.isin(groups, flights)
        crops = Embeddings(known.vectors[rows], known.labels[rows], known.index[rows])
        return gallery.calibrated(crops, groups[rows], alpha=0.2)

    matrix = held_out_confusion(deciding(recalibrated(["f1"])), split_of(held_out), "C")
    assert matrix.flights == ["f0", "f2"]
    assert "f1: not in the matrix: rule C was recalibrated" in " ".join(cautions(matrix, split_of(held_out), []))
    assert matrix.counts.sum() == sum((held_out.groups[name] != "f1").sum() for name in ("known", "novel", "ood"))
    with pytest.raises(ValueError, match="recalibrated on crops of every test flight"):
        held_out_confusion(deciding(recalibrated(["f0", "f1", "f2"])), split_of(held_out), "C")


def test_a_test_without_known_species_is_no_matrix() -> None:
    held_out = evidence()
    known = held_out.sets["known"]
    sets = held_out.sets | {"known": Embeddings(known.vectors[:0], known.labels[:0], known.index[:0])}
    none = replace(held_out, sets=sets, groups=held_out.groups | {"known": held_out.groups["known"][:0]})
    with pytest.raises(ValueError, match="the test has no crop of a species, so none is left to count by"):
        held_out_confusion(deciding(Gallery.build(held_out, "digest")), split_of(none), "B")
