"""Worker processes that do one job after another, each with a GPU of its own if wanted.

On Linux they are forked from one server process that has imported what jobs need and done nothing else: it has touched
neither CUDA nor OpenMP, whose state does not survive a fork, so that a worker starts in a fraction of a second.
Elsewhere each is a new Python.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.processes import end_with_parent

Work = Callable[[Job, Path | None], Outcome]

PRELOADED = [  # by the server: what a fit imports, also what it imports late
    *("dml_lightning.commands.train", "dml_lightning.callbacks", "dml_lightning.models.backbones"),
    *("wandb", "sklearn.manifold"),
]
PATIENCE = 10.0  # s that a terminated job has to write its checkpoint
EXIT = 60.0  # s that a process without a job has to end

DIED = "the process died (out of memory, or killed); see its log."
INTERRUPTED = "the run was interrupted; the same command goes on with it."


class Worker:
    """Runs one job at a time in a process, which is started when there is none.

    A job is handed over only after the one before has ended, so a process that dies takes one known job with it.

    Args:
        work: Function that does a job, given the job and its log file.
        gpu: The only GPU that the process sees, by number or UUID; None for all.
        fresh: Whether each job gets a new process.
    """

    def __init__(self, work: Work, gpu: str | None = None, fresh: bool = False) -> None:
        self.job: Job | None = None
        self._work, self._gpu, self._fresh = work, gpu, fresh
        self._process: BaseProcess | None = None

    def start(self, job: Job, log: Path) -> None:
        """Starts a job, with `log` as the file for its output."""
        if self._process is None or not self._process.is_alive():
            self._spawn()
        self.job = job
        with suppress(BrokenPipeError):  # the process has just died; `ended` will report it
            self.pipe.send((job, log))

    def _spawn(self) -> None:
        context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        context.set_forkserver_preload(PRELOADED)  # before the server starts, with the first worker
        self.pipe, child_end = context.Pipe()
        environment = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
        self._process = context.Process(target=_serve, args=(child_end, self._gpu, environment))
        self._process.start()
        child_end.close()  # only the process holds it, so the pipe ends when it does
        with suppress(BrokenPipeError):
            self.pipe.send(self._work)  # not as an argument, whose imports would run before the GPU is chosen

    def ended(self) -> Outcome | None:
        """The outcome of the job if it has ended, else None."""
        assert self.job is not None
        assert self._process is not None
        alive = self._process.is_alive()  # asked first: if not, all that it sent is in the pipe
        outcome = None if alive else Outcome(self.job, error=DIED)
        with suppress(EOFError, ConnectionResetError):
            if self.pipe.poll():
                outcome = self.pipe.recv()
        if outcome is not None:
            self.job = None
            if self._fresh or not alive or outcome.error == INTERRUPTED:
                self.close()
        return outcome

    def close(self) -> None:
        """Ends a process that has no job."""
        if self._process is not None:
            self.pipe.close()
            self._process.join(EXIT)
            self._kill()

    def _kill(self) -> None:
        """Kills the process and those that it started, such as further ranks."""
        if self._process is not None and self._process.ident is not None:  # it has been started
            self._process.kill()
            with suppress(ProcessLookupError):
                os.killpg(self._process.ident, signal.SIGKILL)
            self._process.join()
        self._process = None


def stop(workers: Sequence[Worker]) -> None:
    """Terminates all processes, and kills those that run after `PATIENCE` or at a second interrupt."""
    processes = [each for worker in workers if (each := worker._process) and each.ident is not None]
    try:
        for process in processes:
            process.terminate()
        until = time.monotonic() + PATIENCE
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
    finally:
        for worker in workers:
            worker._kill()


def _serve(pipe: Connection, gpu: str | None, environment: dict[str, str]) -> None:
    """Main function of a process: takes jobs from the pipe and sends their outcomes, until the other end is closed.

    Args:
        pipe: Pipe to the comparison.
        gpu: The only GPU to see; None for all.
        environment: Variables of the comparison: the server's are those of its start. WANDB_SERVICE is left out, which
            would keep the run of a killed worker open.
    """
    os.setpgrp()  # Ctrl-C reaches the comparison alone, which tells its workers to end
    end_with_parent()  # a fit then writes its checkpoint
    os.environ.clear()
    os.environ.update(environment)
    if gpu is None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same numbers with any number of workers
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before PyTorch looks
    with suppress(EOFError, BrokenPipeError):
        work: Work = pipe.recv()
        while True:
            job, log = pipe.recv()
            try:
                pipe.send(work(job, log))
            except (KeyboardInterrupt, SystemExit):
                pipe.send(Outcome(job, error=INTERRUPTED))
                return  # Lightning ignores further interrupts from here on
