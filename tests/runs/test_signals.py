"""Signals that end a fit: which are listened to, and what SLURM is asked for."""

import signal
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from dml_lightning.runs import signals


def trainer(environment: object) -> Any:
    """As much of a trainer as is asked for the cluster."""
    return SimpleNamespace(
        _accelerator_connector=SimpleNamespace(cluster_environment=environment),
        strategy=SimpleNamespace(barrier=lambda name: None),
        is_global_zero=True,
        global_step=7,
        world_size=1,
    )


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the handlers back that a test replaces."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What SLURM is asked for, in its place."""
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    return commands


def test_slurm_asks_by_its_own_signal_unless_that_is_turned_off() -> None:
    assert signals.requeue_signal(trainer(LightningEnvironment())) is None
    assert signals.requeue_signal(trainer(SLURMEnvironment())) == signal.SIGUSR1
    assert signals.requeue_signal(trainer(SLURMEnvironment(requeue_signal=signal.SIGUSR2))) == signal.SIGUSR2
    assert signals.requeue_signal(trainer(SLURMEnvironment(auto_requeue=False))) is None


def test_a_signal_leaves_a_note_and_no_more(handlers: None) -> None:
    callback, run = signals.StopOnSignal(), trainer(SLURMEnvironment(requeue_signal=signal.SIGUSR2))
    callback.on_train_start(run, SimpleNamespace())  # type: ignore[arg-type]
    assert callback._agreed(run, 0) == 0
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.raise_signal(number)
        assert callback._agreed(run, 3) == number


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({"SLURM_JOB_ID": "17"}, "17"),
        ({"SLURM_JOB_ID": "18", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"}, "17_3"),
    ],
)
def test_this_job_is_requeued_of_an_array_this_task(
    asked: list[list[str]], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], job: str
) -> None:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    signals.requeue()
    assert asked == [["scontrol", "requeue", job]]


def test_a_job_that_cannot_be_requeued_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("PATH", "")
    with pytest.warns(UserWarning, match=r"SLURM job 17 was not requeued: .*scontrol.* Submit it again"):
        signals.requeue()


@pytest.mark.parametrize(("number", "again"), [(signal.SIGTERM, 0), (signal.SIGUSR1, 1)])
def test_the_process_ends_with_the_signals_status(
    asked: list[list[str]], monkeypatch: pytest.MonkeyPatch, number: signal.Signals, again: int
) -> None:
    """SIGTERM ends the job; SLURM's signal asks for another go before."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with pytest.raises(SystemExit) as ended:
        signals._stop(trainer(SLURMEnvironment()), number)
    assert ended.value.code == 128 + number
    assert len(asked) == again
