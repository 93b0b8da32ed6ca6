"""A split's embeddings and a gallery of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.types import LinearHead
from tests.gallery.crops import DIGEST, DIM, NAMES, embeddings


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
    rows = torch.randn(4, DIM, generator=torch.Generator().manual_seed(0)) / 8
    head, reject = LinearHead(rows[:3], torch.zeros(3)), LinearHead(rows[3:], torch.ones(1))
    names = [*NAMES, *(f"class {i}" for i in range(3, 10))]
    return Evidence(sets, names, 3, groups, head=head, reject=reject)


@pytest.fixture
def stored(evidence: Evidence, tmp_path: Path) -> Path:
    """A gallery on the disk, with every rule that there is."""
    Gallery.build(evidence, DIGEST, per_class=True).save(tmp_path / "gallery")
    return tmp_path / "gallery"
