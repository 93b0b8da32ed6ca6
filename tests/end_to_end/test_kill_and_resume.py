"""A real `dml fit` process is killed, again and again, and ends where an undisturbed one does, bit by bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dml_lightning.cli import main
from dml_lightning.runs import folder as run_folders
from tests import ROOT
from tests.end_to_end.killing import differences, exact_words, history, outcome

# kills its own process inside a hook, at a place that no timing could hit
KILLER = """
import os, signal
import lightning as L
from dml_lightning.runs import checkpoints, folder as runs


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class DieInValidation(L.Callback):
    def on_validation_batch_end(self, trainer, *_):
        if trainer.current_epoch == 1:
            die()


class DieInWrite(L.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == 6:
            self.fsync = os.fsync
            os.fsync = lambda descriptor: die()  # the file is written, and not yet renamed


class DieAfterWrite(L.Callback):
    step = 4

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.step:
            checkpoints.save_latest = lambda trainer, save=checkpoints.save_latest: (
                save(trainer), die())


class DieAfterLastWrite(DieAfterWrite):
    step = 7  # the last one


class DieInFirstStep(L.Callback):
    def on_train_batch_start(self, *_):
        die()


class DieInLastEvaluation(L.Callback):
    def on_validation_epoch_start(self, trainer, *_):
        if trainer.state.fn == "validate":
            die()
"""


def start(words: list[str], folder: Path, *, output: Path) -> subprocess.Popen[bytes]:
    """`dml fit` in a process of its own."""
    paths = os.pathsep.join([str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with output.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "dml_lightning", "fit", *words],
            env=environment,
            stdout=file,
            stderr=file,
            cwd=folder,
        )


def only_run(folder: Path) -> Path | None:
    """The folder's only run, if one has begun."""
    found = [path.parent for path in folder.glob("*/*/run.json")]
    return found[0] if found else None


@pytest.fixture(scope="module")
def killers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killers")
    (folder / "killers.py").write_text(KILLER)
    return folder


KILLS = 4  # of one fit

PLACES = [
    "DieInFirstStep",
    "DieInWrite",
    "DieAfterWrite",
    "DieAfterLastWrite",
    "DieInValidation",
    "DieInLastEvaluation",
]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_kill_in_the_worst_places(words: list[str], tmp_path: Path, killers: Path, place: str) -> None:
    command = [*exact_words(words, "triplet_memory", tmp_path), "--tracking.wandb=disabled"]
    whole = main(["fit", *command, f"--runs_root={tmp_path}/whole"])
    killed = [*command, f"--runs_root={tmp_path}/killed"]
    # the killer is in the recipe, so the folder of the resumed run is the whole one's copied name
    process = start([*killed, f"--trainer.callbacks+=killers.{place}"], killers, output=tmp_path / "log")
    assert process.wait(timeout=300) == -signal.SIGKILL, (tmp_path / "log").read_text()[-2000:]
    run = only_run(tmp_path / "killed")
    assert run is not None
    assert run_folders.read_status(run) == "running"
    assert bool(list(run.rglob(".*.tmp"))) == (place == "DieInWrite")
    run = run.rename(run.with_name(whole.name))
    assert main(["fit", *killed, "--ckpt_path=last"]) == run
    assert not list(run.rglob(".*.tmp"))
    assert not differences(outcome(whole), outcome(run))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.long)])
def test_kills_at_random_moments(words: list[str], tmp_path: Path, workers: int) -> None:
    command = [
        *exact_words(words, "triplet_memory", tmp_path, every_n_steps=3),
        "--tracking.wandb=disabled",
        "--trainer.max_epochs=3",
        "--data.batches_per_epoch=20",
        f"--data.num_workers={workers}",
    ]
    log = tmp_path / "log"
    process = start([*command, f"--runs_root={tmp_path}/whole"], tmp_path, output=log)
    assert process.wait(timeout=600) == 0, log.read_text()[-2000:]
    whole = only_run(tmp_path / "whole")
    assert whole is not None
    draw = random.Random(0)
    folder = tmp_path / "killed"
    killed = [*command, f"--runs_root={folder}"]
    for kill in range(KILLS):
        resume = ["--ckpt_path=last"] if only_run(folder) else []
        process = start([*killed, *resume], tmp_path, output=log)
        wait_for_new_rows(folder, process, draw.randint(1, 14))
        pause = draw.uniform(0, 0.4)
        time.sleep(pause)
        process.kill()
        assert process.wait() == -signal.SIGKILL, log.read_text()[-2000:]
        print(f"workers {workers}, kill {kill + 1}, {pause:.3f} s later: {progress(folder)}")
    process = start([*killed, "--ckpt_path=last"], tmp_path, output=log)
    assert process.wait(timeout=600) == 0, log.read_text()[-2000:]
    run = only_run(folder)
    assert run is not None
    assert not differences(outcome(whole), outcome(run))
    print(f"workers {workers}: after {KILLS} kills every bit is that of the uninterrupted run")


def wait_for_new_rows(folder: Path, process: subprocess.Popen[bytes], rows: int) -> None:
    """Until the process has logged so many rows in a piece of history of its own."""
    before = set(folder.glob("*/*/csv/fit*"))
    while process.poll() is None:
        for piece in set(folder.glob("*/*/csv/fit*")) - before:
            file = piece / "metrics.csv"
            if file.is_file() and len(file.read_text().splitlines()) > rows:
                return
        time.sleep(0.005)
    raise AssertionError(f"the fit ended before it had logged {rows} rows")


def progress(folder: Path) -> str:
    """What the folder shows of the run that was killed."""
    run = only_run(folder)
    assert run is not None
    steps = max(history(run), default=-1) + 1
    latest = run / "checkpoints" / "last.ckpt"
    saved = torch.load(latest, weights_only=True)["global_step"] if latest.is_file() else None
    half = [path.name for path in run.rglob(".*.tmp")]
    return f"{steps} of 60 steps logged, last.ckpt at step {saved}, half-written {half}"
