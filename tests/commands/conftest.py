"""A finished run to enroll species in, and boxes to do it with."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.cli import main
from dml_lightning.data.sources import CocoJson
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.simulate import simulate
from tests.commands.enrolling import table_of


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


@pytest.fixture
def calibrated(run: Path, unseen: pd.DataFrame, tmp_path: Path) -> Path:
    """The run with rule C from four flights, and embeddings of six flights as those of its test."""
    names = Gallery.load(run / "gallery").class_names
    data = table_of(unseen[unseen["label"].isin(names)], tmp_path / "calibration.csv")
    main(["gallery", "recalibrate", f"--run={run}", f"--data={data}"])
    evidence = read_evidence(run / "embeddings" / "val.npz")
    groups = {name: np.array([f"t{i % 6}" for i in range(len(part))]) for name, part in evidence.sets.items()}
    replace(evidence, groups=groups).save(run / "embeddings" / "test.npz")
    return run
