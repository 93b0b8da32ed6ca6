"""One job of a comparison, done by `dml fit` and `dml test`; what it prints goes into a file.

Nothing here imports PyTorch before a job runs, so that a worker can first be told which GPU is its own.
"""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.errors import own_sentence
from dml_lightning.runs.folder import read_status

TEST_FILES = ("metrics/test.json", "embeddings/test.npz")  # what findings read


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

    from dml_lightning.commands.train import train
    from dml_lightning.runs.recipes import NOT_IN_RECIPE

    printed = StringIO()
    said: object = "they print something else; leave out options such as --help."
    try:
        with redirect_stdout(printed), suppress(SystemExit):
            train([*job.first_words, "--print_config"])
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
    from dml_lightning.commands.train import train

    try:
        run: Path = train(job.first_words)
        _check_test(run)
        if job.train and job.test and not (run / "metrics" / "test.json").is_file():
            train(["test", "--run", str(run), "--verbose=false"])
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
