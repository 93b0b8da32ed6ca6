"""Runs the jobs of a comparison on this machine, one per core or GPU, or under SLURM."""

import os
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import takewhile
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal

from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.workers import Work, Worker, stop
from dml_lightning.processes import available_cores, sigterm_as_interrupt

LIMITS = {"timeout_min", "slurm_time"}  # parameters that set the time limit of a job
POLL = 0.5  # s between two looks at the jobs


@dataclass(frozen=True)
class Schedule:
    """Where jobs run, and how many at once.

    Args:
        where: `local` for this machine; `slurm` for a job array through submitit; `slurm_debug` for submitit's own
            local processes, without SLURM.
        workers: Number of jobs at once: processes of this machine, or tasks of the array. `auto` is one per GPU, or
            one per core where there is no GPU; one if they are `fresh`; as many tasks as SLURM allows.
        gpus: Whether each local worker gets a GPU of its own, of those in CUDA_VISIBLE_DEVICES if it is set; true for
            more than one worker by `auto` where there are GPUs.
        fresh: Whether each local job gets a new process, which jobs on several GPUs need.
        slurm: Parameters of `submitit.AutoExecutor.update_parameters`: timeout_min (or slurm_time), the time limit of a
            job in minutes, has to be given; slurm_partition, gpus_per_node, tasks_per_node, nodes and others may.

    Raises:
        ValueError: If `workers` is less than 1, or jobs of SLURM have no time limit.
    """

    where: Literal["local", "slurm", "slurm_debug"] = "local"
    workers: int | Literal["auto"] = "auto"
    gpus: bool = False
    fresh: bool = False
    slurm: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.workers != "auto" and self.workers < 1:
            raise ValueError(f"schedule.workers is {self.workers}; it must be at least 1.")
        if self.where != "local" and not LIMITS & self.slurm.keys():
            raise ValueError(
                f"schedule.where is {self.where}, and a job without a time limit would end after submitit's 5 minutes: "
                "give schedule.slurm a timeout_min that one run keeps, as in --schedule.slurm '{timeout_min: 120}'."
            )


def at_once(schedule: Schedule, jobs: int) -> int:
    """Number of jobs that run at once, of so many."""
    if schedule.where != "slurm":
        return min(jobs, len(_gpus(schedule)))
    return jobs if schedule.workers == "auto" else schedule.workers


class Interrupted(KeyboardInterrupt):
    """Raised when jobs were interrupted; the message says how many had ended."""


def run_all(
    jobs: Sequence[Job],
    schedule: Schedule,
    logs: Path,
    look: Callable[[Sequence[Outcome], Sequence[Job]], None],
    work: Work,
) -> list[Outcome]:
    """Runs all jobs; a failed job stops no other, and jobs of the same command run once.

    Args:
        jobs: Jobs in the order to start them.
        schedule: Where they run.
        logs: Folder that receives one file per job, and submitit's files.
        look: Function that is called a few times a second with the outcomes so far and the jobs that have not ended.
        work: Function that does a job, given the job and its log file.

    Returns:
        One outcome per job, in the order of `jobs`.

    Raises:
        ValueError: If each worker needs a GPU and there are fewer GPUs than workers.
        Interrupted: On Ctrl-C or SIGTERM, after all jobs have been stopped.
    """
    same: dict[tuple[str | bool, ...], list[Job]] = {}
    for job in jobs:
        same.setdefault((job.test, *job.first_words), []).append(job)
    groups = {group[0]: group for group in same.values()}
    runner = _local if schedule.where == "local" else _submitit
    outcomes: dict[Job, Outcome] = {}
    try:
        with sigterm_as_interrupt(), closing(runner(list(groups), schedule, logs, work)) as ended:
            for outcome in ended:
                if outcome is not None:
                    outcomes |= {job: replace(outcome, job=job) for job in groups[outcome.job]}
                look(list(outcomes.values()), [job for job in jobs if job not in outcomes])
    except KeyboardInterrupt:
        raise Interrupted(_progress(outcomes.values(), len(jobs), schedule)) from None
    return [outcomes[job] for job in jobs]


