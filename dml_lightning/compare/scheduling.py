"""Where the jobs of a comparison run: on this machine, one after another or one per GPU, or under SLURM."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dml_lightning.compare.jobs import Job, Outcome, run_job, take_gpu

Work = Callable[[Job, Path | None], Outcome]
POLL = 0.5  # s between two looks at the jobs


@dataclass(frozen=True)
class Schedule:
    """How jobs are spread.

    Args:
        where: `local` for this machine; `slurm` for a job array through submitit; `slurm_debug` for submitit's own
            local processes, without SLURM.
        workers: Jobs at once: processes of this machine, or tasks of the array that run together.
        gpus: Whether each local worker gets a GPU of its own, the first worker the first.
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


def run_all(
    jobs: Sequence[Job],
    schedule: Schedule,
    logs: Path,
    look: Callable[[Sequence[Outcome], Sequence[Job]], None],
    work: Work = run_job,
) -> list[Outcome]:
    """Runs all jobs; one that fails stops no other.

    Args:
        jobs: In the order to start them.
        schedule: Where.
        logs: Folder that receives one file per job, and submitit's files.
        look: Called a few times a second with the outcomes so far and the jobs that have not ended.
        work: What a job is done by.

    Returns:
        One outcome per job, in the order of `jobs`.
    """
    found: dict[int, Outcome] = {}
    runner = _local if schedule.where == "local" else _submitit
    for number, outcome in runner(jobs, schedule, logs, work):
        if outcome is not None:
            found[number] = outcome
        look(list(found.values()), [job for n, job in enumerate(jobs) if n not in found])
    return [found[number] for number in range(len(jobs))]


def log_file(logs: Path, job: Job) -> Path:
    """Where a job's output goes."""
    return logs / f"{job.title.replace(', ', '-').replace(' ', '_')}.txt"


Ended = Iterator[tuple[int, Outcome | None]]  # number of a job with its outcome, or nothing new


def _local(jobs: Sequence[Job], schedule: Schedule, logs: Path, work: Work) -> Ended:
    """Processes of this machine; one that dies takes its job with it, and the others go on in a new pool."""
    waiting = dict(enumerate(jobs))
    while waiting:
        pool = _pool(schedule)
        try:
            futures = {
                pool.submit(work, job, log_file(logs, job)): number
                for number, job in waiting.items()
            }
            for number, outcome in _ended(futures, jobs):
                if number is not None:
                    del waiting[number]
                yield -1 if number is None else number, outcome
                if outcome is not None and outcome.error == DIED:
                    break  # the pool is of no use any more
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()  # a worker would finish its job first
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


DIED = "the process died (out of memory, or killed); see its log."


def _ended(
    futures: "dict[Future[Outcome], int]", jobs: Sequence[Job]
) -> Iterator[tuple[int | None, Outcome | None]]:
    open_futures = set(futures)
    while open_futures:
        done, open_futures = wait(open_futures, timeout=POLL, return_when="FIRST_COMPLETED")
        finished = [future for future in done if not future.cancelled()]
        for future in finished:
            number = futures[future]
            try:
                yield number, future.result()
            except BrokenProcessPool:
                running = min(futures[each] for each in finished)  # jobs start in their order
                yield running, Outcome(jobs[running], error=DIED)
                return
        yield None, None


def _pool(schedule: Schedule) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    arguments: dict[str, Any] = {"max_tasks_per_child": 1} if schedule.fresh else {}
    if schedule.gpus:
        slots = context.Manager().Queue()
        for slot in range(schedule.workers):
            slots.put(slot)
        arguments |= {"initializer": take_gpu, "initargs": (slots,)}
    return ProcessPoolExecutor(schedule.workers, mp_context=context, **arguments)


def _submitit(jobs: Sequence[Job], schedule: Schedule, logs: Path, work: Work) -> Ended:
    """A SLURM job array; interrupting this process leaves the array running."""
    import submitit

    cluster = "local" if schedule.where == "slurm_debug" else "slurm"
    executor = submitit.AutoExecutor(folder=logs / "submitit", cluster=cluster)
    parameters = {"name": "dml", **schedule.slurm}
    if cluster == "slurm":
        parameters["slurm_array_parallelism"] = schedule.workers
    executor.update_parameters(**parameters)
    submitted = executor.map_array(work, jobs, [log_file(logs, job) for job in jobs])
    waiting = dict(enumerate(submitted))
    while waiting:
        time.sleep(POLL)
        for number in [number for number, job in waiting.items() if job.done()]:
            yield number, _result(waiting.pop(number), jobs[number])
        yield -1, None


def _result(submitted: Any, job: Job) -> Outcome:
    try:
        outcome: Outcome = submitted.results()[0]  # of the first of its tasks
    except Exception as error:  # the task itself died; its own errors are outcomes
        lines = str(error).strip().splitlines()
        return Outcome(job, error=f"{type(error).__name__}: {lines[-1] if lines else ''}")
    return outcome
