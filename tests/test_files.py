"""Files that are whole or absent, locks, and JSON."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning import files


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")
    with pytest.raises(ValueError, match="pickle"):
        files.write_npz(path, one=np.array([object()]))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
