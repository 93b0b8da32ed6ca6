"""Live table of a comparison's runs: epoch, metric, and time spent and left."""

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
from dml_lightning.runs.folder import TIME, read_run

TAIL = 65536  # bytes at the end of a history that are read for its last epochs
TAKEN = "taken from an earlier run"
MOST_ENDED = 12  # largest number of ended jobs in the table


@dataclass
class Progress:
    """Shows the jobs of a comparison as they run, as a live table or, without a terminal, a line per ended job.

    Args:
        out: Folder of all runs.
        name: Name of the comparison.
        total: Number of jobs.
        metric: Key in a run's history to show, such as val/selection_map_at_r.
        epochs: Number of epochs of a fit, to show beside the current one; None if unknown.
        workers: Number of jobs that run at once.
        console: Console to write to.
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
        self._printed = self._taken = 0
        self._failures: dict[str, int] = {}  # by error, the number of the first run that failed by it

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        if self._taken:
            print(f"{self._taken} of {self.total} runs were {TAKEN}.")

    def look(self, ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
        """Updates the table, or prints a line for each newly ended job.

        Args:
            ended: Outcomes so far, in the order in which jobs ended.
            waiting: Jobs that have not ended, those that run first.
        """
        self._taken = sum(outcome.taken for outcome in ended)
        if not self.console.is_terminal:
            for outcome in ended[self._printed :]:
                self._printed += 1
                what = self._how(outcome)
                print(f"[{self._printed}/{self.total}] {outcome.job.title}: {what}", flush=True)
            return
        table = Table("run", "epoch", escape(self.metric), "time")
        for outcome in ended[-MOST_ENDED:]:
            value = _last(outcome.run, self.metric).value if outcome.run else None
            state = "[red]failed[/red]" if outcome.error else f"[green]{self._how(outcome)}[/green]"
            table.add_row(escape(outcome.job.title), state, _number(value), "")
        for job in waiting[: self.workers]:
            run = find_run(job, self.out, self.name)
            last = _last(run, self.metric) if run else Seen()
            epoch = "-" if last.epoch is None else f"{last.epoch + 1}/{self.epochs or '?'}"
            table.add_row(escape(job.title), epoch, _number(last.value), _seconds(last.seconds))
        self._live.update(Group(table, Text(self._summary(ended, waiting))), refresh=True)

    def _how(self, outcome: Outcome) -> str:
        """How the newest job ended; an error that was printed before is referred to by its number."""
        if outcome.error is None:
            return TAKEN if outcome.taken else "done"
        first = self._failures.setdefault(outcome.error, self._printed)
        return f"failed: {outcome.error}" if first == self._printed else f"failed like [{first}]"

    def _summary(self, ended: Sequence[Outcome], waiting: Sequence[Job]) -> str:
        spent = time.monotonic() - self._started
        left = f", about {_seconds(spent / len(ended) * len(waiting))} left" if ended else ""
        failed = sum(outcome.error is not None for outcome in ended)
        lost = f", {failed} failed" if failed else ""
        return f"{len(ended)} of {self.total} runs{lost}, {_seconds(spent)} so far{left}"


@dataclass(frozen=True)
class Seen:
    """State of a run according to its files."""

    epoch: int | None = None  # counted from 0
    value: float | None = None
    seconds: float | None = None  # since the stage began


def _last(run: Path, metric: str) -> Seen:
    """Reads the last epoch with a value of the metric from the run's newest history."""
    stages = read_run(run)["stages"]
    started = stages.get("fit", {}).get("started")
    seconds = None
    if started is not None:
        seconds = time.time() - time.mktime(time.strptime(started, TIME))
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
    """A duration as h:mm:ss or m:ss.

    >>> _seconds(3725.0), _seconds(65.0)
    ('1:02:05', '1:05')
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
