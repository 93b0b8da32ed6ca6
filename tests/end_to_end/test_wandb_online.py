"""`dml fit` and `dml test` against a Weights & Biases server, which may be gone for a while."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dml_lightning.cli import main
from dml_lightning.runs import folder as run_folders
from dml_lightning.runs.tracker import SYNC
from tests import ROOT
from tests.end_to_end.arms import arm_words, interrupted
from tests.end_to_end.killing import exact_words
from tests.end_to_end.test_wandb import records
from tests.end_to_end.wandb_server import Run, WandbServer, wandb_server

SOON = {
    "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
    "WANDB_INIT_TIMEOUT": "3",
    "WANDB_FINISH_TIMEOUT": "3",
    "WANDB_HTTP_TIMEOUT": "2",
}


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with wandb_server() as server:
        yield server


def environment(server: WandbServer, home: Path, **variables: str) -> dict[str, str]:
    """Variables of a user of this server, without those that other tests have left."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent), kept.get("PYTHONPATH", "")])
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    own = {"PYTHONPATH": paths, "PATH": path, "OMP_NUM_THREADS": "1", "HOME": str(home)}
    return {**kept, **own, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "a" * 40, **variables}


def dml(server: WandbServer, folder: Path, *words: str, **variables: str) -> str:
    """What a `dml` command, which has to end well, says on its standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "dml_lightning", *words],
        env=environment(server, folder, **variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def sync(server: WandbServer, run: Path) -> None:
    """Sends all that a run's processes have left, as the run's warning tells."""
    done = subprocess.run(
        SYNC.format(run=run),
        shell=True,
        env=environment(server, run.parents[2]),
        cwd=run,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "Finished syncing" in done.stderr


def online(words: list[str], folder: Path, *more: str) -> list[str]:
    flags = [f"--runs_root={folder}/runs", "--tracking.wandb=online", *more]
    return ["fit", *arm_words(words, "triplet"), *flags]


def only(folder: Path) -> Path:
    (run,) = folder.glob("runs/triplet/*")
    return run


def local_steps(run: Path) -> list[int]:
    """The steps of the history in a run's .wandb files."""
    return [
        record.history.step.num
        for path in sorted(run.glob("wandb/*run-*/run-*.wandb"))
        for record in records(path)
        if record.WhichOneof("record_type") == "history"
    ]


def losses(run: Run) -> dict[int, set[float]]:
    """The losses that the server has for each training step."""
    found: dict[int, set[float]] = {}
    for row in run.rows():
        if "train/loss" in row:
            found.setdefault(row["trainer/global_step"], set()).add(row["train/loss"])
    return found


def losses_in_csv(run: Path, piece: str = "fit*") -> dict[int, set[float]]:
    found: dict[int, set[float]] = {}
    for path in run.glob(f"csv/{piece}/metrics.csv"):
        with path.open() as file:
            for row in csv.DictReader(file):
                if row["train/loss"]:
                    found.setdefault(int(row["step"]), set()).add(float(row["train/loss"]))
    return found


@pytest.mark.slow
def test_numbers_and_artifacts_arrive(words: list[str], tmp_path: Path, server: WandbServer) -> None:
    flags = ["--tracking.group=seeds", "--tracking.tags=[one, two]"]
    dml(server, tmp_path, *online(words, tmp_path, *flags))
    run = only(tmp_path)
    ((name, sent),) = server.runs.items()
    assert name == f"triplet-{run.name}"
    assert (sent.info["project"], sent.info["groupName"]) == ("dml_lightning", "seeds")
    assert sent.info["tags"] == ["one", "two"]
    assert {"model", "data", "trainer", "data_digest"} <= json.loads(sent.info["config"]).keys()
    logged = json.loads((run / "metrics" / "val.json").read_text())
    assert logged.keys() <= set().union(*sent.rows())
    assert logged.items() <= {key: sent.summary[key] for key in logged}.items()
    assert losses(sent) == losses_in_csv(run)
    assert sent.exits == [0]

    dml(server, tmp_path, "test", f"--run={run}")
    assert list(server.runs) == [name]
    tested = json.loads((run / "metrics" / "test.json").read_text())
    pictures = {"test/projection", "test/neighbours", "test/ood_by_class"}
    assert tested.keys() | pictures | logged.keys() <= set().union(*sent.rows())
    assert all(artifact.committed for artifact in server.artifacts)
    (model,) = [artifact for artifact in server.artifacts if artifact.kind == "model"]
    assert (model.name, model.run) == (f"run-{name}", name)
    assert model.files["best.ckpt"] == (run / "checkpoints" / "best.ckpt").read_bytes()
    assert model.files["recipe.fit.yaml"] == (run / "recipe.fit.yaml").read_bytes()
    assert model.files["gallery/0000.json"] == (run / "gallery" / "0000.json").read_bytes()


