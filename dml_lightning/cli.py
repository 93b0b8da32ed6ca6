"""The `dml` command line: a table of commands, each of which is a function of its options."""

import importlib
import inspect
import json
import os
import sys
from argparse import HelpFormatter
from collections.abc import Sequence
from importlib.metadata import version
from itertools import takewhile
from typing import Any, NamedTuple, NoReturn

from jsonargparse import ArgumentParser, auto_cli
from typing_extensions import override

from dml_lightning.errors import (
    ParserError,
    extra_sentence,
    one_line,
    own_sentence,
    parser_sentence,
    system_sentence,
    trainer_sentence,
)
from dml_lightning.printing import print_anything
from dml_lightning.processes import sigterm_as_interrupt
from dml_lightning.shipped import with_config_files


class Command(NamedTuple):
    """One command of `dml`."""

    help: str  # line of `dml --help`
    target: str  # "module:name" of a function, or of a dictionary of functions by subcommand
    positional: str | None = None  # option that takes the arguments before the first option
    flags: tuple[str, ...] = ()  # options that may stand without a value, for true
    lightning: bool = False  # whether the function takes the raw arguments, which Lightning's own parser reads


TRAIN = "dml_lightning.commands.train:train"
COMMANDS = {
    "simulate": Command(
        "write simulated thermal flights to disk: dml simulate --out DIR", "dml_lightning.simulate:simulate"
    ),
    "check": Command(
        "read frames and boxes without training, and name what to look at: dml check FILE_OR_FOLDER",
        "dml_lightning.commands.check:check",
        positional="data",
    ),
    "fit": Command(
        "train one arm: dml fit -c base -c data/DATA -c model/MODEL (shipped configs, or your files)",
        TRAIN,
        lightning=True,
    ),
    "validate": Command(
        "evaluate a run on the validation split: dml validate --run RUN, or fit's options", TRAIN, lightning=True
    ),
    "test": Command("evaluate a run on the test split: dml test --run RUN, or fit's options", TRAIN, lightning=True),
    "predict": Command(
        "name every box of new frames: dml predict --run RUN --data FILE_OR_CONFIG --out predictions.csv",
        "dml_lightning.commands.predict:predict",
    ),
    "enroll": Command(
        "add a species from a few crops: dml enroll --run RUN --crops FOLDER_OR_TABLE --label NAME",
        "dml_lightning.commands.enroll:enroll",
    ),
    "gallery": Command(
        "list the classes of a run's gallery, remove one, or recalibrate: dml gallery list --run RUN",
        "dml_lightning.commands.enroll:GALLERY",
    ),
    "drift": Command(
        "test whether new flights score like the calibration crops: dml drift --run RUN --predictions TABLE",
        "dml_lightning.commands.flights:drift",
    ),
    "count": Command(
        "count species per flight, corrected by the confusion matrix: dml count --run RUN --predictions TABLE",
        "dml_lightning.commands.count:count",
    ),
    "export": Command(
        "write a folder that uses a run elsewhere, without PyTorch: dml export --run RUN --out DIR",
        "dml_lightning.commands.export:export",
    ),
    "compare": Command(
        "fit and test several arms and tabulate them: dml compare --config experiment/EXPERIMENT",
        "dml_lightning.commands.compare:compare",
    ),
    "report": Command(
        "write one page with the results of runs: dml report RUN... -o report.html",
        "dml_lightning.commands.report:report",
        positional="runs",
    ),
    "audit": Command(
        "compute every number and figure of a test from any embeddings: dml audit FILE.npz --out DIR",
        "dml_lightning.commands.report:audit",
        positional="file",
    ),
    "clean": Command(
        "show, and remove if told to, caches and unfinished runs that have lain unused: dml clean [--yes]",
        "dml_lightning.commands.clean:clean",
        flags=("--yes",),
    ),
    "theory": Command(
        "compute what holds before any training: dml theory margin --classes 8 --dim 128",
        "dml_lightning.commands.theory:THEORY",
    ),
}
SEVERAL = ("runs",)  # positional options that take a list
HINT = "[DML_TRACEBACK=1 shows where]"  # behind an error that was not written for the user


