"""What the benchmarks share: the head of a result, timings in turn, memory of a process of its own, tables.

This file is no benchmark. Scripts of this folder are run as `python benchmarks/NAME.py`, which puts the folder first on
the path: `from measure import ...`.
"""

import argparse
import gc
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import torch

from dml_lightning.files import replacing, write_text
from dml_lightning.runs.folder import code_digest

if TYPE_CHECKING:  # a process that measures memory starts without it
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MIB = 2**20
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
T = TypeVar("T")


# The result --------------------------------------------------------------------------------------


def options(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark; `doc` is the script's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/NAME.md; else only print")
    parser.add_argument("--threads", type=int, default=1, help="of torch and BLAS in one process (default 1)")
    return parser


class Result:
    """A result in Markdown: each line is printed at once; with `--save`, the file is written at the end.

    Used as a context: an error inside leaves an earlier file as it was.

    Args:
        script: `__file__` of the benchmark.
        title: First line.
        packages: Distributions whose versions matter: the peer's, and what does the work.
        args: Parsed options, of which `save` and `threads` are used, and `device` where there is one.
    """

    def __init__(self, script: str, title: str, packages: Sequence[str], args: argparse.Namespace) -> None:
        self.args, self.device = args, str(getattr(args, "device", "cpu"))
        name = Path(script).stem + ("_cuda" if self.device.startswith("cuda") else "")
        self.path = RESULTS / f"{name}.md"
        command = " ".join(["python", f"benchmarks/{Path(script).name}", *sys.argv[1:]])
        self.lines = ["# " + title, "", head(command, packages, args.threads, self.device), ""]

    def __enter__(self) -> Self:
        """Sets the threads that the head states, also for processes to come, and prints the head."""
        torch.set_num_threads(self.args.threads)
        os.environ.update(dict.fromkeys(THREADS, str(self.args.threads)))
        print("\n".join(self.lines), flush=True)
        return self

    def text(self, *paragraphs: str) -> None:
        """Adds paragraphs."""
        self._add(*(line for paragraph in paragraphs for line in (paragraph, "")))

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[object]], texts: int = 1) -> None:
        """Adds a table whose first `texts` columns are texts; each row is printed as it is measured."""
        marks = ["---" if column < texts else "---:" for column in range(len(heads))]
        self._add(_row(heads), _row(marks))
        for row in rows:
            self._add(_row(row))
        self._add("")

    def figure(self, figure: "Figure") -> None:
        """Adds a figure, saved as a PNG file of the result's name."""
        path = self.path.with_suffix(".png")
        self._add(f"![{self.lines[0][2:]}]({path.name})", "")
        if self.args.save:
            with replacing(path) as file:
                figure.savefig(file, format="png", dpi=130)

    def _add(self, *lines: str) -> None:
        self.lines += lines
        print("\n".join(lines), flush=True)

    def __exit__(self, error: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if error is None and self.args.save:
            write_text(self.path, "\n".join(self.lines).rstrip() + "\n")


def head(command: str, packages: Sequence[str], threads: int, device: str = "cpu") -> str:
    """How a result came about: command, day, versions of ours and of `packages`, machine."""
    ours = f"dml-lightning {version('dml-lightning')} (code {code_digest()[:10]})"
    others = ", ".join(f"{name} {version(name)}" for name in dict.fromkeys(("torch", *packages)))
    unit = "thread" if threads == 1 else "threads"
    return (
        f"`{command}`, {date.today()}; {ours}, {others}, Python {platform.python_version()}; "
        f"{threads} {unit} of {machine(device)}."
    )


def machine(device: str = "cpu") -> str:
    """The processor with its cores and load, and the GPU where the device is one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [each.split(":")[1].strip() for each in lines if each.startswith("model name")]
    own = f"{(names or [platform.processor()])[0]} ({platform.machine()}), {os.cpu_count()} cores"
    gpu = f", {torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}" if device.startswith("cuda") else ""
    return f"{own}, load {os.getloadavg()[0]:.1f} before{gpu}"


def _row(cells: Sequence[object]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


# Time --------------------------------------------------------------------------------------------


def wait(device: str | torch.device) -> None:
    """Waits until the device has done what it was asked."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


class Stopwatch:
    """Wall seconds, and processor seconds of all threads, spent inside of it; summed over several entries."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device, self.seconds, self.cpu = device, 0.0, 0.0

    def __enter__(self) -> Self:
        """Starts once the device is idle."""
        wait(self.device)
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wait(self.device)
        self.seconds += time.perf_counter() - self._start[0]
        self.cpu += time.process_time() - self._start[1]


def seconds(work: Callable[[], object], device: str | torch.device = "cpu") -> float:
    """Wall seconds of one call."""
    with Stopwatch(device) as watch:
        work()
    return watch.seconds


def in_turn(works: Mapping[str, Callable[[], T]], repeats: int, warm: int = 1) -> dict[str, list[T]]:
    """What each work returns, called A B A B ..., so that a busy machine slows all of them.

    Args:
        works: By name.
        repeats: Rounds that count.
        warm: Rounds before them that do not.
    """
    rounds = [{name: work() for name, work in works.items()} for _ in range(warm + repeats)]
    return {name: [each[name] for each in rounds[warm:]] for name in works}


def ratios(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Each of `one` by that of `other` in the same round."""
    return [a / b for a, b in zip(one, other, strict=True)]


def spread(values: Sequence[float], decimals: int = 2) -> str:
    """Median, and in brackets smallest and largest.

    >>> spread([3.0, 1.0, 2.0])
    '2.00 (1.00-3.00)'
    """
    middle, low, high = (f"{value:,.{decimals}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low}-{high})"


# Tools of others ---------------------------------------------------------------------------------


def run_tool(requirements: Sequence[str], script: Path, *arguments: object) -> None:
    """Runs a script in an environment of its own, made for this one run, without this project on its path.

    Args:
        requirements: What pip installs there, of pinned versions.
        script: The script.
        arguments: Of the script.

    Raises:
        RuntimeError: pip or the script fails; with the end of what it printed.
    """
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=bool(requirements))
        python = Path(folder, "Scripts" if os.name == "nt" else "bin", "python")
        install = [["-m", "pip", "install", "--quiet", *requirements]] if requirements else []
        for words in (*install, [script, *arguments]):
            _run([python, *words], folder, own)


def run_checkout(checkout: Path, *arguments: object) -> None:
    """Runs Python with these arguments in an empty folder, the package of a checkout first on its path.

    Raises:
        RuntimeError: It fails; with the end of what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        _run([sys.executable, *arguments], folder, {**os.environ, "PYTHONPATH": str(checkout)})


def _run(command: Sequence[object], folder: str, environment: dict[str, str]) -> None:
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-3000:]}")


def processor_seconds(checkout: Path, *arguments: str) -> float:
    """Processor seconds, user and system, of Python with these arguments, in an empty folder.

    Args:
        checkout: Folder of the package that is first on its path.
        arguments: Of Python.
    """
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    before = os.times()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *arguments]
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


# Memory ------------------------------------------------------------------------------------------


def own_process(
    function: Callable[..., T], *arguments: object, preload: Sequence[str] = ("dml_lightning.losses",)
) -> T:
    """What a function of a module's top level returns in a fresh process: its peak memory is its own.

    The processes are forked from a server that has imported what is slow to import and computed nothing; it starts at
    the first call, with the threads of the `Result`, and imports the modules `preload` of that call.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


class PeakMemory:
    """MB (2**20 bytes) that what happens inside adds, at its peak, to what stood before: resident, or on the GPU."""

    def __init__(self, device: str = "cpu") -> None:
        self.cuda, self.added = device.startswith("cuda"), 0.0

    def __enter__(self) -> Self:
        """Forgets the peak so far."""
        gc.collect()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated() / MIB
        else:
            Path("/proc/self/clear_refs").write_text("5")
            self._before = resident("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.added = (torch.cuda.max_memory_allocated() / MIB if self.cuda else resident("VmHWM")) - self._before


def resident(field: str, process: int | str = "self") -> float:
    """A size of a process in MB (Linux): VmRSS now, VmHWM at its peak, RssAnon its own, RssFile of mapped files."""
    fields = dict(each.split(":", 1) for each in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields[field].split()[0]) / 1024
