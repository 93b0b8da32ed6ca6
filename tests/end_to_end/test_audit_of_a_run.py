"""The file that a run leaves gives the numbers that the run logged."""

import json
import math
from pathlib import Path

import pytest

from dml_lightning.cli import main


@pytest.mark.parametrize("arm", ["softmax", "triplet"])
def test_an_audit_of_a_run_gives_the_runs_own_numbers(runs: dict[str, Path], arm: str, tmp_path: Path) -> None:
    if not (runs[arm] / "metrics" / "test.json").is_file():
        main(["test", "--run", str(runs[arm]), "--verbose=false"])
    main(["audit", str(runs[arm] / "embeddings" / "test.npz"), "--out", str(tmp_path / "audit")])
    own = json.loads((runs[arm] / "metrics" / "test.json").read_text())
    found = json.loads((tmp_path / "audit" / "metrics.json").read_text())
    assert set(found) == set(own)
    for name, value in own.items():
        if value is None:
            assert found[name] is None or math.isnan(found[name]), name
        else:
            assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name
