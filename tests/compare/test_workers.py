"""Processes that do jobs: each may die, none outlives the comparison."""

from pathlib import Path

import pytest

from dml_lightning.compare import workers
from dml_lightning.compare.scheduling import Interrupted, Schedule, run_all
from tests.compare.jobs_for_tests import jobs, silent, work
from tests.compare.processes import interrupt_when_begun, is_running, process_of, start, wait_until_gone, worker_of


@pytest.mark.parametrize("count", [1, 2])
def test_a_process_that_dies_takes_only_its_own_job(tmp_path: Path, count: int) -> None:
    listed = jobs("works dies works fine", tmp_path)  # with two workers, it dies beside another
    result = run_all(listed, Schedule(workers=count), tmp_path, silent, work)
    assert [outcome.error for outcome in result] == [None, workers.DIED, None, None]


def test_what_a_dead_process_has_started_ends_with_it(tmp_path: Path) -> None:
    listed = jobs("has_ranks", tmp_path)
    run_all(listed, Schedule(workers=1), tmp_path, silent, work)
    wait_until_gone(process_of(listed[0]))


def test_a_job_that_is_told_to_end_stops_no_other(tmp_path: Path) -> None:
    result = run_all(jobs("fine exits fine", tmp_path), Schedule(workers=1), tmp_path, silent, work)
    assert [outcome.error for outcome in result] == [None, workers.INTERRUPTED, None]
    assert worker_of(result[0]) != worker_of(result[2])  # the process ended with it


def test_a_worker_starts_a_service_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SERVICE", "the parent's")
    (result,) = run_all(jobs("service", tmp_path), Schedule(workers=1), tmp_path, silent, work)
    assert result.error == "none"


def test_workers_end_with_a_comparison_that_is_killed(tmp_path: Path) -> None:
    (job,) = jobs("waits", tmp_path)
    process = start("waits", tmp_path)
    worker = process_of(job)
    process.kill()
    process.communicate(timeout=30)
    wait_until_gone(worker)


def test_a_job_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    listed = jobs("stubborn", tmp_path)
    with pytest.raises(Interrupted):
        run_all(listed, Schedule(workers=1), tmp_path, interrupt_when_begun, work)
    assert not is_running(process_of(listed[0]))
