"""The work of a comparison: one job per run, and what became of it.

Nothing here imports PyTorch before a job runs, so that a worker can first be told which GPU is its own.
"""

import json
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from dml_lightning.runs import read_status

TEST_FILES = ("metrics/test.json", "embeddings/test.npz")  # what findings read


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


def run_job(job: Job, log: Path | None = None) -> Outcome:
    """Fits and tests one run; takes a finished one as it is and goes on with a begun one.

    Args:
        job: What to run.
        log: File that receives what the run prints; the terminal if not given.

    Returns:
        The outcome; an error of the run is one, and never raised.

    Raises:
        KeyboardInterrupt: If the run was interrupted; its checkpoint has been written if it could.
        SystemExit: The same.
    """
    if log is None:
        return _outcome(job)
    with _output_in(log):
        return _outcome(job)


def planned_recipe(job: Job) -> dict[str, Any]:
    """The recipe that a job's run will save, composed of its words; nothing is built or run.

    Raises:
        ValueError: If the words make no recipe.
    """
    import yaml

    from dml_lightning.cli import own_sentence, run_command
    from dml_lightning.training import NOT_IN_RECIPE

    printed = StringIO()
    said: object = "they print something else; leave out options such as --help."
    try:
        with redirect_stdout(printed), suppress(SystemExit):
            run_command([*job.first_words, "--print_config"])
        recipe = yaml.safe_load(printed.getvalue())
        if isinstance(recipe, dict) and "model" in recipe:
            return {key: value for key, value in recipe.items() if key not in NOT_IN_RECIPE}
    except yaml.YAMLError:
        pass
    except ValueError as error:
        said = own_sentence(error) or error
    raise ValueError(f"the files and options of {job.arm} make no recipe: {said}")


@contextmanager
def _output_in(log: Path) -> Iterator[None]:
    """Sends all that this process prints to the end of a file, also what handlers and libraries kept a stream for."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = [os.dup(number) for number in (1, 2)]
    _flush()
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        _flush()
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _outcome(job: Job) -> Outcome:
    from dml_lightning.cli import own_sentence, run_command

    try:
        run: Path = run_command(job.first_words)
        _check_test(run)
        if job.train and job.test and not (run / "metrics" / "test.json").is_file():
            run_command(["test", "--run", str(run), "--verbose=false"])
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        sentence = own_sentence(error) or f"{type(error).__name__}: {error}"
        return Outcome(job, error=sentence)
    return Outcome(job, run)


def _check_test(run: Path) -> None:
    """Refuses a tested run that has lost its results: another test would touch the test split twice."""
    lost = [name for name in TEST_FILES if not (run / name).is_file()]
    if lost and read_status(run, "test") == "finished":
        raise ValueError(
            f"{run} has been tested, but has no {' and no '.join(lost)}: delete this folder, and the same command "
            "runs it again."
        )


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
