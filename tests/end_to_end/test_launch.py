"""Two ranks as launchers start them: torchrun, srun (its variables), and two hosts in network namespaces."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dml_lightning.cli import main
from tests import ROOT
from tests.end_to_end.killing import differences, exact_words, outcome
from tests.end_to_end.test_kill_and_resume import only_run

GROUP_NORM = "{channels: [8, 8, 16, 16], stem_width: 8, norm_layer: groupnorm1}"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
RANKS = ["--trainer.strategy=ddp", "--trainer.devices=2", "--data.samples_per_class=4"]


def environment(**more: str) -> dict[str, str]:
    """This process's variables without those of a launcher, and the package on the path."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "TORCHELASTIC"))}
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**kept, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **more}


def spawn(words: list[str], log: Path, **variables: str) -> subprocess.Popen[bytes]:
    """A process that writes what it says into `log`."""
    with log.open("wb") as file:
        return subprocess.Popen(words, env=environment(**variables), cwd=log.parent, stdout=file, stderr=file)


def torchrun(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`torchrun --standalone --nproc_per_node=2 -m dml_lightning fit ...`."""
    return subprocess.run(
        [*TORCHRUN, "--standalone", "--nproc_per_node=2", "-m", "dml_lightning", "fit", *words],
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture
def command(words: list[str], tmp_path: Path) -> list[str]:
    """A fit without batch statistics or dropout: what it computes does not depend on the ranks."""
    kept = [w for w in exact_words(words, "softmax", tmp_path) if "backbone_args" not in w]
    norm = f"--model.init_args.encoder.backbone_args={GROUP_NORM}"
    return [*kept, norm, "--tracking.wandb=disabled", f"--runs_root={tmp_path}/runs"]


@pytest.mark.slow
def test_torchrun_gives_what_one_process_gives(command: list[str], tmp_path: Path) -> None:
    one = main(["fit", *command, "--name=one"])
    done = torchrun([*command, "--name=two", *RANKS], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (two,) = (tmp_path / "runs" / "two").iterdir()
    for told in ("validation split ", "Balanced accuracy on validation: ", f"Run: {two}\n", "Next: dml test --run "):
        assert done.stdout.count(told) == 1, told
    metrics = [json.loads((run / "metrics" / "val.json").read_text()) for run in (one, two)]
    assert metrics[0].keys() == metrics[1].keys()
    for name, value in metrics[0].items():
        assert metrics[1][name] == pytest.approx(value, abs=2e-3, rel=2e-2), name
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, two)]
    assert all(torch.allclose(states[0][k], states[1][k], atol=1e-3) for k in states[0])
    again = torchrun([*command, "--name=two", *RANKS], tmp_path)  # every rank ends, one speaks
    assert again.returncode != 0
    assert again.stderr.count("has finished; --reuse true") == 1
    assert "exitcode  : 2" in again.stderr


def test_a_mismatch_is_told_before_anything_starts(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(SystemExit, match="2"):
        main(["fit", *command, "--trainer.devices=2", "--trainer.num_nodes=3"])
    said = capsys.readouterr().err
    assert "trainer.devices=2 times trainer.num_nodes=3 is 6, but torchrun started 4" in said
    assert not (tmp_path / "runs").exists()


# SLURM ---------------------------------------------------------------------------------------


class Cluster:
    """Stands for SLURM: starts the tasks of a job on this machine and notes what scontrol is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, folder / "asked"
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for name, body in {"scontrol": f'echo "$@" >> {self.asked}', "srun": "exit 1"}.items():
            (bin_folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (bin_folder / name).chmod(0o755)
        self.path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"

    def srun(self, words: list[str], tasks: int, restarts: int = 0) -> list[subprocess.Popen[bytes]]:
        """The tasks of `srun dml fit ...` in job 4242."""
        return [
            spawn(
                [sys.executable, "-m", "dml_lightning", "fit", *words],
                self.folder / f"log{restarts}-{task}",
                PATH=self.path,
                **slurm_variables(task, tasks, restarts),
            )
            for task in range(tasks)
        ]

    def log(self) -> str:
        return "\n".join(path.read_text()[-1500:] for path in self.folder.glob("log*"))


def slurm_variables(task: int, tasks: int, restarts: int) -> dict[str, str]:
    """What srun sets for a task on the only node."""
    variables = {
        "SLURM_JOB_ID": "4242",
        "SLURM_JOB_NAME": "dml",
        "SLURM_NTASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": str(tasks),
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_PROCID": str(task),
        "SLURM_LOCALID": str(task),
        "MASTER_PORT": str(20_000 + os.getpid() % 10_000),
    }
    return {**variables, **({"SLURM_RESTART_COUNT": str(restarts)} if restarts else {})}


def wait_for_rows(folder: Path, rows: int) -> None:
    """Until the run in `folder` has logged so many rows."""
    for _ in range(3000):
        run = only_run(folder)
        file = run / "csv" / "fit" / "metrics.csv" if run else None
        if file and file.is_file() and len(file.read_text().splitlines()) > rows:
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing was logged in {folder}")


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_slurm_job_is_requeued_and_goes_on(words: list[str], tmp_path: Path, tasks: int) -> None:
    command = [
        *exact_words(words, "triplet_memory", tmp_path, every_n_steps=1000),
        "--trainer.max_epochs=3",
        f"--data.batches_per_epoch={30 * tasks}",  # of which ranks that accumulate agree amid a step
        f"--trainer.accumulate_grad_batches={tasks}",
        "--tracking.wandb=disabled",
        "--trainer.strategy=ddp" if tasks > 1 else "--trainer.strategy=auto",
        f"--trainer.devices={tasks}",
    ]
    cluster = Cluster(tmp_path)
    for task in cluster.srun([*command, f"--runs_root={tmp_path}/whole"], tasks):
        assert task.wait(timeout=600) == 0, cluster.log()
    job = [*command, f"--runs_root={tmp_path}/requeued"]
    first = cluster.srun(job, tasks)
    wait_for_rows(tmp_path / "requeued", 5)
    for task in first:
        task.send_signal(signal.SIGUSR1)
    for task in first:
        assert task.wait(timeout=600) == 128 + signal.SIGUSR1, cluster.log()
    assert cluster.asked.read_text().split() == ["requeue", "4242"]
    run = only_run(tmp_path / "requeued")
    assert run is not None
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step % 30, "it ended within an epoch"
    print(f"requeued at step {step} of 90")
    for task in cluster.srun(job, tasks, restarts=1):
        assert task.wait(timeout=600) == 0, cluster.log()
    whole = only_run(tmp_path / "whole")
    assert whole is not None
    assert not differences(outcome(whole), outcome(run))


@pytest.mark.slow
@pytest.mark.parametrize("accumulated", [1, pytest.param(8, marks=pytest.mark.long)])
def test_sigterm_leaves_a_run_to_go_on_with(words: list[str], tmp_path: Path, accumulated: int) -> None:
    command = [
        *exact_words(words, "softmax", tmp_path, every_n_steps=1000),
        f"--data.batches_per_epoch={60 * accumulated}",
        f"--trainer.accumulate_grad_batches={accumulated}",
        "--tracking.wandb=disabled",
        f"--runs_root={tmp_path}/runs",
    ]
    log = tmp_path / "log"
    process = spawn([sys.executable, "-m", "dml_lightning", "fit", *command], log)
    wait_for_rows(tmp_path / "runs", 3)
    process.terminate()
    assert process.wait(timeout=300) == 128 + signal.SIGTERM
    run = only_run(tmp_path / "runs")
    assert run is not None
    assert json.loads((run / "run.json").read_text())["stages"]["fit"]["status"] == "interrupted"
    assert "the same command with --ckpt_path last goes on" in log.read_text()
    assert (run / "checkpoints" / "last.ckpt").is_file()


# Two hosts -----------------------------------------------------------------------------------


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces with an address each and a cable between them."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    names = (f"dml{os.getpid()}a", f"dml{os.getpid()}b")
    commands = [
        *(f"ip netns add {name}" for name in names),
        f"ip link add v0 netns {names[0]} type veth peer name v0 netns {names[1]}",
        *(f"ip -n {name} addr add 10.77.0.{i}/24 dev v0" for i, name in enumerate(names, 1)),
        *(f"ip -n {name} link set {link} up" for name in names for link in ("v0", "lo")),
    ]
    try:
        for line in commands:
            made = subprocess.run(line.split(), capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"no network namespaces here: {line}: {made.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
@pytest.mark.long
def test_two_hosts_give_what_one_process_gives(command: list[str], tmp_path: Path, hosts: tuple[str, str]) -> None:
    one = main(["fit", *command, "--name=one"])
    ranks = ["--trainer.strategy=ddp", "--trainer.devices=1", "--trainer.num_nodes=2"]
    fit = ["fit", *command, "--name=two", *ranks, "--data.samples_per_class=4"]
    processes = [
        spawn(
            [
                *("ip", "netns", "exec", host, *TORCHRUN, "--nnodes=2", "--nproc_per_node=1"),
                *(f"--node_rank={rank}", "--master_addr=10.77.0.1", "--master_port=29511"),
                *("-m", "dml_lightning", *fit),
            ],
            tmp_path / f"host{rank}",
            GLOO_SOCKET_IFNAME="v0",
        )
        for rank, host in enumerate(hosts)
    ]
    for rank, process in enumerate(processes):
        assert process.wait(timeout=600) == 0, (tmp_path / f"host{rank}").read_text()[-3000:]
    (two,) = (tmp_path / "runs" / "two").iterdir()
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, two)]
    assert all(torch.allclose(states[0][k], states[1][k], atol=1e-3) for k in states[0])
