"""Work for the schedulers' tests, in a module that their processes can import."""

import os
import signal
from pathlib import Path

from dml_lightning.compare.jobs import Job, Outcome


def work(job: Job, log: Path | None = None) -> Outcome:
    """Fails, dies, says which GPU it sees, or succeeds, as the arm's name says."""
    if job.arm == "fails":
        return Outcome(job, error="as it should")
    if job.arm == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
    return Outcome(job, Path(job.words[0], f"{job.seed}-gpu{gpu}-pid{os.getpid()}"))


def die_once(job: Job, log: Path | None = None) -> Outcome:
    """Dies in the first process that does it, and succeeds in the next."""
    mark = Path(job.words[0], f"died-{job.seed}")
    if job.arm == "dies" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(job, mark)
