"""The `dml` command: one table of commands, each a function of its options."""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from itertools import takewhile
from typing import Any, NamedTuple, NoReturn

from jsonargparse import ArgumentParser, auto_cli
from typing_extensions import override

from dml_lightning.errors import own_sentence


class Command(NamedTuple):
    """One command of `dml`."""

    help: str  # line of the overview
    target: str  # "module:name" of a function, or of a dictionary of functions by the word that follows
    positional: str | None = None  # option that the words before the first option stand for
    lightning: bool = False  # whether the function takes all words, which Lightning's own parser reads


TRAIN = "dml_lightning.commands.train:train"
COMMANDS = {
    "simulate": Command(
        "write simulated thermal flights to disk: dml simulate --out DIR", "dml_lightning.simulate:simulate"
    ),
    "fit": Command(
        "train one arm: dml fit -c configs/base.yaml -c configs/data/D.yaml -c configs/model/M.yaml",
        TRAIN,
        lightning=True,
    ),
    "validate": Command(
        "evaluate a run on the validation split: dml validate --run RUN, or fit's options", TRAIN, lightning=True
    ),
    "test": Command("evaluate a run on the test split; dml test --run RUN, or fit's options", TRAIN, lightning=True),
    "predict": Command(
        "name every box of new frames: dml predict --run RUN --data FILE_OR_CONFIG --out predictions.csv",
        "dml_lightning.commands.predict:predict",
    ),
    "enroll": Command(
        "add a species from a few crops: dml enroll --run RUN --crops FOLDER_OR_TABLE --label NAME",
        "dml_lightning.commands.enroll:enroll",
    ),
    "gallery": Command(
        "list its classes, remove one, recalibrate: dml gallery list --run RUN",
        "dml_lightning.commands.enroll:GALLERY",
    ),
    "drift": Command(
        "whether new flights score like the calibration: dml drift --run RUN --predictions TABLE",
        "dml_lightning.commands.flights:drift",
    ),
    "count": Command(
        "species per flight, corrected by the confusion matrix: dml count --run RUN --predictions TABLE",
        "dml_lightning.commands.flights:count",
    ),
    "export": Command(
        "one folder to use a run elsewhere, without PyTorch: dml export --run RUN --out DIR",
        "dml_lightning.commands.export:export",
    ),
    "compare": Command(
        "fit and test several arms and tabulate them: dml compare --config configs/experiment/E.yaml",
        "dml_lightning.commands.compare:compare",
    ),
    "report": Command(
        "one page of what runs came to: dml report RUN... -o report.html",
        "dml_lightning.commands.report:report",
        positional="runs",
    ),
    "audit": Command(
        "every number and figure of a test for anybody's embeddings: dml audit FILE.npz --out DIR",
        "dml_lightning.commands.report:audit",
        positional="file",
    ),
    "theory": Command(
        "what holds before any training: dml theory margin --classes 8 --dim 128",
        "dml_lightning.commands.theory:THEORY",
    ),
}
SEVERAL = ("runs",)  # positional options that take a list


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
        print(overview(), end="")
        return None
    if words == ["--version"]:
        print(f"dml_lightning {version('dml_lightning')}")
        return None
    try:
        return run_command(words)
    except ValueError as error:
        if os.environ.get("DML_TRACEBACK"):
            raise
        print(f"dml {words[0]}: {own_sentence(error) or error}  [DML_TRACEBACK=1 shows where]", file=sys.stderr)
        raise SystemExit(2) from None


def overview() -> str:
    """What `dml --help` prints: a line per command."""
    lines = [f"  {name:<10} {command.help}" for name, command in COMMANDS.items()]
    head = "usage: dml COMMAND [options]      (dml COMMAND --help explains one; dml --version)"
    return "\n".join([head, "", *lines, ""])


def run_command(words: list[str]) -> Any:
    """Runs one command as `main` does, and raises its errors.

    Raises:
        ValueError: If there is no such command, or its input was wrong.
    """
    name = words[0]
    if name not in COMMANDS:
        raise ValueError(f"there is no command {name!r}; there are {', '.join(COMMANDS)}.")
    command = COMMANDS[name]
    module, _, attribute = command.target.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    if command.lightning:
        return function(words)
    return auto_cli(
        function,
        args=_named(words[1:], command.positional),
        as_positional=False,
        parser_class=OneSentenceParser,
        allow_abbrev=False,
        prog=f"dml {name}",
    )


class OneSentenceParser(ArgumentParser):
    """A parser that raises its errors, for `main` to say in one sentence."""

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises what the command line is told, on one line and without the usage."""
        raise ValueError(" ".join(message.split())) from ex


def _named(words: list[str], option: str | None) -> list[str]:
    """`A B -o FILE` as `--runs=["A", "B"] --out=FILE`: the parser takes options by their full name alone."""
    if option is None:
        return words
    given = list(takewhile(lambda word: not word.startswith("-"), words))
    later = ["--out" if word == "-o" else word for word in words[len(given) :]]
    if not given:
        return later
    return [f"--{option}={json.dumps(given) if option in SEVERAL else ' '.join(given)}", *later]
