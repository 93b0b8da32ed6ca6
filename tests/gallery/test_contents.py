"""Prototypes and thresholds go through a record and come back."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import contents, records
from dml_lightning.gallery.gallery import Gallery
from tests.gallery.crops import DIGEST


@pytest.fixture
def record(evidence: Evidence, tmp_path: Path) -> records.Record:
    """A record of a gallery's prototypes and thresholds, read back from the disk."""
    gallery = Gallery.build(evidence, DIGEST)
    arrays, words = contents.written_contents(gallery.thresholds, gallery.prototypes)
    records.append(tmp_path, "base", words, arrays)
    (found,) = records.read(tmp_path)
    return found


def test_prototypes_are_held_once_and_come_back(evidence: Evidence, record: records.Record) -> None:
    built, found = Gallery.build(evidence, DIGEST).prototypes, contents.read_prototypes(record)
    assert np.array_equal(found.prototypes, built.prototypes)
    assert np.array_equal(found.radii, built.radii)
    assert sum(name.endswith("prototypes.prototypes") for name in record.arrays) == 1


def test_thresholds_come_back_with_what_they_were_chosen_on(evidence: Evidence, record: records.Record) -> None:
    built, found = Gallery.build(evidence, DIGEST).thresholds, contents.read_thresholds(record)
    assert list(found) == list(built) == ["A", "B", "C", "C_class"]
    for rule, threshold in built.items():
        own = found[rule]
        assert (own.name, own.value, own.kind) == (threshold.name, threshold.value, threshold.kind)
        assert np.array_equal(own.scores, threshold.scores)
        assert np.array_equal(own.owners, threshold.owners)
        assert (own.per_class is None) == (threshold.per_class is None)
        if own.per_class is not None and threshold.per_class is not None:
            assert np.array_equal(own.per_class.values, threshold.per_class.values)


def test_a_change_of_thresholds_holds_no_prototypes(evidence: Evidence) -> None:
    gallery = Gallery.build(evidence, DIGEST)
    arrays, words = contents.written_contents({"C": gallery.thresholds["C"]})
    assert words["thresholds"] == ["C"]
    assert all(name.startswith("thresholds.C.") for name in [*arrays, *words["texts"]])
    assert not any(array.dtype.kind == "U" for array in arrays.values())  # texts are JSON's


def test_a_record_of_format_1_holds_a_detector_by_rule(evidence: Evidence) -> None:
    """As version 0.1 wrote it: each rule with its own copy of the prototypes."""
    gallery = Gallery.build(evidence, DIGEST)
    arrays, texts = {}, {}
    for rule in ("A", "B"):
        threshold = gallery.thresholds[rule].state()
        parts = gallery.prototypes.state() | {"kind": threshold.pop("kind")}
        parts |= {f"threshold.{name}": value for name, value in threshold.items()}
        for name, value in parts.items():
            (texts if value.dtype.kind == "U" else arrays)[f"rules.{rule}.{name}"] = value
    words = {"rules": ["A", "B"], "words": {name: str(text) for name, text in texts.items()}}
    old = records.Record(0, "base", 1, words, arrays)
    assert np.array_equal(contents.read_prototypes(old).radii, gallery.prototypes.radii)
    found = contents.read_thresholds(old)
    assert {rule: own.value for rule, own in found.items()} == {
        rule: gallery.thresholds[rule].value for rule in ("A", "B")
    }
    assert [own.kind for own in found.values()] == [gallery.thresholds[rule].kind for rule in ("A", "B")]
