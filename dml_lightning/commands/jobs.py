"""Runs one job of a comparison by `dml fit` and `dml test`, with its output in a file.

PyTorch is imported only when a job runs, so that a worker can be given its GPU before.
"""

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.errors import own_sentence, system_sentence
from dml_lightning.runs import digests
from dml_lightning.runs.folder import TIME, read_run, read_status

TEST_FILES = ("metrics/test.json", "embeddings/test.npz")  # files that findings read


def run_job(job: Job, log: Path | None = None) -> Outcome:
    """Fits and tests one run; a finished run is taken as it is, and a begun one goes on.

    Args:
        job: Job to do.
        log: File that receives the output; the terminal if not given.

    Returns:
        The outcome; errors of the run are in it and not raised.

    Raises:
        KeyboardInterrupt: If the run was interrupted; its checkpoint has been written if that was possible.
        SystemExit: In the same case, where a signal handler ends the process.
    """
    if log is None:
        return _outcome(job)
    with _output_in(log):
        return _outcome(job)


def planned_recipe(job: Job) -> dict[str, Any]:
    """Composes the recipe that a job's run will save, without building or running anything.

    Raises:
        ValueError: If the job's options make no recipe.
    """
    import yaml

    from dml_lightning.commands.train import train
    from dml_lightning.runs.recipes import NOT_IN_RECIPE

    printed = StringIO()
    message: object = "they print something else; leave out options such as --help."
    try:
        with redirect_stdout(printed), suppress(SystemExit):
            train([*job.first_words, "--print_config"])
        recipe = yaml.safe_load(printed.getvalue())
        if isinstance(recipe, dict) and "model" in recipe:
            return {key: value for key, value in recipe.items() if key not in NOT_IN_RECIPE}
    except yaml.YAMLError:
        pass
    except ValueError as error:
        message = own_sentence(error) or error
    raise ValueError(f"the files and options of {job.arm} make no recipe: {message}")


@contextmanager
def _output_in(log: Path) -> Iterator[None]:
    """Appends all output of this process to a file, also that of handlers and libraries that hold a stream."""
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
    """Fits and tests a run, and turns an error into an outcome."""
    from dml_lightning.commands.train import train
    from dml_lightning.shipped import with_config_files
    from dml_lightning.trust import own_packages, trusted_in

    begun = time.strftime(TIME)
    try:
        run: Path = train(job.first_words)
        _check_test(run)
        if job.train and job.test and not (run / "metrics" / "test.json").is_file():
            words = with_config_files(job.words)
            own = ",".join(sorted({*own_packages(words), *trusted_in(words)}))  # the run is made of these
            train(["test", "--run", str(run), "--verbose=false", f"--trust={own}"])
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        sentence = own_sentence(error) or system_sentence(error) or f"{type(error).__name__}: {error}"
        return Outcome(job, error=sentence)
    taken = all(stage.get("started", "") < begun for stage in read_run(run)["stages"].values())
    return Outcome(job, run, taken=taken)


def _check_test(run: Path) -> None:
    """Refuses a tested run that has lost its results, since a run must not be tested twice."""
    digests.check(run)
    lost = [name for name in TEST_FILES if not (run / name).is_file()]
    if lost and read_status(run, "test") == "finished":
        raise ValueError(
            f"{run} has been tested, but has no {' and no '.join(lost)}: delete this folder, and the same command "
            "runs it again."
        )
