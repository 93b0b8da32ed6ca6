"""Jobs on processes of this machine and through submitit: none is lost with another, none outlives the comparison."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from dml_lightning.commands.compare import compare
from dml_lightning.commands.jobs import run_job
from dml_lightning.compare import workers
from dml_lightning.compare.experiment import Arm
from dml_lightning.compare.jobs import Job, Outcome, find_run
from dml_lightning.compare.progress import Progress
from dml_lightning.compare.scheduling import Interrupted, Schedule, log_file, run_all
from dml_lightning.files import write_json
from tests.compare import jobs_for_tests
from tests.compare.jobs_for_tests import jobs, mark, silent, talk, work


def process_of(job: Job) -> int:
    """The process that does a job, as soon as it does."""
    until = time.monotonic() + 60
    while not (mark(job).is_file() and mark(job).read_text()):
        assert time.monotonic() < until, f"{job.title} has not begun"
        time.sleep(0.01)
    return int(mark(job).read_text())


def is_running(process: int) -> bool:
    """Whether a process has neither ended nor waits to be collected."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until_gone(process: int) -> None:
    until = time.monotonic() + 30
    while is_running(process):
        assert time.monotonic() < until, f"process {process} goes on"
        time.sleep(0.01)


def worker_of(outcome: Outcome) -> str:
    assert outcome.run is not None
    return outcome.run.name.split("pid")[1]


# Failures -------------------------------------------------------------------------------------


def test_a_failed_job_stops_no_other(tmp_path: Path) -> None:
    found = run_all(jobs("fine fails fine", tmp_path), Schedule(), tmp_path, silent, work)
    assert [outcome.error for outcome in found] == [None, "as it should", None]
    assert [outcome.job.seed for outcome in found] == [0, 1, 2]
    assert worker_of(found[0]) == worker_of(found[2])


@pytest.mark.parametrize("count", [1, 2])
def test_a_process_that_dies_takes_only_its_own_job(tmp_path: Path, count: int) -> None:
    listed = jobs("works dies works fine", tmp_path)  # with two workers, it dies beside another
    found = run_all(listed, Schedule(workers=count), tmp_path, silent, work)
    assert [outcome.error for outcome in found] == [None, workers.DIED, None, None]


def test_what_a_dead_process_has_started_ends_with_it(tmp_path: Path) -> None:
    listed = jobs("has_ranks", tmp_path)
    run_all(listed, Schedule(), tmp_path, silent, work)
    wait_until_gone(process_of(listed[0]))


def test_a_job_that_is_told_to_end_stops_no_other(tmp_path: Path) -> None:
    found = run_all(jobs("fine exits fine", tmp_path), Schedule(), tmp_path, silent, work)
    assert [outcome.error for outcome in found] == [None, workers.INTERRUPTED, None]
    assert worker_of(found[0]) != worker_of(found[2])  # the process ended with it


