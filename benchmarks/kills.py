"""What commands leave that are killed at a random moment: half-written files, and whether the same command goes on.

    python benchmarks/kills.py                        # 12 kills on a tiny run; nothing is written
    python benchmarks/kills.py --kills 200 --save

Each command is run whole once, which tells how long it takes; then, from the same start each time, it is killed
(SIGKILL) at a moment drawn evenly from that time, every file that it left is opened, and it is given again, word by
word. It goes on if that ends well, every file of the whole run is there and can be opened, and no temporary file is.
"""

import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image
from safetensors.numpy import load_file

from dml_lightning.cli import main as dml
from measure import ROOT, Result, options
from short_runs import SMALL, arguments, flights

PACKAGES = ("torch", "lightning", "numpy")
# command -> its share of the kills; a comparison takes far longer than the others
SHARES = {"fit": 0.25, "predict": 0.2, "enroll": 0.25, "report": 0.15, "export": 0.1, "compare": 0.05}
# statuses that a command given again may end with: crops that are enrolled already are refused
ENDS = {name: (0, 2) if name == "enroll" else (0,) for name in SHARES}
TRIES = 3  # times as many starts as kills, since some end before their moment
PATIENCE = 120.0  # s that workers of a killed comparison have to end
OPEN: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text()),
    ".yaml": lambda path: yaml.safe_load(path.read_text()),
    ".npz": lambda path: [np.load(path)[name] for name in np.load(path).files],
    ".ckpt": lambda path: torch.load(path, weights_only=True),
    ".safetensors": load_file,
    ".csv": pd.read_csv,
    ".png": lambda path: Image.open(path).load(),
    ".html": lambda path: path.read_text().rindex("</html>"),
    ".onnx": lambda path: path.read_bytes()[-1],
}
Words = Callable[[Path], list[str]]  # folder of a case -> the command


@dataclass
class Tally:
    """What the kills of one command left."""

    kills: int = 0
    went_on: int = 0
    half_written: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)  # what the command lacked where it did not go on

    def row(self, name: str, seconds: float) -> tuple[object, ...]:
        """A row of the table."""
        return name, f"{seconds:.1f}", self.kills, len(self.half_written), self.went_on


def tiny(work: Path, model: str) -> list[str]:
    """What a fit of a second or two needs."""
    return [*arguments(work, model, 2), *SMALL, "--data.batches_per_epoch=4"]


def commands(work: Path, run: Path) -> dict[str, Words]:
    """The commands by name, on simulated flights and a finished run."""
    config = work / "experiment.yaml"
    own = [word for word in tiny(work, "softmax") if not word.startswith("--runs_root")]
    experiment = {
        "name": "tiny",
        "shared": [f"{ROOT}/configs/base.yaml", f"{ROOT}/configs/data/simulated.yaml"],
        "arms": {name: {"configs": [f"{ROOT}/configs/model/{name}.yaml"]} for name in ("softmax", "triplet")},
        "seeds": [0],
        "overrides": [word for word in own if not word.startswith("--config")],
    }
    config.write_text(yaml.safe_dump(experiment))
    given, data = f"--run={run}", f"--data={work}/flights"
    return {
        "fit": lambda to: ["fit", *own, f"--runs_root={to}", "--reuse=true"],
        "predict": lambda to: ["predict", given, data, f"--out={to}/p.csv", f"--pictures={to}/pictures"],
        "enroll": lambda to: ["enroll", f"--run={to}/run", f"--crops={work}/flights", "--label=tundra_swan"],
        "report": lambda to: ["report", str(run), "-o", f"{to}/report.html"],
        "export": lambda to: ["export", given, f"--out={to}/exported"],
        "compare": lambda to: ["compare", f"--config={config}", f"--out={to}"],
    }


def prepared(folder: Path, run: Path) -> Path:
    """A fresh folder with a copy of the run, which an enrolment changes."""
    shutil.copytree(run, folder / "run")
    return folder


def _work(words: list[str]) -> None:
    os.setsid()
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    dml(words)


