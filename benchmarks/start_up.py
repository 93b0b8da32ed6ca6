"""Processor seconds before a command's first word: its help, an error of an option, a missing file.

Each command runs in a process of its own, in turn with `import torch` and `import lightning` and, for its help, with
the same command of an older checkout. Processor seconds count user and system time.

    python benchmarks/start_up.py
    python benchmarks/start_up.py --older OTHER_CHECKOUT --repeats 3 --save
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from measure import ROOT, Result, in_turn, options, processor_seconds

PACKAGES = ("lightning", "jsonargparse")
COMMANDS: dict[str, Sequence[Sequence[str]]] = {
    "simulate": (["--help"], ["--out=.", "--flights=0"]),
    "check": (["--help"], ["nowhere"]),
    "predict": (["--help"], ["--run=nowhere", "--data=nowhere"]),
    "enroll": (["--help"], ["--run=nowhere", "--crops=nowhere", "--label=coot"]),
    "gallery list": (["--help"], ["--run=nowhere"]),
    "drift": (["--help"], ["--run=nowhere", "--predictions=nowhere.csv"]),
    "count": (["--help"], ["--run=nowhere", "--predictions=nowhere.csv"]),
    "export": (["--help"], ["--run=nowhere", "--out=nowhere"]),
    "compare": (["--help"], ["--config=nowhere.yaml"]),
    "report": (["--help"], ["nowhere"]),
    "audit": (["--help"], ["nowhere.npz"]),
    "fit": (["--help"], ["--config=nowhere.yaml"]),
    "test": (["--help"], ["--run=nowhere"]),
}


def works(commands: Sequence[str], older: Path | None) -> dict[str, Callable[[], float]]:
    """What is measured, by the words of its row; those of the older checkout end with it."""
    found: dict[str, Callable[[], float]] = {
        f"import {name}": partial(processor_seconds, ROOT, "-c", f"import {name}") for name in ("torch", "lightning")
    }
    for command in commands:
        for args in COMMANDS[command]:
            words, row = ("-m", "dml_lightning", *command.split(), *args), f"dml {command} {' '.join(args)}"
            found[row] = partial(processor_seconds, ROOT, *words)
            if older is not None and args == ["--help"]:
                found[f"{row}, older"] = partial(processor_seconds, older, *words)
    return found


def main() -> None:
    """Prints the table; `--save` writes it."""
    parser = options(__doc__)
    parser.add_argument("--older", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    with Result(__file__, "Processor seconds before the first word", PACKAGES, args) as result:
        result.text(f"Medians of {args.repeats} repeats taken in turn.")
        taken = in_turn(works(args.commands, args.older and args.older.resolve()), args.repeats, warm=0)
        result.table(("", "s"), ([f"`{name}`", f"{median(values):.2f}"] for name, values in taken.items()))


if __name__ == "__main__":
    main()
