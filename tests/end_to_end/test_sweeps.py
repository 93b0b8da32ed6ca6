"""configs/sweep: what `wandb sweep` reads, and the commands that an agent makes of it."""

import re
from itertools import product
from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from dml_lightning.cli import main
from dml_lightning.commands.jobs import planned_recipe
from dml_lightning.compare.experiment import Arm
from dml_lightning.runs.fairness import recipe_differences
from tests import ROOT
from tests.compare.experiments import experiment

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


def test_the_comparison_that_a_sweep_feeds_is_fair_and_has_other_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "comparing.md").read_text(), flags=re.DOTALL)
    settings = yaml.safe_load(block)
    arms = {name: Arm(**arm) for name, arm in settings.pop("arms").items()}
    asked = experiment(arms=arms, train_per_class=[None], **settings)
    recipes = {job.arm: planned_recipe(job) for job in asked.jobs({}) if job.seed == asked.seeds[0]}
    assert recipe_differences(recipes, asked.trained) == []
    margins = {arm: recipe["model"]["init_args"]["loss"]["init_args"]["margin"] for arm, recipe in recipes.items()}
    swept = yaml.safe_load((ROOT / "configs" / "sweep" / "margin.yaml").read_text())["parameters"]
    assert margins["swept"] != margins["shipped"]
    assert margins["swept"] in swept["model.init_args.loss.init_args.margin"]["values"]
    assert not set(asked.seeds) & set(swept["seed_everything"]["values"])


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
