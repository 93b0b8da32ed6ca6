"""Where an enrolled species lies in the classes there are."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import changes
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.overlap import overlaps
from tests.gallery.crops import CENTRES, DIGEST, DIM, NAMES, crops


def test_overlaps_against_a_loop(evidence: Evidence, stored: Path) -> None:
    """A species between the coots and the gadwalls."""
    middle = (CENTRES[0] + CENTRES[1]) / 2 + np.random.default_rng(0).normal(0, 3, (6, DIM))
    changes.add_species(stored, "smew", crops(6, 3, 0), DIGEST)
    species = changes.add_species(stored, "eider", middle.astype(np.float32), DIGEST)
    result = overlaps(Gallery.load(stored), species)
    assert {each.label for each in result[2:]} == {"mallard", "smew"}
    own = [vector.astype(float) for vector in species.vectors]
    for each in result[:2]:
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
    single = changes.add_species(stored, "pintail", crops(7, 1, 0), DIGEST)
    assert all(np.isnan(each.lost) for each in overlaps(Gallery.load(stored), single))
