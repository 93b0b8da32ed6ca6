"""The history of a run: the CSV files of its stages, whose rows outlast a process that is killed."""

import csv
import io
from itertools import count
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from typing_extensions import override

from dml_lightning.files import replacing


class HistoryLogger(CSVLogger):
    """Lightning's logger of CSV files, whose file is never without the rows that it had.

    Lightning (2.6) empties the file and writes it anew whenever a number is logged for the first time; a process that
    is killed there has lost all rows. Here the new file takes the place of the old one when it is complete.
    """

    @property
    @override
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._fs.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _HistoryWriter(log_dir=self.log_dir)
        return self._experiment


class _HistoryWriter(ExperimentWriter):
    @override
    def save(self) -> None:
        path = Path(self.metrics_file_path)
        columns = {*self.metrics_keys, *(key for row in self.metrics for key in row)}
        if path.is_file() and columns != set(self.metrics_keys):
            self.metrics_keys = sorted(columns)
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, self.metrics_keys)
            writer.writeheader()
            with path.open(newline="", encoding="utf-8") as file:
                writer.writerows(csv.DictReader(file))
            with replacing(path) as new:
                new.write(text.getvalue().encode())
        super().save()


def history(run: Path, stage: str) -> HistoryLogger:
    """A CSV history in a new folder of the run, so that a stage that runs again or goes on keeps the earlier ones."""
    names = (f"{stage}{f'-{n}' if n else ''}" for n in count())
    version = next(name for name in names if not (run / "csv" / name).exists())
    return HistoryLogger(run, name="csv", version=version)


def history_start(run: Path) -> int:
    """First row of this process in the run's Weights & Biases history; 0 if it is the run's first process.

    Offline, Weights & Biases does not know of earlier processes of the run: each writes its own `offline-run-*` folder
    under the same run id and counts its rows from 0. `wandb sync` joins these to one history (wandb 0.31), so the rows
    of a later process need higher numbers. Pictures and tables take rows that the CSV files lack; ten times the length
    of these files leaves room for them, and a gap does no harm.
    """
    files = run.glob("csv/*/metrics.csv")
    return 10 * sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
