"""Weights & Biases, where it takes long or cannot be had."""

import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest
import wandb
from lightning.pytorch.loggers import WandbLogger

from dml_lightning.runs.tracker import RunLogger, timeouts, tolerated


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


@pytest.mark.parametrize("method", ["log_metrics", "log_hyperparams", "log_image", "log_table", "finalize"])
def test_no_failure_of_tracking_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NotADirectoryError(20, "Not a directory", "/dev/null/.local")  # without a home folder

    monkeypatch.setattr(WandbLogger, method, refuse)
    logger = RunLogger(tmp_path, project="p", offline=True)
    with pytest.warns(UserWarning, match=r"^Weights & Biases did not take .*: .* '/dev/null/\.local'$"):
        getattr(logger, method)("given")


@pytest.mark.parametrize(
    ("works", "tried"),
    [
        ({"online"}, ["online"]),
        ({"offline"}, ["online", "offline"]),
        ({"disabled"}, ["online", "offline", "disabled"]),
    ],
)
def test_a_run_that_cannot_start_online_goes_offline_and_then_untracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: set[str], tried: list[str]
) -> None:
    started: list[str] = []

    def experiment(self: Any) -> str:
        started.append(self._wandb_init["mode"])
        if started[-1] not in works:
            raise wandb.errors.CommError("no network") if len(started) == 1 else OSError("no home")
        return "a run"

    monkeypatch.setattr(WandbLogger, "experiment", property(experiment))
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    folder = tmp_path / "it's a run"
    logger = RunLogger(folder, project="p", offline=False)
    logger._wandb_init["mode"] = "online"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert logger.experiment == "a run"
    assert started == tried
    said = [str(each.message) for each in told]
    assert [each.split(" (")[0] for each in said] == [
        "Weights & Biases cannot track this run online",
        "Weights & Biases cannot track this run",
    ][: len(tried) - 1]
    if said:
        assert shlex.split(said[0].split("`")[1])[3].startswith(f"{folder}/wandb/")
    if len(said) > 1:
        assert said[1].endswith("(no home): its folder has all numbers.")
