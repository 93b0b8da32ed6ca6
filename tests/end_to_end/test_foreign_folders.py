"""Run folders of others: what their recipe names is not imported, and what their checkpoint holds is not run.

The modules are harmless: each sets a variable of the environment when it is imported or when its class is made.
"""

import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml

from dml_lightning.cli import main
from dml_lightning.commands.jobs import run_job
from dml_lightning.compare.jobs import Job
from dml_lightning.gallery.trained import TrainedRun

MODULE = """
import os

import lightning as L
import torch

from dml_lightning.data.sources import CocoJson

os.environ["HARMLESS_IMPORTED"] = "1"


class Hello(L.Callback):
    def __init__(self):
        os.environ["HARMLESS_MADE"] = "1"


class Optimizer(torch.optim.SGD):
    pass


class Source(CocoJson):
    pass


def optimizer(params, lr: float = 0.1) -> torch.optim.SGD:
    os.environ["HARMLESS_CALLED"] = "1"
    return torch.optim.SGD(params, lr)
"""


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A run whose recipe can be changed, without digests, as its author could leave it; beside it, unread data."""
    left_out = shutil.ignore_patterns("wandb", "csv", "digests", "last.ckpt")
    (tmp_path / "crops").mkdir()
    (tmp_path / "boxes.csv").touch()
    return Path(shutil.copytree(runs["triplet"], tmp_path / "run", ignore=left_out))


@pytest.fixture
def happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What the module `harmless` has done so far."""
    names = ["HARMLESS_IMPORTED", "HARMLESS_MADE", "HARMLESS_CALLED"]
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "harmless.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    yield lambda: [name.removeprefix("HARMLESS_").lower() for name in names if name in os.environ]
    sys.modules.pop("harmless", None)
    for name in names:
        os.environ.pop(name, None)


def change(run: Path, edit: Callable[[Any], None]) -> Path:
    path = run / "recipe.fit.yaml"
    content = yaml.safe_load(path.read_text())
    edit(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def add_callback(content: Any) -> None:
    content["trainer"]["callbacks"].append({"class_path": "harmless.Hello"})


def take_optimizer(content: Any) -> None:
    content["model"]["init_args"]["optimizer"] = {"class_path": "harmless.Optimizer", "init_args": {"lr": 0.1}}


def call_optimizer(content: Any) -> None:
    content["model"]["init_args"]["optimizer"] = {"class_path": "harmless.optimizer"}


def take_source(content: Any) -> None:
    content["data"]["source"]["class_path"] = "harmless.Source"


def log_elsewhere(content: Any) -> None:
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "elsewhere"}}
    content["trainer"]["logger"] = logger


READERS = {
    "test": ["test", "--run=RUN"],
    "test from its recipe": ["test", "--config=RUN/recipe.fit.yaml"],
    "validate": ["validate", "--run", "RUN"],
    "fit from its recipe": ["fit", "-c", "RUN/recipe.fit.yaml", "--name=again"],
    "predict": ["predict", "--run=RUN", "--data=RUN/../boxes.csv"],
    "enroll": ["enroll", "--run=RUN", "--crops=RUN/../crops", "--label=teal"],
    "recalibrate": ["gallery", "recalibrate", "--run=RUN", "--data=RUN/../boxes.csv"],
    "export": ["export", "--run=RUN", "--out=RUN/out"],
}


