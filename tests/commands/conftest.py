"""A finished run to enroll species in, and boxes to do it with."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dml_lightning.data.sources import CocoJson
from dml_lightning.simulate import simulate


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the triplet arm's run, to be changed."""
    copy = tmp_path / "run"
    shutil.copytree(runs["triplet"], copy, ignore=shutil.ignore_patterns("wandb", "csv"))
    return copy


@pytest.fixture(scope="module")
def boxes(flights: Path) -> pd.DataFrame:
    return CocoJson(flights, annotations="annotations.json").read().table


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Boxes of four flights that no run has seen."""
    out = tmp_path_factory.mktemp("unseen") / "simulated"
    size = {"frames": 4, "width": 480, "height": 384, "workers": 1}
    simulate(out, flights=4, seed=1, progress=False, **size)
    return CocoJson(out, annotations="annotations.json").read().table
