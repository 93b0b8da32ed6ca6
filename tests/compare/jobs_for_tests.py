"""Work for the schedulers' tests, in a module that their processes can import."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dml_lightning.commands.jobs import _output_in
from dml_lightning.compare import workers
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.scheduling import Interrupted, Schedule, run_all


def work(job: Job, log: Path | None = None) -> Outcome:
    """Does what the arm's name says, leaves its process in `pid-SEED`, and says which GPU it saw."""
    mark(job).write_text(str(os.getpid()))
    match job.arm:
        case "fails":
            return Outcome(job, error="as it should")
        case "service":
            return Outcome(job, error=os.environ.get("WANDB_SERVICE", "none"))
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "has_ranks":
            rank = subprocess.Popen(["sleep", "60"])
            mark(job).write_text(str(rank.pid))
            os.kill(os.getpid(), signal.SIGKILL)
        case "exits":
            raise SystemExit(143)
        case "waits":
            time.sleep(60)
        case "preempted":  # once
            again = mark(job).with_suffix(".again")
            if not again.exists():
                again.touch()
                os.kill(os.getpid(), signal.SIGUSR2)
        case "works":
            time.sleep(1)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            mark(job).write_text(str(os.getpid()))
            while True:
                time.sleep(1)
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
    return Outcome(job, Path(job.words[0], f"{job.seed}-gpu{gpu}-pid{os.getpid()}"))


def mark(job: Job) -> Path:
    """Where a job leaves the process that does it."""
    return Path(job.words[0], f"pid-{job.seed}")


def talk(job: Job, log: Path | None = None) -> Outcome:
    """Prints in all ways, one of them with a handler that keeps the stream of the first job."""
    assert log is not None
    with _output_in(log):
        logger = logging.getLogger("talk")
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler())
        print(f"printed {job.seed}")
        logger.warning("logged %d", job.seed)
        os.write(2, f"written {job.seed}\n".encode())
    os.write(1, f"after {job.seed}\n".encode())
    return Outcome(job, log)


def silent(ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
    """Looks at nothing."""
    assert not {outcome.job.title for outcome in ended} & {job.title for job in waiting}


def jobs(arms: str, folder: Path) -> list[Job]:
    """One job for each word."""
    return [Job(arm, n, 0, (str(folder), str(n))) for n, arm in enumerate(arms.split())]


if __name__ == "__main__":  # ARMS FOLDER: a comparison that can be signalled from outside
    folder = Path(sys.argv[2])
    workers.PRELOADED = []  # this work needs nothing of it
    try:
        run_all(jobs(sys.argv[1], folder), Schedule(workers=1), folder, silent, work)
    except Interrupted as stop:
        print(stop)
        raise SystemExit(130) from None
