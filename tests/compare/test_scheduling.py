"""Jobs on processes of this machine and through submitit: none is lost with another."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from jobs_for_tests import work

from dml_lightning.compare.jobs import Job, Outcome, find_run, run_job
from dml_lightning.compare.scheduling import Schedule, log_file, run_all


def jobs(arms: str, folder: Path) -> list[Job]:
    return [Job(arm, seed, 0, (str(folder),)) for seed, arm in enumerate(arms.split())]


def silent(ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
    assert not {outcome.job.title for outcome in ended} & {job.title for job in waiting}


def test_a_failed_job_stops_no_other(tmp_path: Path) -> None:
    found = run_all(jobs("fine fails fine", tmp_path), Schedule(), tmp_path, silent, work)
    assert [outcome.error for outcome in found] == [None, "as it should", None]
    assert [outcome.job.seed for outcome in found] == [0, 1, 2]


def test_a_process_that_dies_takes_only_its_own_job(tmp_path: Path) -> None:
    found = run_all(jobs("fine dies fine fine", tmp_path), Schedule(), tmp_path, silent, work)
    assert [outcome.run is not None for outcome in found] == [True, False, True, True]
    assert "died" in str(found[1].error)


def test_each_worker_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    schedule = Schedule(workers=2, gpus=True)
    found = run_all(jobs("fine " * 6, tmp_path), schedule, tmp_path, silent, work)
    seen = {outcome.run.name.split("-", 1)[1] for outcome in found if outcome.run}
    assert {name.split("-")[0] for name in seen} <= {"gpu0", "gpu1"}
    assert len({name.split("-")[0] for name in seen}) == len(seen)  # one process per GPU


def test_fresh_processes(tmp_path: Path) -> None:
    kept = run_all(jobs("fine fine", tmp_path), Schedule(), tmp_path, silent, work)
    fresh = run_all(jobs("fine fine", tmp_path), Schedule(fresh=True), tmp_path, silent, work)
    for found, processes in ((kept, 1), (fresh, 2)):
        assert len({o.run.name.split("pid")[1] for o in found if o.run}) == processes


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_submitit_s_local_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # its processes import the work
    schedule = Schedule("slurm_debug", slurm={"timeout_min": 5})
    found = run_all(jobs("fine fails dies", tmp_path), schedule, tmp_path, silent, work)
    assert [outcome.run is not None for outcome in found] == [True, False, False]
    assert found[1].error == "as it should"
    assert found[2].error


def test_an_error_is_an_outcome_with_its_log(tmp_path: Path) -> None:
    job = Job("softmax", 3, 1, ("--no_such_option=1",), train_per_class=5)
    assert job.title == "softmax, seed 3, fold 1, 5 crops a class"
    log = log_file(tmp_path, job)
    outcome = run_job(job, log)
    assert outcome.run is None
    assert "no_such_option" in str(outcome.error)
    assert "Traceback" in log.read_text()


def test_no_worker_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Schedule(workers=0)


def test_a_run_is_found_by_its_command(tmp_path: Path) -> None:
    from dml_lightning.runs import write_json

    job, other = Job("pro xy", 3, 1, ("--a=1",)), Job("pro xy", 3, 2, ("--a=2",))
    run = tmp_path / "name" / "pro_xy" / "abc-s3"
    write_json(run / "run.json", {"stages": {"fit": {"command": job.first_words}}})
    assert find_run(job, tmp_path, "name") == run
    assert find_run(other, tmp_path, "name") is None