def log_file(logs: Path, job: Job) -> Path:
    """File that receives what a job prints.

    >>> log_file(Path("logs"), Job("triplet", 0, 1, ())).name
    'triplet-seed_0-fold_1.txt'
    """
    return logs / f"{job.title.replace(', ', '-').replace(' ', '_')}.txt"


def _progress(ended: Collection[Outcome], total: int, schedule: Schedule) -> str:
    """A sentence on how many runs are done and how many failed."""
    failed = sum(outcome.error is not None for outcome in ended)
    lost = f", {failed} failed" if failed else ""
    cancelled = "" if schedule.where == "local" else " The array's other jobs are cancelled."
    return f"{len(ended) - failed} of {total} runs are done{lost}.{cancelled}"


Ended = Generator[Outcome | None]  # outcomes as jobs end; None where there is nothing new


def _local(jobs: Sequence[Job], schedule: Schedule, logs: Path, work: Work) -> Ended:
    """Runs jobs in processes of this machine; closing the generator stops them."""
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
    """The GPU of each worker; None for a worker that may see all.

    Raises:
        ValueError: If each worker needs a GPU and there are too few.
    """
    if schedule.workers == "auto":
        if schedule.fresh:
            return [None]
        visible = _visible_gpus()
        return [None] if len(visible) == 1 and not schedule.gpus else visible or [None] * available_cores()
    if not schedule.gpus:
        return [None] * schedule.workers
    visible = _visible_gpus()
    if len(visible) < schedule.workers:
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        where = "on this machine" if given is None else f"in CUDA_VISIBLE_DEVICES={given}"
        raise ValueError(
            f"schedule.workers is {schedule.workers} with a GPU each, but there are {len(visible)} GPUs {where}."
        )
    return visible[: schedule.workers]


def _visible_gpus() -> list[str]:
    """Numbers or UUIDs of the GPUs of this machine that may be used; CUDA too takes only those before the first -1."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        import torch

        return [str(number) for number in range(torch.cuda.device_count())]
    return list(takewhile(lambda name: name not in ("", "-1"), given.split(",")))


@dataclass(frozen=True)
class Requeued:
    """Work that submitit submits again when SLURM preempts its job or the time is up: the begun run then goes on.

    Args:
        work: Function that does a job, and goes on with what was begun.
    """

    work: Work

    def __call__(self, job: Job, log: Path | None) -> Outcome:
        """Does the job."""
        return self.work(job, log)

    def checkpoint(self, job: Job, log: Path | None) -> Any:
        """The submission that follows an interrupted one; submitit asks for it on its signal before the time limit."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job, log)


def _submitit(jobs: Sequence[Job], schedule: Schedule, logs: Path, work: Work) -> Ended:
    """Runs jobs as a SLURM job array, or a few at once as processes; closing cancels those that have not ended."""
    import submitit

    cluster = "local" if schedule.where == "slurm_debug" else "slurm"
    executor = submitit.AutoExecutor(folder=logs / "submitit", cluster=cluster)
    parameters = {"name": "dml", **schedule.slurm}
    if cluster == "slurm" and schedule.workers != "auto":
        parameters["slurm_array_parallelism"] = schedule.workers
    executor.update_parameters(**parameters)
    most = len(jobs) if cluster == "slurm" else at_once(schedule, len(jobs))  # SLURM keeps its array's others waiting
    waiting, running = list(jobs), dict[Job, Any]()
    try:
        while waiting or running:
            room = most - len(running)
            batch, waiting = waiting[:room], waiting[room:]
            if batch:
                tasks = executor.map_array(Requeued(work), batch, [log_file(logs, job) for job in batch])
                running |= zip(batch, tasks, strict=True)
            time.sleep(POLL)
            for job in [job for job, task in running.items() if task.done()]:
                yield _result(running.pop(job), job)
            yield None
    finally:
        for task in running.values():
            task.cancel(check=False)


def _result(submitted: Any, job: Job) -> Outcome:
    """The outcome of a submitted job that has ended."""
    try:
        outcome: Outcome = submitted.results()[0]  # of the first of its tasks
    except Exception as error:  # the task itself died; its own errors are outcomes
        lines = str(error).strip().splitlines()
        return Outcome(job, error=f"{type(error).__name__}: {lines[-1] if lines else ''}")
    return outcome
