"""Weights & Biases, where it takes long or cannot be had."""

import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest
import wandb
from lightning.pytorch.loggers import WandbLogger

from dml_lightning.runs.tracker import (
    RunLogger,
    TrackingOptions,
    run_loggers,
    timeouts,
    tolerated,
)


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


@pytest.mark.parametrize(
    ("option", "variable", "mode"),
    [
        (None, None, "offline"),
        (None, "", "offline"),
        (None, "disabled", "disabled"),
        (None, "online", "online"),
        ("offline", "disabled", "offline"),
        ("online", "offline", "online"),
        (None, "dryrun", "offline"),
        (None, "run", "online"),
    ],
)
def test_without_an_option_the_variable_of_wandb_decides(
    monkeypatch: pytest.MonkeyPatch, option: Any, variable: str | None, mode: str
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if variable is not None:
        monkeypatch.setenv("WANDB_MODE", variable)
    assert TrackingOptions(wandb=option).mode == mode


def test_a_variable_that_says_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "off")
    with pytest.raises(ValueError, match="WANDB_MODE is 'off'; it may be offline, online, disabled"):
        _ = TrackingOptions().mode


def test_a_disabled_run_has_its_csv_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (csv,) = run_loggers(tmp_path, "fit", "arm", TrackingOptions())
    assert Path(csv.log_dir) == tmp_path / "csv" / "fit"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    options = TrackingOptions(wandb="offline", project="p", group="g", tags=["t"])
    _, tracker = run_loggers(tmp_path, "fit", "a group/arm", options)
    assert isinstance(tracker, RunLogger)
    wanted = {"project": "p", "group": "g", "tags": ["t", "slurm-7"], "mode": "offline"}
    assert {key: tracker._wandb_init[key] for key in wanted} == wanted
    assert tracker._wandb_init["id"] == tracker._wandb_init["name"] == f"a-group-arm-{tmp_path.name}"


@pytest.mark.parametrize(
    ("option", "variable", "project"), [(None, None, "dml_lightning"), (None, "geese", "geese"), ("p", "geese", "p")]
)
def test_variables_of_wandb_stand_where_options_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str | None, variable: str | None, project: str
) -> None:
    for name in ("WANDB_PROJECT", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv("WANDB_PROJECT", variable)
    _, tracker = run_loggers(tmp_path, "fit", "arm", TrackingOptions(wandb="offline", project=option))
    assert isinstance(tracker, RunLogger)
    assert tracker._wandb_init["project"] == project
    assert tracker._wandb_init["tags"] is None  # an empty list would hide WANDB_TAGS
