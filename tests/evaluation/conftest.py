"""A split with all its sets."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.evaluation.evidence import Evidence, read_evidence
from tests.made_up import Made


@pytest.fixture(scope="session")
def split(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Unit vectors of three known classes, a novel one and two OOD ones, one of them far."""
    path: Path = tmp_path_factory.mktemp("split") / "test.npz"
    np.savez(path, **made())  # type: ignore[arg-type]
    return read_evidence(path)
