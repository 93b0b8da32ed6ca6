"""Enrolling and predicting, as the command line does it."""

from pathlib import Path

import pandas as pd

from dml_lightning.cli import main
from dml_lightning.gallery.gallery import EnrolledSpecies

NEW = "tundra_swan"


def table_of(boxes: pd.DataFrame, path: Path) -> Path:
    """Boxes as a CSV table beside absolute paths of their frames."""
    boxes.to_csv(path, index=False)
    return path


def predictions(run: Path, flights: Path, out: Path) -> pd.DataFrame:
    data = f"--data={flights}/annotations.json"
    return pd.read_csv(main(["predict", f"--run={run}", data, f"--out={out}"]))


def enroll(run: Path, crops: Path, *more: str, label: str = NEW) -> EnrolledSpecies:
    return main(["enroll", f"--run={run}", f"--crops={crops}", f"--label={label}", *more])
