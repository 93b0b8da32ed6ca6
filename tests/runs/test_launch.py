"""Launchers that start another number of processes than the trainer expects."""

import pytest
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from dml_lightning.runs import launch


@pytest.mark.parametrize(
    ("variables", "devices", "nodes", "message"),
    [
        ({"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4"}, 4, 1, "is 4, but srun started 8"),
        ({"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4"}, "[0, 1]", 2, "is 4, but srun"),
        ({"SLURM_NTASKS": "2"}, 2, 1, "needs --ntasks-per-node"),
        (
            {"SLURM_NTASKS": "1"},
            2,
            1,
            "started 1 process; .* notebook .* set SLURM_JOB_NAME=interactive, and Lightning",
        ),
    ],
)
def test_srun_mismatches(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], devices: int | str, nodes: int, message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        launch.check_launch(devices if isinstance(devices, int) else [0, 1], nodes)


def test_the_way_out_of_a_notebook_is_one() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_NTASKS", "1")
        patch.setenv("SLURM_JOB_NAME", "jupyter")
        assert SLURMEnvironment.detect()
        with pytest.raises(ValueError, match="SLURM_JOB_NAME=interactive"):
            launch.check_launch(2, 1)
        patch.setenv("SLURM_JOB_NAME", "interactive")
        launch.check_launch(2, 1)
        assert not SLURMEnvironment.detect()  # Lightning starts the processes itself


def test_of_other_mismatches_a_notebook_is_not_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(ValueError, match=r"torchrun started 1 process; let the products agree\.$"):
        launch.check_launch(2, 1)


@pytest.mark.parametrize("devices", [4, "4", "auto", -1, "0,1,2,3", [0, 1, 2, 3]])
def test_what_agrees_or_only_lightning_knows_is_let_through(monkeypatch: pytest.MonkeyPatch, devices: object) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    launch.check_launch(devices, 2)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    launch.check_launch(1, 1)
