"""Made-up embeddings to draw."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.evaluation.evidence import Evidence, read_evidence
from tests.made_up import arrays


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """A file of embeddings: three known classes, one novel, two OOD."""
    np.savez(tmp_path / "e.npz", **arrays())
    return tmp_path / "e.npz"


@pytest.fixture
def evidence(npz: Path) -> Evidence:
    """What the file holds."""
    return read_evidence(npz)
