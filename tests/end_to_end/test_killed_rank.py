"""One rank of two is killed: no process stays behind, and the same command goes on to the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dml_lightning.runs import folder as run_folders
from tests.end_to_end.killing import differences, exact_words, outcome
from tests.end_to_end.test_kill_and_resume import only_run
from tests.end_to_end.test_launch import RANKS, TORCHRUN, environment

KILLER = """
import os, signal
import lightning as L


class Dies(L.Callback):
    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_rank == self.rank and trainer.global_step == 6:
            os.kill(os.getpid(), signal.SIGKILL)
"""
LAUNCHERS = {
    "torchrun": [*TORCHRUN, "--standalone", "--nproc_per_node=2", "-m", "dml_lightning"],
    "lightning": [sys.executable, "-m", "dml_lightning"],
}


def fit(launcher: str, words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A fit on two ranks; its output ends, and this returns, when the last process that holds it has ended."""
    variables = environment()
    variables["PYTHONPATH"] = f"{folder}{os.pathsep}{variables['PYTHONPATH']}"
    return subprocess.run(
        [*LAUNCHERS[launcher], "fit", *words],
        env=variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,  # gloo would wait for half an hour
    )


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "rank"), [("torchrun", 1), pytest.param("lightning", 0, marks=pytest.mark.long)])
def test_the_others_end_too(words: list[str], tmp_path: Path, launcher: str, rank: int) -> None:
    (tmp_path / "killer.py").write_text(KILLER)
    command = [*exact_words(words, "triplet_memory", tmp_path), "--tracking.wandb=disabled", *RANKS]
    undisturbed = fit(launcher, [*command, f"--runs_root={tmp_path}/whole"], tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stderr[-3000:]
    whole = only_run(tmp_path / "whole")
    killed = [*command, f"--runs_root={tmp_path}/killed"]
    dies = ["--trainer.callbacks+=killer.Dies", f"--trainer.callbacks.rank={rank}"]
    assert fit(launcher, [*killed, *dies], tmp_path).returncode != 0
    run = only_run(tmp_path / "killed")
    assert whole is not None
    assert run is not None
    assert run_folders.read_status(run) in ("running", "failed")
    run = run.rename(run.with_name(whole.name))  # the killer is in the recipe
    resumed = fit(launcher, [*killed, "--ckpt_path=last"], tmp_path)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert not differences(outcome(whole), outcome(run))
