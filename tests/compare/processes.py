"""Processes of jobs, watched from outside."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dml_lightning.compare.jobs import Job, Outcome
from tests.compare import jobs_for_tests
from tests.compare.jobs_for_tests import mark


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


def start(arms: str, folder: Path) -> "subprocess.Popen[str]":
    """A comparison in a process group of its own, as a shell starts one in a terminal."""
    return subprocess.Popen(
        [sys.executable, jobs_for_tests.__file__, arms, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def interrupt_when_begun(ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
    process_of(waiting[0])
    raise KeyboardInterrupt
