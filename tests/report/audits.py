"""Pages of embeddings from a file."""

from pathlib import Path
from typing import Any

import numpy as np

from dml_lightning.cli import main


def audited(tmp_path: Path, content: dict[str, Any]) -> str:
    """The page that an audit writes."""
    np.savez(tmp_path / "theirs.npz", **content)
    return Path(main(["audit", str(tmp_path / "theirs.npz"), "--out", str(tmp_path / "out")])).read_text()
