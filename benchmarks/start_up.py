"""Processor seconds before a command's first word: its help, an error of an option, a missing file.

Each command runs in a process of its own, in turn with `import torch` and `import lightning` and, for its help, with
the same command of an older checkout; the table gives medians of the repeats. Processor seconds count user and system
time.

Run: OMP_NUM_THREADS=1 python benchmarks/start_up.py --older OTHER_CHECKOUT --out benchmarks/results/start_up.md
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = ("torch", "lightning")
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


def seconds(checkout: Path, *args: str) -> float:
    """Processor seconds of Python with these arguments, in an empty folder, with a checkout first on the path."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with tempfile.TemporaryDirectory() as folder:
        before = os.times()
        subprocess.run([sys.executable, *args], cwd=folder, env=environment, capture_output=True, check=False)
        after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def medians(runs: dict[str, tuple[Path, Sequence[str]]], repeats: int) -> dict[str, float]:
    """Median of each run by name; all take turns, so that a busy machine slows all alike."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, (checkout, args) in runs.items():
            taken[name].append(seconds(checkout, *args))
    return {name: median(values) for name, values in taken.items()}


def table(commands: Sequence[str], older: Path | None, repeats: int) -> list[str]:
    """The lines of the table."""
    runs: dict[str, tuple[Path, Sequence[str]]] = {
        f"import {name}": (ROOT, ["-c", f"import {name}"]) for name in IMPORTS
    }
    for command in commands:
        for args in COMMANDS[command]:
            words = ["-m", "dml_lightning", *command.split(), *args]
            runs[f"dml {command} {' '.join(args)}"] = (ROOT, words)
            if older is not None and args[0] == "--help":
                runs[f"older: dml {command} {' '.join(args)}"] = (older, words)
    found = medians(runs, repeats)
    lines = ["| | s | older | ratio |", "| --- | ---: | ---: | ---: |"]
    for name in runs:
        if name.startswith("older: "):
            continue
        before = found.get(f"older: {name}")
        beside = " | |" if before is None else f" {before:.2f} | {found[name] / before:.2f} |"
        lines.append(f"| `{name}` | {found[name]:.2f} |{beside}")
    return lines


def main() -> None:
    """Prints the table, and writes it into a file with what it was measured on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--older", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    start = time.time()
    lines = table(args.commands, args.older and args.older.resolve(), args.repeats)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "jsonargparse"))
    head = [
        "# Processor seconds before the first word",
        "",
        f"`benchmarks/start_up.py --commands {' '.join(args.commands)}`: medians of "
        f"{args.repeats} alternating repeats, {datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, "
        f"{packages}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {time.time() - start:.0f} s in all.",
        "",
    ]
    text = "\n".join([*head, *lines]) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