def main(args: Sequence[str] | None = None) -> Any:
    """Runs one `dml` command, from the shell, from Python or in a test.

    With DML_TRACEBACK=1 in the environment errors are raised as they are, with their traceback.

    Args:
        args: Arguments after `dml`; those of the process if not given.

    Returns:
        What the command's function returns; for fit, validate and test the run's folder.

    Raises:
        SystemExit: With status 2 after a message on stderr, if wrong input or the system ended the command; with status
            130 after Ctrl-C or SIGTERM.
    """
    print_anything()
    args = list(sys.argv[1:] if args is None else args)
    if not args or args[0] in ("-h", "--help"):
        print(overview(), end="")
        return None
    if args == ["--version"]:
        print(f"dml_lightning {version('dml_lightning')}")
        return None
    try:
        return run_command(args)
    except KeyboardInterrupt:
        print(f"\ndml {args[0]}: interrupted; what was complete stays, and nothing is half-written.", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        message = told(error)
        if message is None or os.environ.get("DML_TRACEBACK"):
            raise
        print(f"dml {args[0]}: {message}", file=sys.stderr)
        raise SystemExit(2) from None


def told(error: Exception) -> str | None:
    """The sentence that an error ends a command with; None for a mistake of this package, which needs its traceback."""
    sentence = own_sentence(error) or system_sentence(error) or trainer_sentence(error) or extra_sentence(error)
    if sentence is None and isinstance(error, ValueError | OSError):
        sentence = f"{one_line(str(error))}  {HINT}"
    return sentence


def overview() -> str:
    """Text of `dml --help`: a line per command."""
    lines = [f"  {name:<10} {command.help}" for name, command in COMMANDS.items()]
    head = "usage: dml COMMAND [options]      (dml COMMAND --help explains one; dml --version)"
    return "\n".join([head, "", *lines, "", "DML_TRACEBACK=1 in the environment shows where an error was raised.", ""])


def run_command(words: list[str]) -> Any:
    """Runs one command as `main` does, but raises its errors.

    Args:
        words: Name of the command, then its arguments.

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
    with sigterm_as_interrupt():
        return auto_cli(
            function,
            args=_arguments(words[1:], command),
            as_positional=False,
            parser_class=OneSentenceParser,
            allow_abbrev=False,
            prog=f"dml {name}",
            epilog=_details(function),
        )


def _details(function: Any) -> str:
    """What a command's docstring says between its first line and the arguments, such as the columns of a table."""
    text = inspect.getdoc(function) if inspect.isfunction(function) else None
    return (text or "").partition("\nArgs:")[0].partition("\n")[2].strip()


class OneSentenceParser(ArgumentParser):
    """A parser that raises its errors, so that `main` prints them as one sentence, and keeps the lines of the help."""

    @override
    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """The help, with the details of the command as they are written behind its options."""
        details, self.epilog = self.epilog, None
        try:
            text = super().format_help(formatter)
        finally:
            self.epilog = details
        return f"{text}\n{details}\n" if details else text

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises the message on one line, without the usage."""
        raise ParserError(parser_sentence(message)) from ex


def _arguments(args: list[str], command: Command) -> list[str]:
    """Arguments with full names of options, values of flags, and paths in the place of names of configs and runs."""
    from dml_lightning.runs.names import with_runs  # which imports NumPy

    named = [f"{arg}=true" if arg in command.flags else arg for arg in _named(args, command.positional)]
    return with_runs(with_config_files(named))


def _named(args: list[str], option: str | None) -> list[str]:
    """`A B -o FILE` as `--runs=["A", "B"] --out=FILE`: the parser takes options by their full name alone."""
    if option is None:
        return args
    values = list(takewhile(lambda arg: not arg.startswith("-"), args))
    later = ["--out" if arg == "-o" else arg for arg in args[len(values) :]]
    if not values:
        return later
    return [f"--{option}={json.dumps(values) if option in SEVERAL else ' '.join(values)}", *later]
