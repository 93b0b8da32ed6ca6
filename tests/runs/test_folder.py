"""A run's folder belongs to one process at a time, whoever starts first and however it ends."""

import multiprocessing as mp
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from dml_lightning import files
from dml_lightning.runs import folder as runs


def hold(run: Path, connection: Connection) -> None:
    with runs.claimed(run, resume=False):
        connection.send("held")
        connection.recv()


def race(run: Path, barrier: object, connection: Connection) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    try:
        with runs.claimed(run, resume=False):
            connection.send("won")
            connection.recv()
    except ValueError as error:
        connection.send(str(error))


def test_a_killed_process_frees_its_run(tmp_path: Path) -> None:
    context, run = mp.get_context("fork"), tmp_path / "run"
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(run, there))
    process.start()
    assert here.recv() == "held"
    for resume in (False, True):
        files.write_json(run / "run.json", {"stages": {"fit": {"status": "running"}}})
        busy = pytest.raises(ValueError, match=f"being written by process {process.pid} on")
        with busy, runs.claimed(run, resume=resume):
            pass
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    (run / ".last.ckpt.7.tmp").write_text("half")
    with runs.claimed(run, resume=True):
        assert not list(run.glob("*.tmp"))
        assert not list(run.glob(".*.tmp"))


def test_of_simultaneous_starters_one_wins(tmp_path: Path) -> None:
    context, run = mp.get_context("fork"), tmp_path / "run"
    barrier = context.Barrier(4)
    pipes = [context.Pipe() for _ in range(4)]
    processes = [context.Process(target=race, args=(run, barrier, there)) for _, there in pipes]
    for process in processes:
        process.start()
    said = [here.recv() for here, _ in pipes]
    assert said.count("won") == 1
    assert sum("is being written by" in word for word in said) == 3
    pipes[said.index("won")][0].send("end")
    for process in processes:
        process.join()


def test_a_forked_worker_does_not_keep_the_run(tmp_path: Path) -> None:
    context, run = mp.get_context("fork"), tmp_path / "run"
    here, there = context.Pipe()
    with runs.claimed(run, resume=False):
        worker = context.Process(target=there.recv)
        worker.start()
    other = context.Process(target=hold, args=(run, there))
    other.start()
    assert here.recv() == "held"
    for process in (worker, other):
        process.kill()
        process.join()


@pytest.mark.parametrize(
    ("status", "checkpoint", "resume", "message"),
    [
        ("finished", True, True, "has finished"),
        ("failed", True, False, "was failed after a checkpoint; --ckpt_path last"),
        (None, True, False, "was left after a checkpoint"),
        (None, False, True, "no checkpoints/last.ckpt"),
        ("running", False, True, None),
        ("running", False, False, None),
        ("interrupted", True, True, None),
    ],
)
def test_what_may_be_written_into(
    tmp_path: Path, status: str | None, checkpoint: bool, resume: bool, message: str | None
) -> None:
    if status:
        files.write_json(tmp_path / "run.json", {"stages": {"fit": {"status": status}}})
    if checkpoint:
        files.write_text(tmp_path / "checkpoints" / "last.ckpt", "")
    if message is None:
        runs.check_folder(tmp_path, resume=resume)
    else:
        with pytest.raises(ValueError, match=message):
            runs.check_folder(tmp_path, resume=resume)


def test_a_run_without_a_checkpoint_names_the_newest_beside_it(tmp_path: Path) -> None:
    for age, name in enumerate(("a", "c", "b")):
        path = tmp_path / name / "checkpoints" / "last.ckpt"
        files.write_text(path, "")
        os.utime(path, (1000 - age, 1000 - age))
    with pytest.raises(ValueError, match=r"ckpt_path last, or name \S*/a/checkpoints/last\.ckpt, of"):
        runs.check_folder(tmp_path / "run", resume=True)


def test_nothing_is_made_for_a_run_that_never_began(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave out --ckpt_path last"), runs.claimed(tmp_path / "run", resume=True):
        pass
    assert not list(tmp_path.iterdir())


def test_metrics_are_read_without_their_stage_and_null_is_nan(tmp_path: Path) -> None:
    assert runs.read_metrics(tmp_path, "test") == {}
    files.write_json(tmp_path / "metrics" / "test.json", {"test/map_at_r": 0.5, "test/novel_ratio": float("nan")})
    result = runs.read_metrics(tmp_path, "test")
    assert list(result) == ["map_at_r", "novel_ratio"]
    assert result["map_at_r"] == 0.5
    assert np.isnan(result["novel_ratio"])
