"""A gallery decides on arrays as `gallery.answer` does on tensors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.changes import add_species
from dml_lightning.gallery.decisions import DecidingGallery, repeated, scores_of
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.openset.scores import Crops
from tests.flights.as_arrays import rows_of
from tests.gallery.crops import DIGEST


@pytest.mark.parametrize(("naming", "score"), [("prototype", "nearest"), ("softmax", "knn5"), ("prototype", "reject")])
def test_decisions_are_those_of_the_answer(evidence: Evidence, tmp_path: Path, naming: str, score: str) -> None:
    known = evidence.sets["known"]
    logits = np.random.default_rng(0).normal(size=(len(known), 3)).astype(np.float32)
    evidence = replace(evidence, prediction_rule=naming)  # type: ignore[arg-type]
    Gallery.build(evidence, DIGEST, per_class=True, score=score).save(tmp_path)
    add_species(tmp_path, "heron", known.vectors[:2].numpy() + 1, DIGEST)
    gallery, own = Gallery.load(tmp_path), DecidingGallery.load(tmp_path)
    assert own.version == gallery.version
    for part in (replace(known, logits=known.vectors.new_tensor(logits)), known, evidence.sets["ood"]):
        expected = answer(gallery, part)
        assert len(set(expected.label)) > 1 or part is not known
        for rule in ("A", "B", "C", "C_class"):
            labels, is_known = own.decide(rows_of(part), rule)
            assert labels == expected.label
            assert np.array_equal(is_known, expected.known[rule])
    with pytest.raises(ValueError, match="there is no rule 'Z' in this gallery"):
        own.decide(rows_of(known), "Z")


def test_a_score_of_features_needs_features() -> None:
    crops = Crops(np.ones((1, 2)), np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"refuses by the Mahalanobis.* come without features"):
        scores_of("mahalanobis", crops, {})


def test_crops_are_known_again_in_spite_of_rounding() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    again = vectors[[3, 17, 30]] * np.float32(1 + 2e-6)
    assert np.flatnonzero(repeated(vectors, again)).tolist() == [3, 17, 30]
    assert not repeated(vectors, vectors[:0]).any()
    assert not repeated(vectors + 1e-3, vectors).any()
