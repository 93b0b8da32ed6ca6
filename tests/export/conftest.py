"""Exported folders, each made once by a process of its own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that `exporting.py` leaves for a case."""
    made: dict[str, Path] = {}

    def get(case: str) -> Path:
        if case not in made:
            folder = tmp_path_factory.mktemp(case)
            words = [sys.executable, "-W", "error", str(HERE / "exporting.py"), case, str(folder)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (folder / "printed.txt").write_text(done.stdout)
            made[case] = folder
        return made[case]

    return get
