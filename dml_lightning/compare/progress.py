"""One live table of a comparison: which run, how far, how good, how long still."""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dml_lightning.compare.jobs import Job, Outcome, find_run
from dml_lightning.runs.folder import read_run

TAIL = 65536  # bytes of a history that hold its last epochs
MOST_ENDED = 12  # ended jobs that stay in sight


@dataclass
class Progress:
    """Shows the jobs of a comparison as they run; on no terminal, one line per ended job.

    Args:
        out: Where run folders go.
        name: Of the comparison.
        total: Number of jobs.
        metric: Key in a run's history that is shown, such as val/map_at_r.
        epochs: Of a fit, to tell the time left.
        workers: Jobs at once.
    """

    out: Path
    name: str
    total: int
    metric: str
    epochs: int | None
    workers: int
    console: Console = field(default_factory=Console)

    def __post_init__(self) -> None:
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._started = time.monotonic()
        self._told = 0
        self._failures: dict[str, int] = {}  # number of the run that a sentence was first said of

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def look(self, ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
        """Brings the table up to date."""
        if not self.console.is_terminal:
            for outcome in ended[self._told :]:
                self._told += 1
                what = self._how(outcome)
                print(f"[{self._told}/{self.total}] {outcome.job.title}: {what}", flush=True)
            return
        table = Table("run", "epoch", escape(self.metric), "time")
        for outcome in ended[-MOST_ENDED:]:
            value = _last(outcome.run, self.metric).value if outcome.run else None
            state = "[red]failed[/red]" if outcome.error else "[green]done[/green]"
            table.add_row(escape(outcome.job.title), state, _number(value), "")
        for job in waiting[: self.workers]:
            run = find_run(job, self.out, self.name)
            seen = _last(run, self.metric) if run else Seen()
            epoch = "-" if seen.epoch is None else f"{seen.epoch + 1}/{self.epochs or '?'}"
            table.add_row(escape(job.title), epoch, _number(seen.value), _seconds(seen.seconds))
        self._live.update(Group(table, Text(self._summary(ended, waiting))), refresh=True)

    def _how(self, outcome: Outcome) -> str:
        """How the newest job ended; what one before failed by is not said again."""
        if outcome.error is None:
            return "done"
        first = self._failures.setdefault(outcome.error, self._told)
        return f"failed: {outcome.error}" if first == self._told else f"failed like [{first}]"

    def _summary(self, ended: Sequence[Outcome], waiting: Sequence[Job]) -> str:
        spent = time.monotonic() - self._started
        left = f", about {_seconds(spent / len(ended) * len(waiting))} left" if ended else ""
        failed = sum(outcome.error is not None for outcome in ended)
        lost = f", {failed} failed" if failed else ""
        return f"{len(ended)} of {self.total} runs{lost}, {_seconds(spent)} so far{left}"


@dataclass(frozen=True)
class Seen:
    """What a run's files say while it runs."""

    epoch: int | None = None
    value: float | None = None
    seconds: float | None = None  # since the stage began


def _last(run: Path, metric: str) -> Seen:
    """The last epoch with a value of the metric in the run's newest history."""
    stages = read_run(run)["stages"]
    started = stages.get("fit", {}).get("started")
    seconds = None
    if started is not None:
        seconds = time.time() - time.mktime(time.strptime(started, "%Y-%m-%dT%H:%M:%S"))
    histories = sorted(run.glob("csv/fit*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    if not histories:
        return Seen(seconds=seconds)
    with histories[-1].open("rb") as file:
        head = file.readline().decode()
        file.seek(max(len(head), histories[-1].stat().st_size - TAIL))
        lines = file.read().decode(errors="replace").splitlines()
    rows = list(csv.DictReader(io.StringIO(head + "\n".join(lines))))
    for row in reversed(rows):
        if row.get(metric) and (row.get("epoch") or "").isdigit():
            return Seen(int(row["epoch"]), float(row[metric]), seconds)
    return Seen(seconds=seconds)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
