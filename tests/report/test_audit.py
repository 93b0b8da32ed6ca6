"""Tables of an audit, against the numbers of the same embeddings."""

import csv
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.report.audit import audit_files
from dml_lightning.report.inputs import read_inputs
from tests.made_up import Made


def test_tables_without_ood_or_calibration_crops_are_left_out(tmp_path: Path, made: Made) -> None:
    arrays = made(thumbnails=False)
    kept = arrays["roles"] != "ood"
    rows = {name: values[kept] for name, values in arrays.items() if len(values) == len(kept)}
    np.savez(tmp_path / "theirs.npz", **{**arrays, **rows, "far_ood": np.empty(0, str)})
    (run,) = read_inputs([tmp_path / "theirs.npz"]).runs
    texts = audit_files(run)
    assert not {"oscr.csv", "coverage.csv"} & set(texts)
    last = list(csv.DictReader(texts["risk_coverage.csv"].splitlines()))[-1]
    assert float(last["risk"]) == pytest.approx(1 - run.metrics["accuracy"])
