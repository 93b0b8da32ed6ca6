"""Launchers that start another number of processes than the trainer expects."""

import pytest

from dml_lightning.runs import launch


@pytest.mark.parametrize(
    ("variables", "devices", "nodes", "message"),
    [
        ({"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4"}, 4, 1, "is 4, but srun started 8"),
        ({"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4"}, "[0, 1]", 2, "is 4, but srun"),
        ({"SLURM_NTASKS": "2"}, 2, 1, "needs --ntasks-per-node"),
    ],
)
def test_srun_mismatches(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], devices: int | str, nodes: int, message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        launch.check_launch(devices if isinstance(devices, int) else [0, 1], nodes)


@pytest.mark.parametrize("devices", [4, "4", "auto", -1, "0,1,2,3", [0, 1, 2, 3]])
def test_what_agrees_or_only_lightning_knows_is_let_through(monkeypatch: pytest.MonkeyPatch, devices: object) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    launch.check_launch(devices, 2)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    launch.check_launch(1, 1)
