"""Where the jobs of a comparison run: on this machine, one after another or one per GPU, or under SLURM."""

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.workers import Work, Worker, stop

POLL = 0.5  # s between two looks at the jobs


@dataclass(frozen=True)
class Schedule:
    """How jobs are spread.

    Args:
        where: `local` for this machine; `slurm` for a job array through submitit; `slurm_debug` for submitit's own
            local processes, without SLURM.
        workers: Jobs at once: processes of this machine, or tasks of the array that run together.
        gpus: Whether each local worker gets a GPU of its own, of those in CUDA_VISIBLE_DEVICES if it is set.
        fresh: Whether each local job gets a new process, which runs on several GPUs each need.
        slurm: Parameters of `submitit.AutoExecutor.update_parameters`, such as timeout_min, slurm_partition,
            gpus_per_node, tasks_per_node and nodes.

    Raises:
        ValueError: If there is no worker.
    """

    where: Literal["local", "slurm", "slurm_debug"] = "local"
    workers: int = 1
    gpus: bool = False
    fresh: bool = False
    slurm: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"schedule.workers is {self.workers}; it must be at least 1.")


class Interrupted(KeyboardInterrupt):
    """Jobs were interrupted; the message says how many had ended."""


def run_all(
    jobs: Sequence[Job],
    schedule: Schedule,
    logs: Path,
    look: Callable[[Sequence[Outcome], Sequence[Job]], None],
    work: Work,
) -> list[Outcome]:
    """Runs all jobs; one that fails stops no other, and those of the same command run once.

    Args:
        jobs: In the order to start them.
        schedule: Where.
        logs: Folder that receives one file per job, and submitit's files.
        look: Called a few times a second with the outcomes so far and the jobs that have not ended.
        work: What a job is done by.

    Returns:
        One outcome per job, in the order of `jobs`.

    Raises:
        ValueError: If there are fewer GPUs than workers that each need one.
        Interrupted: On Ctrl-C or SIGTERM, when no job runs any more.
    """
    same: dict[tuple[str | bool, ...], list[Job]] = {}
    for job in jobs:
        same.setdefault((job.test, *job.first_words), []).append(job)
    groups = {group[0]: group for group in same.values()}
    runner = _local if schedule.where == "local" else _submitit
    found: dict[Job, Outcome] = {}
    try:
        with _sigterm_as_interrupt(), closing(runner(list(groups), schedule, logs, work)) as ended:
            for outcome in ended:
                if outcome is not None:
                    found |= {job: replace(outcome, job=job) for job in groups[outcome.job]}
                look(list(found.values()), [job for job in jobs if job not in found])
    except KeyboardInterrupt:
        raise Interrupted(_where_it_stands(found.values(), len(jobs), schedule)) from None
    return [found[job] for job in jobs]


def log_file(logs: Path, job: Job) -> Path:
    """Where a job's output goes."""
    return logs / f"{job.title.replace(', ', '-').replace(' ', '_')}.txt"


def _where_it_stands(ended: Collection[Outcome], total: int, schedule: Schedule) -> str:
    failed = sum(outcome.error is not None for outcome in ended)
    lost = f", {failed} failed" if failed else ""
    cancelled = "" if schedule.where == "local" else " The array's other jobs are cancelled."
    return f"{len(ended) - failed} of {total} runs are done{lost}.{cancelled}"


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM, which would leave the workers behind, does what Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # Python leaves signals to the main thread
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


Ended = Generator[Outcome | None]  # outcomes as jobs end; None where there is nothing new


def _local(jobs: Sequence[Job], schedule: Schedule, logs: Path, work: Work) -> Ended:
    """Processes of this machine."""
    workers = [Worker(work, gpu, schedule.fresh) for gpu in _gpus(schedule)]
    waiting = list(jobs)
    try:
        while True:
            for worker in workers:
                if waiting and worker.job is None:
                    job = waiting.pop(0)
                    worker.start(job, log_file(logs, job))
            busy = [worker for worker in workers if worker.job is not None]
            if not busy:
                break
            wait([worker.pipe for worker in busy], timeout=POLL)
            yield from filter(None, [worker.ended() for worker in busy])
            yield None
        for worker in workers:
            worker.close()
    except BaseException:
        stop(workers)
        raise


def _gpus(schedule: Schedule) -> Sequence[str | None]:
    """The GPU of each worker, None where it may see all."""
    if not schedule.gpus:
        return [None] * schedule.workers
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        import torch

        visible = [str(number) for number in range(torch.cuda.device_count())]
    else:  # numbers or UUIDs; CUDA too takes those before the first -1
        visible = list(takewhile(lambda name: name not in ("", "-1"), given.split(",")))
    if len(visible) < schedule.workers:
        where = "on this machine" if given is None else f"in CUDA_VISIBLE_DEVICES={given}"
        raise ValueError(
            f"schedule.workers is {schedule.workers} with a GPU each, but there are {len(visible)} GPUs {where}."
        )
    return visible[: schedule.workers]


def _submitit(jobs: Sequence[Job], schedule: Schedule, logs: Path, work: Work) -> Ended:
    """A SLURM job array; what has not ended is cancelled when this generator is closed."""
    import submitit

    cluster = "local" if schedule.where == "slurm_debug" else "slurm"
    executor = submitit.AutoExecutor(folder=logs / "submitit", cluster=cluster)
    parameters = {"name": "dml", **schedule.slurm}
    if cluster == "slurm":
        parameters["slurm_array_parallelism"] = schedule.workers
    executor.update_parameters(**parameters)
    submitted = executor.map_array(work, jobs, [log_file(logs, job) for job in jobs])
    waiting = dict(zip(jobs, submitted, strict=True))
    try:
        while waiting:
            time.sleep(POLL)
            for job in [job for job, task in waiting.items() if task.done()]:
                yield _result(waiting.pop(job), job)
            yield None
    finally:
        for task in waiting.values():
            task.cancel(check=False)


def _result(submitted: Any, job: Job) -> Outcome:
    try:
        outcome: Outcome = submitted.results()[0]  # of the first of its tasks
    except Exception as error:  # the task itself died; its own errors are outcomes
        lines = str(error).strip().splitlines()
        return Outcome(job, error=f"{type(error).__name__}: {lines[-1] if lines else ''}")
    return outcome