@pytest.mark.slow
def test_a_network_lost_on_the_way_loses_nothing(words: list[str], tmp_path: Path, server: WandbServer) -> None:
    server.breaks_on = ("val/map_at_r", "hang")
    said = dml(server, tmp_path, *online(words, tmp_path, "--trainer.max_epochs=10"), **SOON)
    assert server.fault == "hang"
    assert "Timed out finishing run" in said
    assert said.count("did not take") == 2  # two tables after the fit, and none that held it up
    run = only(tmp_path)
    assert run_folders.read_status(run) == "finished"
    assert (run / "checkpoints" / "best.ckpt").is_file()
    steps = local_steps(run)
    (sent,) = server.runs.values()
    assert 0 < len(sent.rows()) < len(steps)

    server.repair()
    sync(server, run)
    assert [row["_step"] for row in sent.rows()] == steps
    assert losses(sent) == losses_in_csv(run)
    assert sorted(losses(sent)) == list(range(40))
    assert sent.exits == [0]


@pytest.mark.slow
def test_a_stopped_run_goes_on_under_its_name(words: list[str], tmp_path: Path, server: WandbServer) -> None:
    steps = ["--trainer.max_epochs=12", f"--runs_root={tmp_path}/runs", "--tracking.wandb=online"]
    fit = ["fit", *exact_words(words, "triplet", tmp_path), *steps]
    fit.append("--trainer.callbacks+=killing.EndInStep")
    ended = subprocess.run(
        [sys.executable, "-m", "dml_lightning", *fit],
        env=environment(server, tmp_path, **SOON),
        cwd=tmp_path,
        capture_output=True,
    )
    assert ended.returncode == 128 + signal.SIGTERM  # it was not finished
    ((name, sent),) = server.runs.items()
    before = losses(sent).keys()
    dml(server, tmp_path, *fit, "--ckpt_path=last")
    run = only(tmp_path)
    asked = [given["name"] for operation, given in server.asked if operation == "RunResumeStatus"]
    assert asked == [name, name]
    assert sent.exits[-1] == 0
    written = losses_in_csv(run)
    assert sorted(written) == list(range(48))
    after = losses_in_csv(run, "fit-1")
    # a step that both processes made has one loss, to the last bit
    assert losses(sent) == {step: written[step] for step in before | after.keys()}
    assert before | after.keys() == written.keys()  # nothing is lost, nothing comes twice
    assert len([row for row in sent.rows() if "train/loss" in row]) == 48


@pytest.mark.slow
def test_without_a_server_a_fit_goes_offline(words: list[str], tmp_path: Path, server: WandbServer) -> None:
    server.fault = "refuse"
    said = dml(server, tmp_path, *online(words, tmp_path), **SOON)
    assert said.count("cannot track this run online") == 1
    assert "Traceback" not in said
    run = only(tmp_path)
    assert SYNC.format(run=run) in said
    assert run_folders.read_status(run) == "finished"
    assert not server.runs

    server.repair()
    sync(server, run)
    ((name, sent),) = server.runs.items()
    assert name == f"triplet-{run.name}"
    assert losses(sent) == losses_in_csv(run)
    assert json.loads((run / "metrics" / "val.json").read_text()).keys() <= set().union(*sent.rows())


def test_two_processes_of_a_run_are_sent_as_one_history(words: list[str], tmp_path: Path, server: WandbServer) -> None:
    again = [*arm_words(words, "triplet"), f"--runs_root={tmp_path}/runs"]
    interrupted(again)
    run = main(["fit", *again, "--ckpt_path=last"])
    assert len(list(run.glob("wandb/offline-run-*"))) == 2
    sync(server, run)
    ((name, sent),) = server.runs.items()
    assert name == f"triplet-{run.name}"
    assert [row["_step"] for row in sent.rows()] == local_steps(run)
    assert losses(sent) == losses_in_csv(run)
    assert sorted(losses(sent)) == list(range(8))


@pytest.mark.slow
def test_only_the_first_rank_speaks(words: list[str], tmp_path: Path, server: WandbServer) -> None:
    ranks = ["--trainer.strategy=ddp", "--trainer.devices=2", "--data.samples_per_class=4"]
    dml(server, tmp_path, *online(words, tmp_path, *ranks))
    ((name, sent),) = server.runs.items()
    asked = [given["name"] for operation, given in server.asked if operation == "RunResumeStatus"]
    assert asked == [name]
    assert sent.exits == [0]
    assert losses(sent) == losses_in_csv(only(tmp_path))
