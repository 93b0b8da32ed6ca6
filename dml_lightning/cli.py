"""The `dml` command: LightningCLI for training and testing, plain functions for the rest."""

import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import takewhile
from logging import LogRecord, getLogger
from pathlib import Path
from typing import Any

from dml_lightning.runs import recipe_path

PACKAGE = Path(__file__).parent

HELP = """usage: dml COMMAND [options]      (dml COMMAND --help explains one; dml --version)

  simulate   write simulated thermal flights to disk: dml simulate --out DIR
  fit        train one arm: dml fit -c configs/base.yaml -c configs/data/D.yaml -c configs/model/M.yaml
  validate   evaluate a run on the validation split: dml validate --run RUN, or fit's options
  test       evaluate a run on the test split; dml test --run RUN, or fit's options
  predict    name every box of new frames: dml predict --run RUN --data FILE_OR_CONFIG --out predictions.csv
  enroll     add a species from a few crops: dml enroll --run RUN --crops FOLDER_OR_TABLE --label NAME
  gallery    list its classes, remove one, recalibrate: dml gallery list --run RUN
  drift      whether new flights score like the calibration: dml drift --run RUN --predictions TABLE
  count      species per flight, corrected by the confusion matrix: dml count --run RUN --predictions TABLE
  export     one folder to use a run elsewhere, without PyTorch: dml export --run RUN --out DIR
  compare    fit and test several arms and tabulate them: dml compare --config configs/experiment/E.yaml
  report     one page of what runs came to: dml report RUN... -o report.html
  audit      every number and figure of a test for anybody's embeddings: dml audit FILE.npz --out DIR
  theory     what holds before any training: dml theory margin --classes 8 --dim 128
"""

COMMANDS = {
    "simulate": "dml_lightning.data.simulate:simulate",
    "predict": "dml_lightning.predict:predict",
    "enroll": "dml_lightning.enroll:enroll",
    "gallery": "dml_lightning.enroll:GALLERY",
    "drift": "dml_lightning.flights.commands:drift",
    "count": "dml_lightning.flights.commands:count",
    "export": "dml_lightning.export.command:export",
    "compare": "dml_lightning.compare.command:compare",
    "report": "dml_lightning.report.command:report",
    "audit": "dml_lightning.report.command:audit",
    "theory": "dml_lightning.theory_command:COMMANDS",
}

# option that the words before the first option stand for
POSITIONAL = {"report": "runs", "audit": "file"}


def main(args: Sequence[str] | None = None) -> Any:
    """Runs one `dml` command: the shell's entry, Python's, and the tests'.

    Args:
        args: Words after `dml`; the process's own if not given.

    Returns:
        What the command's function returns; for fit, validate and test the run's folder.

    Raises:
        SystemExit: With status 2 after one sentence on stderr, if the input was wrong.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in ("-h", "--help"):
        print(HELP, end="")
        return None
    if words == ["--version"]:
        print(f"dml_lightning {version('dml_lightning')}")
        return None
    try:
        return run_command(words)
    except ValueError as error:
        if os.environ.get("DML_TRACEBACK"):
            raise
        said = own_sentence(error) or error
        print(f"dml {words[0]}: {said}  [DML_TRACEBACK=1 shows where]", file=sys.stderr)
        raise SystemExit(2) from None


def run_command(words: list[str]) -> Any:
    """Runs one command as `main` does, and raises its errors."""
    command = _function_command(words[0]) or _lightning_command
    before, sys.argv = sys.argv, [sys.argv[0], *words]  # what a launcher of more ranks repeats
    try:
        return command(words)
    finally:
        sys.argv = before


def own_sentence(error: BaseException | None) -> str | None:
    """The message of the innermost ValueError that this package raised on the way to `error`."""
    found = None
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        raised_here = bool(frames) and Path(frames[-1].filename).is_relative_to(PACKAGE)
        if isinstance(error, ValueError) and raised_here:
            found = str(error)
        error = error.__cause__ or error.__context__
    return found


def _function_command(name: str) -> Callable[[list[str]], Any] | None:
    if name not in COMMANDS:
        return None

    def run(words: list[str]) -> Any:
        from jsonargparse import auto_cli

        from dml_lightning.parser import OneSentenceParser

        module, _, function = COMMANDS[name].partition(":")
        return auto_cli(
            getattr(importlib.import_module(module), function),
            args=_named(words),
            as_positional=False,
            parser_class=OneSentenceParser,
            allow_abbrev=False,
            prog=f"dml {name}",
        )

    return run


def _named(words: list[str]) -> list[str]:
    """`report A B -o FILE` as `--runs=["A", "B"] --out=FILE`: the parser takes options by their full name alone."""
    name, *rest = words
    option = POSITIONAL.get(name)
    if option is None:
        return rest
    given = list(takewhile(lambda word: not word.startswith("-"), rest))
    later = ["--out" if word == "-o" else word for word in rest[len(given) :]]
    if not given:
        return later
    return [f"--{option}={json.dumps(given) if name == 'report' else ' '.join(given)}", *later]


def _lightning_command(words: list[str]) -> Any:
    if words[0] not in ("fit", "validate", "test"):
        names = ", ".join(["fit", "validate", "test", *COMMANDS])
        raise ValueError(f"there is no command {words[0]!r}; there are {names}.")
    from dml_lightning.training import TrainingCLI

    with warnings.catch_warnings():
        for message in QUIET:
            warnings.filterwarnings("ignore", message=message)
        getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_no_advertisement)
        words, run = _expand_run(words)
        return TrainingCLI(words, run).run


def _no_advertisement(record: LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def _expand_run(words: list[str]) -> tuple[list[str], Path | None]:
    """`dml test --run RUN ...` is `dml test -c RUN/recipe.fit.yaml ...` in that folder."""
    words = [part for word in words for part in _split_run(word)]
    if words[0] == "fit" or "--run" not in words:
        return words, None
    position = words.index("--run")
    if position + 1 == len(words):
        raise ValueError("--run needs the folder of a run.")
    run = Path(words[position + 1])
    recipe = recipe_path(run)
    return [words[0], "-c", str(recipe), *words[1:position], *words[position + 2 :]], run


def _split_run(word: str) -> list[str]:
    return ["--run", word.removeprefix("--run=")] if word.startswith("--run=") else [word]


# Advice of libraries that does not apply here, each with the reason.
QUIET = (
    # a run's folder may be moved or copied; the checkpoint in use is named in the log
    r"The dirpath has changed from .*",
    # `main` sees to it that sys.argv says the same as the words it was given
    r"LightningCLI's args parameter is intended to run from within Python.*",
    # crops come from a memory map in microseconds; workers cost more than they bring
    r".*does not have many workers.*",
    # a short epoch is a setting of the experiment, not a slip
    r"The number of training batches .* is smaller than the logging interval.*",
    # the run's folder has been checked and claimed before
    r"Checkpoint directory .* exists and is not empty.*",
    # deprecated inside Lightning's own parser and PyTorch's pytree, not in this project's calls
    r".*LeafSpec.*",
)