def words_of(command: str, run: Path) -> list[str]:
    return [word.replace("RUN", str(run)) for word in READERS[command]]


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, said
    return said[0]


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("edit", [add_callback, take_optimizer, call_optimizer, take_source])
def test_a_strange_class_is_named_and_not_imported(
    run: Path,
    happened: Callable[[], list[str]],
    command: str,
    edit: Callable[[Any], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = change(run, edit)
    before = sorted(run.rglob("*"))
    said = refusal(words_of(command, run), capsys)
    assert f"{path} names harmless." in said
    assert "add --trust harmless." in said
    assert happened() == []
    assert sorted(run.rglob("*")) == before


def test_a_trusted_module_is_made(run: Path, happened: Callable[[], list[str]]) -> None:
    change(run, add_callback)
    change(run, take_optimizer)
    main([*words_of("test", run), "--trust=harmless", "--tracking.wandb=disabled"])
    assert happened() == ["imported", "made"]
    assert "trust" not in yaml.safe_load((run / "recipe.test.yaml").read_text())
    trained = TrainedRun.load(str(run), trust=["harmless"])
    assert trained.gallery.class_names


def test_a_function_is_called_by_no_command(
    run: Path, happened: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    change(run, call_optimizer)
    for command in ("test", "fit from its recipe"):
        said = refusal([*words_of(command, run), "--trust=harmless"], capsys)
        assert "harmless.optimizer as optimizer, but functions are never called by name" in said
    assert "called" not in happened()


def test_predict_imports_no_optimizer(
    run: Path, happened: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    change(run, call_optimizer)
    assert "boxes.csv has no column" in refusal([*words_of("predict", run), "--trust=harmless"], capsys)
    assert happened() == []


def test_what_the_user_names_is_trusted(run: Path, happened: Callable[[], list[str]], tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("trainer: {callbacks+: [{class_path: harmless.Hello}]}")
    main([*words_of("test", run), f"--config={own}", "--tracking.wandb=disabled"])
    assert happened() == ["imported", "made"]


def test_a_comparison_tests_the_arms_that_its_own_configs_describe(
    words: list[str], happened: Callable[[], list[str]], tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("trainer: {callbacks+: [{class_path: harmless.Hello}]}")
    more = [f"--config={own}", f"--runs_root={tmp_path}", "--trainer.max_epochs=1", "--tracking.wandb=disabled"]
    outcome = run_job(Job("softmax", 0, 0, (*words, *more)))
    assert outcome.run is not None, outcome.error
    assert (outcome.run / "metrics" / "test.json").is_file()
    assert happened() == ["imported", "made"]


def test_a_logger_that_writes_elsewhere_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    change(run, log_elsewhere)
    assert "lightning.pytorch.loggers.CSVLogger as logger" in refusal(words_of("test", run), capsys)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("command", ["test", "validate", "fit from its recipe"])
def test_a_recipe_does_not_say_how_checkpoints_are_loaded(
    run: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run, lambda content: content.update(weights_only=False))
    assert "sets weights_only, which no recipe of a run does" in refusal(words_of(command, run), capsys)


class Harmless:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a checkpoint\n"),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"state_dict": Harmless()})),
    "object": lambda path: torch.save({"state_dict": Harmless()}, path),
    "tensor": lambda path: torch.save(torch.zeros(3), path),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_a_checkpoint_that_is_none_is_named_and_not_run(
    run: Path, kind: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "here").mkdir()
    monkeypatch.chdir(run / "here")
    best = run / "checkpoints" / "best.ckpt"
    FILES[kind](best)
    said = refusal(words_of(command, run), capsys)
    assert f"{best} ({best.stat().st_size} bytes) is no checkpoint of dml fit" in said
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("command", ["test", "predict"])
def test_a_checkpoint_of_the_other_arm_is_named(
    run: Path, runs: dict[str, Path], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(runs["softmax"] / "checkpoints" / "best.ckpt", run / "checkpoints" / "best.ckpt")
    assert "holds the weights of another arm or encoder: 2 of " in refusal(words_of(command, run), capsys)


def test_no_weights_are_downloaded_for_a_run_that_has_its_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = timm.create_model, []

    def without(model_name: str, pretrained: bool = False, **more: Any) -> Any:
        asked.append(pretrained)
        return create(model_name, pretrained=False, **more)

    monkeypatch.setattr(timm, "create_model", without)
    published = {"backbone": "resnet10t", "pretrained": True}  # the same net, of which timm has weights
    change(run, lambda content: content["model"]["init_args"]["encoder"]["init_args"].update(published))
    TrainedRun.load(str(run))
    for command in ("test", "validate"):
        main([*words_of(command, run), "--tracking.wandb=disabled"])
    assert asked == [False, False, False]
    main([*words_of("test", run), "--tracking.wandb=disabled", "--ckpt_path=none"])  # a floor: as initialised
    assert asked == [False, False, False, True]
