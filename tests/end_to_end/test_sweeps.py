"""configs/sweep: what `wandb sweep` reads, and the commands that an agent makes of it."""

from itertools import product
from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from dml_lightning.cli import main
from tests import ROOT

SWEEPS = sorted((ROOT / "configs" / "sweep").glob("*.yaml"))


def agent_commands(path: Path) -> list[list[str]]:
    """The words of each run of a grid, as wandb's agent puts them together."""
    sweep = yaml.safe_load(path.read_text())
    keys, values = zip(*((k, p["values"]) for k, p in sweep["parameters"].items()), strict=True)
    commands = []
    for chosen in product(*values):
        arguments = {key: {"value": value} for key, value in zip(keys, chosen, strict=True)}
        flags = create_sweep_command_args({"args": arguments})["args"]
        words = create_sweep_command(list(sweep["command"]))
        commands.append([part for word in words for part in (flags if word == "${args}" else [word])])
    return commands


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_is_judged_on_validation_and_names_its_files(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    assert set(sweep) == {"program", "method", "metric", "parameters", "command"}
    assert sweep["metric"]["name"].startswith("val/")
    assert sweep["method"] in ("grid", "random", "bayes")
    files = [w.removeprefix("--config=") for w in sweep["command"] if w.startswith("--config=")]
    assert all((ROOT / file).is_file() for file in files)


def test_there_is_a_sweep_for_every_usual_question() -> None:
    assert {path.stem for path in SWEEPS} == {"margin", "mining", "embedding_size", "backbone"}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_last_run_of_each_sweep_trains(
    path: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    dml, stage, *rest = agent_commands(path)[-1]
    assert (dml, stage) == ("dml", "fit")
    small = [word for word in words if not word.startswith("--config=") and "backbone_args" not in word]
    swept = [word.split("=")[0] for word in rest]
    small = [word for word in small if word.split("=")[0] not in swept]
    main(["fit", *rest, *small, "--trainer.fast_dev_run=2", "--tracking.wandb=offline", f"--runs_root={tmp_path}"])
