"""Jobs of a comparison, one per run, and their outcomes."""

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One run of a comparison.

    Args:
        arm: Name of the arm.
        seed: Seed of training.
        fold: Number of the split of the data.
        words: Options of `dml fit` and `dml test`.
        train: Whether the run is fitted; a floor is tested as it is initialised.
        test: Whether the run is tested, once; a trial of a search is not.
        train_per_class: Largest number of training crops of a class; None for all.
        trial: Number of the trial in a search; None outside of one.

    >>> job = Job("triplet", seed=0, fold=0, words=("--trainer.max_epochs=5",), trial=2)
    >>> job.title, job.first_words
    ('triplet, seed 0, fold 0, trial 2', ['fit', '--trainer.max_epochs=5', '--reuse=true'])
    """

    arm: str
    seed: int
    fold: int
    words: tuple[str, ...]
    train: bool = True
    test: bool = True
    train_per_class: int | None = None
    trial: int | None = None

    @property
    def title(self) -> str:
        """Name of the run for people and for its log file."""
        parts = [self.arm, f"seed {self.seed}", f"fold {self.fold}"]
        if self.train_per_class is not None:
            parts.append(f"{self.train_per_class} crops a class")
        if self.trial is not None:
            parts.append(f"trial {self.trial}")
        return ", ".join(parts)

    @property
    def first_words(self) -> list[str]:
        """Arguments of the `dml` command that starts the run, as run.json records them."""
        if self.train:
            return ["fit", *self.words, "--reuse=true"]
        return ["test", *self.words, "--ckpt_path=none", "--reuse=true", "--verbose=false"]


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with the run's folder, or with an error of one sentence.

    Args:
        job: The job.
        run: Folder of the run; None after an error.
        error: The sentence; None without an error.
        taken: Whether an earlier command had done all of it, and nothing was run.
    """

    job: Job
    run: Path | None = None
    error: str | None = None
    taken: bool = False


def folder_of(arm: str) -> str:
    """Name of the folder of an arm's runs, in characters that every file system and tracker accepts.

    >>> folder_of("triplet (margin 0.2)")
    'triplet_margin_0.2_'
    """
    return re.sub(r"[^\w.-]+", "_", arm)


def find_run(job: Job, out: Path, name: str) -> Path | None:
    """Finds the folder in which a job is running or has run, by the command in its run.json.

    Args:
        job: Job to find.
        out: Folder of all runs.
        name: Name of the comparison.

    Returns:
        The run's folder, or None if the job has not started.
    """
    folder = out / name / folder_of(job.arm)
    for path in folder.glob(f"*-s{job.seed}*/run.json"):
        try:
            stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
        except (OSError, ValueError, KeyError):
            continue  # being replaced at this moment
        if stages.get(job.first_words[0], {}).get("command") == job.first_words:
            return path.parent
    return None
