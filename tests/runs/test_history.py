"""The CSV files of a run: Lightning's own rows, and none that a killed process takes with it."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger

from dml_lightning.runs.history import history, history_start

ROWS = [{"train/loss": 2.5}, {"train/loss": 2.25}, {"val/map_at_r": 0.5, "epoch": 0}, {"train/loss": 2.0, "a": 1.0}]


def log(logger: CSVLogger, rows: Sequence[dict[str, float]], first: int = 0) -> Path:
    for step, row in enumerate(rows, first):
        logger.log_metrics(row, step)
        logger.save()
    return Path(logger.log_dir) / "metrics.csv"


def test_the_file_is_the_one_that_lightning_writes(tmp_path: Path) -> None:
    theirs = log(CSVLogger(tmp_path, name="theirs", version="fit"), ROWS)
    assert log(history(tmp_path, "fit"), ROWS).read_bytes() == theirs.read_bytes()


def test_rows_stand_when_the_process_ends_as_a_number_is_logged_for_the_first_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(_: int) -> None:
        raise Killed

    logger = history(tmp_path, "fit")
    file = log(logger, ROWS[:2])
    before = file.read_bytes()
    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(Killed):
        log(logger, ROWS[2:], first=2)
    assert file.read_bytes() == before


def test_each_history_has_a_folder_and_later_ones_leave_room(tmp_path: Path) -> None:
    assert history_start(tmp_path) == 0
    for name in ("fit", "fit-1"):
        folder = Path(history(tmp_path, "fit").log_dir)
        assert folder == tmp_path / "csv" / name
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("step,a\n0,1\n1,2\n")
    assert history_start(tmp_path) == 10 * 6
