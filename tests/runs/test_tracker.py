"""Weights & Biases, where it takes long or cannot be had."""

from pathlib import Path
from typing import Any

import pytest
import wandb
from lightning.pytorch.loggers import WandbLogger

from dml_lightning.runs.tracker import SYNC, RunLogger, timeouts, tolerated


def test_waiting_is_short_unless_the_variables_of_wandb_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_INIT_TIMEOUT", "WANDB_FINISH_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    assert timeouts() == {"init_timeout": 30, "finish_timeout": 180}
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2.5")
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "7")
    assert timeouts() == {"init_timeout": 2.5, "finish_timeout": 7}


def test_what_wandb_does_not_take_is_told_on_one_line() -> None:
    with (
        pytest.warns(UserWarning, match=r"^Weights & Biases did not take the table a: no network$"),
        tolerated("the table a"),
    ):
        raise wandb.errors.CommError("no network\nand a page of details")


def test_other_errors_are_not_tolerated() -> None:
    with pytest.raises(RuntimeError, match="ours"), tolerated("the table"):
        raise RuntimeError("ours")


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_run_that_cannot_start_online_goes_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    started: list[str] = []

    def experiment(self: Any) -> str:
        started.append(self._wandb_init["mode"])
        if len(started) == 1:
            raise wandb.errors.CommError("no network")
        return "a run"

    monkeypatch.setattr(WandbLogger, "experiment", property(experiment))
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    logger = RunLogger(tmp_path, project="p", offline=mode == "offline")
    logger._wandb_init["mode"] = mode
    if mode == "offline":
        with pytest.raises(wandb.errors.CommError):
            _ = logger.experiment
        return
    with pytest.warns(UserWarning, match="cannot track this run online") as told:
        assert logger.experiment == "a run"
    assert started == ["online", "offline"]
    assert SYNC.format(run=tmp_path) in str(told[0].message)
