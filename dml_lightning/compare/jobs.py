"""The work of a comparison: one job per run, and what became of it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One run of a comparison.

    Args:
        arm: Its name.
        seed: Of training.
        fold: Which split of the data.
        words: Options of `dml fit` and `dml test`.
        train: Whether it is fitted; a floor is tested as it is initialised.
        test: Whether the test split is touched, once; a trial of a search is not tested.
        train_per_class: Largest number of training crops of a class; None for all.
        trial: Of a search.
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
        """What it is, for people."""
        parts = [self.arm, f"seed {self.seed}", f"fold {self.fold}"]
        if self.train_per_class is not None:
            parts.append(f"{self.train_per_class} crops a class")
        if self.trial is not None:
            parts.append(f"trial {self.trial}")
        return ", ".join(parts)

    @property
    def first_words(self) -> list[str]:
        """The command that starts it, as run.json records it."""
        if self.train:
            return ["fit", *self.words, "--reuse=true"]
        return ["test", *self.words, "--ckpt_path=none", "--reuse=true", "--verbose=false"]


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with the run's folder, or with one sentence."""

    job: Job
    run: Path | None = None
    error: str | None = None


def folder_of(arm: str) -> str:
    """Where an arm's runs lie: its name in letters that every file system and tracker takes."""
    return re.sub(r"[^\w.-]+", "_", arm)


def find_run(job: Job, out: Path, name: str) -> Path | None:
    """The folder in which a job is running, or has run, by the command that its run.json records."""
    folder = out / name / folder_of(job.arm)
    for path in folder.glob(f"*-s{job.seed}*/run.json"):
        try:
            stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
        except (OSError, ValueError, KeyError):
            continue  # being replaced at this moment
        if stages.get(job.first_words[0], {}).get("command") == job.first_words:
            return path.parent
    return None
