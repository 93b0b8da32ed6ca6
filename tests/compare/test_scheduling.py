"""Jobs on processes of this machine and through submitit: none is lost with another, none outlives the comparison."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.scheduling import Interrupted, Schedule, _gpus, at_once, run_all
from tests.compare.jobs_for_tests import jobs, mark, silent, work
from tests.compare.processes import interrupt_when_begun, is_running, process_of, start, wait_until_gone, worker_of

# Failures -------------------------------------------------------------------------------------


def test_a_failed_job_stops_no_other(tmp_path: Path) -> None:
    result = run_all(jobs("fine fails fine", tmp_path), Schedule(workers=1), tmp_path, silent, work)
    assert [outcome.error for outcome in result] == [None, "as it should", None]
    assert [outcome.job.seed for outcome in result] == [0, 1, 2]
    assert worker_of(result[0]) == worker_of(result[2])


def test_equal_jobs_run_once_and_both_have_the_outcome(tmp_path: Path) -> None:
    words = (str(tmp_path),)
    other = (str(tmp_path), "other")
    listed = [Job("a", 0, 0, words, trial=0), Job("a", 1, 0, other), Job("a", 0, 0, words, trial=1)]
    seen: list[int] = []

    def look(ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
        silent(ended, waiting)
        seen.append(len(ended) + len(waiting))

    result = run_all(listed, Schedule(workers=1, fresh=True), tmp_path, look, work)
    assert [outcome.job for outcome in result] == listed
    assert result[0].run == result[2].run != result[1].run
    assert set(seen) == {3}


# Processes and GPUs ---------------------------------------------------------------------------


@pytest.mark.parametrize("fresh", [False, True])
def test_each_worker_has_a_gpu_of_those_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5e")
    schedule = Schedule(workers=2, gpus=True, fresh=fresh)
    result = run_all(jobs("works " * 4, tmp_path), schedule, tmp_path, silent, work)
    gpus: dict[str, set[str]] = {}
    for outcome in result:
        assert outcome.run is not None
        gpus.setdefault(outcome.run.name.split("gpu")[1].split("-pid")[0], set()).add(worker_of(outcome))
    assert set(gpus) == {"3", "GPU-5e"}
    assert sum(map(len, gpus.values())) == (4 if fresh else 2)


@pytest.mark.parametrize(("given", "count"), [("3", 1), ("3,-1,4", 1), ("", 0)])
def test_more_workers_than_gpus_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, count: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    schedule = Schedule(workers=2, gpus=True)
    with pytest.raises(ValueError, match=f"is 2 with a GPU each, but there are {count} GPUs in"):
        run_all(jobs("fine", tmp_path), schedule, tmp_path, silent, work)
    assert not list(tmp_path.iterdir())


def test_the_machine_s_gpus_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    result = run_all(jobs("fine", tmp_path), Schedule(workers=1, gpus=True), tmp_path, silent, work)
    assert "-gpu0-" in str(result[0].run)
    with pytest.raises(ValueError, match="there are 1 GPUs on this machine"):
        run_all([], Schedule(gpus=True, workers=2), tmp_path, silent, work)


def test_fresh_processes(tmp_path: Path) -> None:
    kept = run_all(jobs("fine fine", tmp_path), Schedule(workers=1), tmp_path, silent, work)
    fresh = run_all(jobs("fine fine", tmp_path), Schedule(workers=1, fresh=True), tmp_path, silent, work)
    for result, processes in ((kept, 1), (fresh, 2)):
        assert len(set(map(worker_of, result))) == processes
        assert not any(is_running(int(worker_of(outcome))) for outcome in result)


def test_auto_is_one_worker_per_gpu_or_else_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dml_lightning.compare.scheduling.available_cores", lambda: 3)
    for given, schedule, expected in (
        ("", Schedule(), [None] * 3),
        ("3,GPU-5e", Schedule(), ["3", "GPU-5e"]),
        ("3", Schedule(), [None]),  # which sees that one anyway
        ("3", Schedule(gpus=True), ["3"]),
        ("3,4", Schedule(fresh=True), [None]),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert _gpus(schedule) == expected
        assert at_once(schedule, 2) == min(2, len(expected))
        assert at_once(Schedule("slurm_debug", slurm={"timeout_min": 1}), 2) == min(2, len(_gpus(Schedule())))
    limit = {"timeout_min": 1}
    assert at_once(Schedule("slurm", slurm=limit), 40) == 40
    assert at_once(Schedule("slurm", workers=8, slurm=limit), 40) == 8


def test_auto_runs_jobs_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("dml_lightning.compare.scheduling.available_cores", lambda: 2)
    result = run_all(jobs("works works", tmp_path), Schedule(), tmp_path, silent, work)
    assert worker_of(result[0]) != worker_of(result[1])


def test_no_worker_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Schedule(workers=0)


@pytest.mark.parametrize("where", ["slurm", "slurm_debug"])
def test_jobs_of_slurm_need_a_time_limit(where: Literal["slurm", "slurm_debug"]) -> None:
    with pytest.raises(ValueError, match=f"schedule.where is {where}, and a job without a time limit"):
        Schedule(where, slurm={"slurm_partition": "gpu"})
    for name in ("timeout_min", "slurm_time"):
        assert Schedule(where, slurm={name: 90}).slurm == {name: 90}


def test_ctrl_c_ends_the_running_job_and_starts_no_other(tmp_path: Path) -> None:
    _, second, third = jobs("fine waits fine", tmp_path)
    process = start("fine waits fine", tmp_path)
    worker = process_of(second)
    time.sleep(0.1)  # the first outcome is on its way
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "1 of 3 runs are done.\n")
    assert not is_running(worker)
    assert not mark(third).exists()


def test_sigterm_ends_the_workers_too(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    listed = jobs("fails waits fine", tmp_path)

    def look(ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
        if mark(listed[1]).exists():
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"^0 of 3 runs are done, 1 failed\.$"):
        run_all(listed, Schedule(workers=1), tmp_path, look, work)
    assert not is_running(process_of(listed[1]))
    assert not mark(listed[2]).exists()
    assert signal.getsignal(signal.SIGTERM) is before


# SLURM ----------------------------------------------------------------------------------------


@pytest.fixture
def array(monkeypatch: pytest.MonkeyPatch) -> Schedule:
    """Processes of submitit's own, which import the work."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return Schedule("slurm_debug", workers=2, slurm={"timeout_min": 5})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_submitit_s_local_processes(tmp_path: Path, array: Schedule) -> None:
    listed = jobs("fails dies preempted fine", tmp_path)
    begun: list[int] = []

    def look(ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
        silent(ended, waiting)
        begun.append(sum(mark(job).exists() for job in waiting))

    result = run_all(listed, array, tmp_path, look, work)
    assert [outcome.run is not None for outcome in result] == [False, False, True, True]
    assert result[0].error == "as it should"
    assert result[1].error
    assert mark(listed[2]).with_suffix(".again").exists()
    assert max(begun) <= 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_cancels_the_array(tmp_path: Path, array: Schedule) -> None:
    listed = jobs("waits waits", tmp_path)
    with pytest.raises(Interrupted, match=r"^0 of 2 runs are done\. The array's other jobs are c"):
        run_all(listed, array, tmp_path, interrupt_when_begun, work)
    for job in listed:
        if mark(job).exists():
            wait_until_gone(process_of(job))
