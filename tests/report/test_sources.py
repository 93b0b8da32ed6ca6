"""What a report cannot be made of is named before anything is read."""

from pathlib import Path

import pytest

from dml_lightning.report.sources import check_counts, check_source, check_sources
from tests.made_up import RunOf


def test_tested_runs_files_and_comparisons_are_taken(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of("triplet")
    check_sources([run, run / "embeddings" / "test.npz"])
    (tmp_path / "comparison.json").write_text("{}")
    check_sources([tmp_path])


def test_others_are_refused(run_of: RunOf, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{}")
    for paths, message in (
        ([], "at least one run"),
        ([tmp_path / "nothing"], r"nothing is neither a run's folder nor an \.npz file"),
        ([tmp_path / "nothing.npz"], r"nothing\.npz: there is no such file"),
        ([tmp_path, run_of("triplet")], "is neither a run's folder"),  # a comparison stands alone
    ):
        with pytest.raises(ValueError, match=message):
            check_sources(paths)
    (run_of("softmax") / "metrics" / "test.json").unlink()
    with pytest.raises(ValueError, match=r"has not been tested: run dml test --run .*softmax/0-s0 first"):
        check_source(tmp_path / "runs" / "softmax" / "0-s0")
    with pytest.raises(ValueError, match=r"--counts .*c\.csv: there is no such file"):
        check_counts(tmp_path / "c.csv")
