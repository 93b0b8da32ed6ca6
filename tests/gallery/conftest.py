"""A split's embeddings and a gallery of them."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery.gallery import Gallery
from tests.gallery.crops import DIGEST, NAMES, embeddings


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Three known classes at 0 to 2, OOD at 9."""
    sets = {
        "reference": embeddings([0, 1, 2], 30, 0, first=100),
        "known": embeddings([0, 1, 2], 20, 1),
        "novel": embeddings([], 0, 2),
        "ood": embeddings([9], 20, 3),
        "clutter": embeddings([], 0, 5),
        "calibration": embeddings([0, 1, 2], 40, 4),
    }
    groups = {name: np.array([f"flight {i % 4}" for i in range(len(e))]) for name, e in sets.items()}
    return Evidence(sets, [*NAMES, *(f"class {i}" for i in range(3, 10))], 3, groups)


@pytest.fixture
def stored(evidence: Evidence, tmp_path: Path) -> Path:
    """A gallery on the disk, with every rule that there is."""
    Gallery.build(evidence, DIGEST, per_class=True).save(tmp_path / "gallery")
    return tmp_path / "gallery"