def test_equal_jobs_run_once_and_both_have_the_outcome(tmp_path: Path) -> None:
    words = (str(tmp_path),)
    other = (str(tmp_path), "other")
    listed = [Job("a", 0, 0, words, trial=0), Job("a", 1, 0, other), Job("a", 0, 0, words, trial=1)]
    seen: list[int] = []

    def look(ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
        silent(ended, waiting)
        seen.append(len(ended) + len(waiting))

    found = run_all(listed, Schedule(fresh=True), tmp_path, look, work)
    assert [outcome.job for outcome in found] == listed
    assert found[0].run == found[2].run != found[1].run
    assert set(seen) == {3}


def test_an_error_is_an_outcome_with_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = Job("softmax", 3, 1, ("--no_such_option=1",), train_per_class=5)
    assert job.title == "softmax, seed 3, fold 1, 5 crops a class"
    log = log_file(tmp_path, job)
    with capfd.disabled():  # pytest's streams are no files
        outcome = run_job(job, log)
    assert outcome.run is None
    assert "no_such_option" in str(outcome.error)
    assert "Traceback" in log.read_text()


def test_all_that_a_job_prints_is_in_its_own_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    listed = jobs("a b", tmp_path)
    run_all(listed, Schedule(), tmp_path, silent, talk)
    for n, job in enumerate(listed):
        said = sorted(log_file(tmp_path, job).read_text().splitlines())
        assert said == [f"logged {n}", f"printed {n}", f"written {n}"]
    assert capfd.readouterr() == ("after 0\nafter 1\n", "")


# Processes and GPUs ---------------------------------------------------------------------------


@pytest.mark.parametrize("fresh", [False, True])
def test_each_worker_has_a_gpu_of_those_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5e")
    schedule = Schedule(workers=2, gpus=True, fresh=fresh)
    found = run_all(jobs("works " * 4, tmp_path), schedule, tmp_path, silent, work)
    gpus: dict[str, set[str]] = {}
    for outcome in found:
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
    found = run_all(jobs("fine", tmp_path), Schedule(gpus=True), tmp_path, silent, work)
    assert "-gpu0-" in str(found[0].run)
    with pytest.raises(ValueError, match="there are 1 GPUs on this machine"):
        run_all([], Schedule(gpus=True, workers=2), tmp_path, silent, work)


def test_a_worker_starts_a_service_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SERVICE", "the parent's")
    (found,) = run_all(jobs("service", tmp_path), Schedule(), tmp_path, silent, work)
    assert found.error == "none"


def test_fresh_processes(tmp_path: Path) -> None:
    kept = run_all(jobs("fine fine", tmp_path), Schedule(), tmp_path, silent, work)
    fresh = run_all(jobs("fine fine", tmp_path), Schedule(fresh=True), tmp_path, silent, work)
    for found, processes in ((kept, 1), (fresh, 2)):
        assert len(set(map(worker_of, found))) == processes
        assert not any(is_running(int(worker_of(outcome))) for outcome in found)


def test_no_worker_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Schedule(workers=0)


# Interruptions --------------------------------------------------------------------------------


def start(arms: str, folder: Path) -> "subprocess.Popen[str]":
    """A comparison in a process group of its own, as a shell starts one in a terminal."""
    return subprocess.Popen(
        [sys.executable, jobs_for_tests.__file__, arms, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


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


def test_workers_end_with_a_comparison_that_is_killed(tmp_path: Path) -> None:
    (job,) = jobs("waits", tmp_path)
    process = start("waits", tmp_path)
    worker = process_of(job)
    process.kill()
    process.communicate(timeout=30)
    wait_until_gone(worker)


def test_sigterm_ends_the_workers_too(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    listed = jobs("fails waits fine", tmp_path)

    def look(ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
        if mark(listed[1]).exists():
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"^0 of 3 runs are done, 1 failed\.$"):
        run_all(listed, Schedule(), tmp_path, look, work)
    assert not is_running(process_of(listed[1]))
    assert not mark(listed[2]).exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_job_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    listed = jobs("stubborn", tmp_path)
    with pytest.raises(Interrupted):
        run_all(listed, Schedule(), tmp_path, interrupt_when_begun, work)
    assert not is_running(process_of(listed[0]))


def interrupt_when_begun(ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
    process_of(waiting[0])
    raise KeyboardInterrupt


def test_a_comparison_runs_once_at_a_time(tmp_path: Path) -> None:
    hold = "import sys, pathlib, dml_lightning.files as f\nwith f.locked(pathlib.Path(sys.argv[1])): print(), input()"
    command = [sys.executable, "-u", "-c", hold, str(tmp_path / "name")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            with pytest.raises(ValueError, match=rf"name is being written by process {other.pid} "):
                compare("name", [], {"arm": Arm([])}, out=str(tmp_path))
        finally:
            other.kill()


# SLURM ----------------------------------------------------------------------------------------


@pytest.fixture
def array(monkeypatch: pytest.MonkeyPatch) -> Schedule:
    """Processes of submitit's own, which import the work."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return Schedule("slurm_debug", slurm={"timeout_min": 5})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_submitit_s_local_processes(tmp_path: Path, array: Schedule) -> None:
    found = run_all(jobs("fine fails dies", tmp_path), array, tmp_path, silent, work)
    assert [outcome.run is not None for outcome in found] == [True, False, False]
    assert found[1].error == "as it should"
    assert found[2].error


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_cancels_the_array(tmp_path: Path, array: Schedule) -> None:
    listed = jobs("waits waits", tmp_path)
    with pytest.raises(Interrupted, match=r"^0 of 2 runs are done\. The array's other jobs are c"):
        run_all(listed, array, tmp_path, interrupt_when_begun, work)
    for job in listed:
        if mark(job).exists():
            wait_until_gone(process_of(job))


# What is shown --------------------------------------------------------------------------------


def test_names_with_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    ended, waiting = Job("pro[red]", 0, 0, ()), Job("[/bold]", 1, 0, ())
    with Progress(tmp_path, "name", 2, "val/[map]", 1, 1, console) as progress:
        progress.look([Outcome(ended, error="it")], [waiting])
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(text in said for text in ("pro[red], seed 0", "[/bold], seed 1", "val/[map]"))


def test_a_run_is_found_by_its_command(tmp_path: Path) -> None:
    job, other = Job("pro xy", 3, 1, ("--a=1",)), Job("pro xy", 3, 2, ("--a=2",))
    run = tmp_path / "name" / "pro_xy" / "abc-s3"
    write_json(run / "run.json", {"stages": {"fit": {"command": job.first_words}}})
    assert find_run(job, tmp_path, "name") == run
    assert find_run(other, tmp_path, "name") is None


def test_what_several_runs_fail_by_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors = ["no such folder", None, "no such folder", "out of memory"]
    ended = [Outcome(Job("a", seed, 0, ()), error=error) for seed, error in enumerate(errors)]
    with Progress(tmp_path, "name", 4, "val/map_at_r", 1, 1) as progress:
        for number in range(len(ended)):
            progress.look(ended[: number + 1], [])
    assert capsys.readouterr().out.splitlines() == [
        "[1/4] a, seed 0, fold 0: failed: no such folder",
        "[2/4] a, seed 1, fold 0: done",
        "[3/4] a, seed 2, fold 0: failed like [1]",
        "[4/4] a, seed 3, fold 0: failed: out of memory",
    ]