def run_command(words: list[str], killed_after: float | None = None) -> int | None:
    """Runs a command in a process of its own; its exit status, or minus the signal that ended it."""
    process = get_context("fork").Process(target=_work, args=(words,))
    process.start()
    process.join(killed_after)
    if process.is_alive():
        process.kill()
        process.join()
    until = time.monotonic() + PATIENCE
    while process.pid in sessions() and time.monotonic() < until:
        time.sleep(0.05)
    return process.exitcode


def sessions() -> Iterator[int]:
    """Session of each process that has not ended (Linux): workers have that of the command which started them."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                yield int(fields[3])


def files_of(folder: Path) -> list[Path]:
    """The files below a folder with those of temporary folders, but for locks."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def is_temporary(path: Path) -> bool:
    """Whether a file or one of its folders waits for its name."""
    return any(part.endswith(".tmp") for part in path.parts)


def unreadable(folder: Path) -> list[str]:
    """The files under their own names that cannot be opened, with the reason."""
    found = []
    for path in files_of(folder):
        if not is_temporary(path) and path.suffix in OPEN:
            try:
                OPEN[path.suffix](path)
            except Exception as error:
                found.append(f"{path.relative_to(folder)}: {type(error).__name__}")
    return found


def _place(path: Path) -> tuple[str, str]:
    """Folder and kind of a file; a history that goes on has a folder of its own, such as `csv/fit-1`."""
    return re.sub(r"-\d+$", "", path.parent.as_posix()), path.suffix


def missing(folder: Path, whole: Path) -> list[str]:
    """What of a whole run's files a folder lacks, by folder and kind, and temporary files that it has."""
    have, want = ({_place(path.relative_to(each)) for path in files_of(each)} for each in (folder, whole))
    left = [f"{path.name} is left" for path in folder.rglob("*.tmp")]
    return [f"no {parent}/*{suffix}" for parent, suffix in sorted(want - have)] + left


def killed(words: Words, run: Path, whole: Path, seconds: float, wanted: int, rng: np.random.Generator) -> Tally:
    """Kills a command at random moments of the seconds that it takes, and gives it again each time."""
    tally = Tally()
    for number in range(TRIES * wanted):
        if tally.kills == wanted:
            break
        folder, moment = prepared(whole.with_name(f"{whole.name}-{number}"), run), rng.uniform(0, seconds)
        if run_command(words(folder), moment) == -signal.SIGKILL:
            tally.kills += 1
            tally.half_written += unreadable(folder)
            status = run_command(words(folder))
            lacks = [
                *([] if status in ENDS[whole.name] else [f"status {status}"]),
                *unreadable(folder),
                *missing(folder, whole),
            ]
            tally.went_on += not lacks
            tally.stopped += [f"killed after {moment:.2f} s: {', '.join(lacks)}"] * bool(lacks)
        else:  # it had ended before
            seconds = min(seconds, moment)
        shutil.rmtree(folder)
    return tally


def main() -> None:
    """Runs the benchmark."""
    parser = options(__doc__)
    parser.add_argument("--kills", type=int, default=12, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--commands", nargs="+", default=[*SHARES], choices=[*SHARES], help="to kill; all by default")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    title = "What commands leave that are killed at a random moment"
    with Result(__file__, title, PACKAGES, args) as result, tempfile.TemporaryDirectory() as name:
        work, rows, notes = Path(name), [], list[str]()
        flights(work, 6, 4)
        run = dml(["fit", *tiny(work, "softmax"), "--name=given"])
        dml(["test", "--run", str(run), "--verbose=false"])
        every = commands(work, run)
        total = sum(SHARES[each] for each in args.commands)
        for each in args.commands:
            whole = prepared(work / each, run)
            before = time.perf_counter()
            assert run_command(every[each](whole)) == 0, each
            seconds = time.perf_counter() - before
            wanted = max(1, round(args.kills * SHARES[each] / total))
            tally = killed(every[each], run, whole, seconds, wanted, rng)
            rows.append(tally.row(each, seconds))
            notes += [f"`{each}`: {note}" for note in [*tally.half_written, *tally.stopped]]
        result.table(["command", "whole run, s", "kills", "half-written files", "went on"], rows)
        result.text(*notes)


if __name__ == "__main__":
    main()
