"""Config files in order, then options."""

import pydoc
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ActionConfigFile

from dml_lightning import losses
from dml_lightning.cli import main
from dml_lightning.commands.parser import Parser, merged
from dml_lightning.losses.base import EmbeddingLoss
from dml_lightning.models import Encoder

BASE = {
    "class_path": "dml_lightning.models.Encoder",
    "init_args": {"backbone_args": {"channels": [8, 8], "stem_width": 16}},
}
OF_ENCODER = "--config=encoder: {init_args: {backbone_args: %s}}"


class Other(Encoder):
    """An encoder of another class."""


def parsed(*words: str) -> dict[str, Any]:
    """The encoder's dictionary after some words."""
    parser = Parser()
    parser.add_argument("--config", action=ActionConfigFile)
    parser.add_subclass_arguments(Encoder, "encoder")
    first = f"--config={yaml.safe_dump({'encoder': BASE})}"
    arguments: dict[str, Any] = parser.parse_args([first, *words]).encoder.init_args.backbone_args
    return arguments


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([OF_ENCODER % "{stem_width: 24}"], {"channels": [8, 8], "stem_width": 24}),
        ([OF_ENCODER % "{channels: [4]}"], {"channels": [4], "stem_width": 16}),
        ([OF_ENCODER % "{channels: null, depth: 2}"], {"stem_width": 16, "depth": 2}),
        ([OF_ENCODER % "{}"], {}),
        ([OF_ENCODER % "{}", OF_ENCODER % "{depth: 2}"], {"depth": 2}),
        ([OF_ENCODER % "{channels: [4]}", OF_ENCODER % "{depth: 2}"], {"channels": [4], "stem_width": 16, "depth": 2}),
        (["--encoder.init_args.backbone_args.stem_width=24"], {"channels": [8, 8], "stem_width": 24}),
        (["--encoder.init_args.backbone_args={stem_width: 24}"], {"stem_width": 24}),
    ],
)
def test_dictionaries_of_later_files_change_those_of_earlier_ones(words: list[str], expected: dict[str, Any]) -> None:
    assert parsed(*words) == expected


def test_a_dictionary_of_another_class_is_not_mixed_in() -> None:
    other = "--config=encoder: {class_path: tests.commands.test_parser.Other, init_args: {backbone_args: {depth: 2}}}"
    assert parsed(other) == {"depth": 2}


def test_dictionaries_in_dictionaries_are_merged_too() -> None:
    earlier = {"a": {"x": 1, "y": {"z": 2}}, "b": 3}
    assert merged(earlier, {"a": {"y": {"w": 4}}}) == {"a": {"x": 1, "y": {"z": 2, "w": 4}}, "b": 3}
    assert merged(earlier, {"a": {"y": None}, "b": {"c": 5}}) == {"a": {"x": 1}, "b": {"c": 5}}
    assert earlier == {"a": {"x": 1, "y": {"z": 2}}, "b": 3}


LOSS = "pytorch_metric_learning.losses.TripletMarginLoss"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("triplets_per_anchor", "2", 2),
        ("triplets_per_anchor", "all", "all"),
        ("margin", "0.3", 0.3),
        ("swap", "true", True),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_options_of_a_loss_have_the_type_that_a_file_gives_them(name: str, text: str, value: Any, apart: bool) -> None:
    """An argument without a type whose default is a text would take any value for text."""
    parser = Parser()
    parser.add_argument("--config", action=ActionConfigFile)
    parser.add_argument("--loss", type=EmbeddingLoss)
    option = f"--loss.init_args.loss.init_args.{name}"
    given = [option, text] if apart else [f"{option}={text}"]
    by_option = parser.parse_args(["--loss=PMLLoss", f"--loss.init_args.loss={LOSS}", *given])
    arguments = {"loss": {"class_path": LOSS, "init_args": {name: value}}}
    text_of_file = yaml.safe_dump({"loss": {"class_path": "dml_lightning.losses.PMLLoss", "init_args": arguments}})
    by_file = parser.parse_args([f"--config={text_of_file}"])
    for result in (by_option, by_file):
        read = result.loss.init_args.loss.init_args[name]
        assert (read, type(read)) == (value, type(value))


def test_an_argument_that_is_a_text_stays_one() -> None:
    parser = Parser()
    parser.add_subclass_arguments(Encoder, "encoder")
    result = parser.parse_args(["--encoder=Encoder", "--encoder.init_args.backbone=18"])
    assert result.encoder.init_args.backbone == "18"


def test_the_recipe_of_a_fit_has_the_number(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    loss = f"--model.init_args.loss.init_args.loss={LOSS}"
    arm = ["--model=dml_lightning.models.TripletModule", "--model.init_args.loss=dml_lightning.losses.PMLLoss", loss]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *words, *arm, f"{loss.partition('=')[0]}.init_args.triplets_per_anchor=2", "--print_config"])
    recipe = yaml.safe_load(capsys.readouterr().out)
    assert recipe["model"]["init_args"]["loss"]["init_args"]["loss"]["init_args"]["triplets_per_anchor"] == 2


@pytest.mark.parametrize("loss", ["NPairLoss", "MultiSimilarityLoss", "TripletLoss"])
def test_losses_go_by_name_alone(words: list[str], loss: str, capsys: pytest.CaptureFixture[str]) -> None:
    arm = ["--model=dml_lightning.models.TripletModule", f"--model.init_args.loss={loss}"]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *words, *arm, "--print_config"])
    found = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["loss"]["class_path"]
    assert pydoc.locate(found) is getattr(losses, loss)


def test_a_fit_merges_its_files(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, given in (("small", "{channels: [24, 48, 96, 192], stem_width: 16}"), ("wide", "{stem_width: 24}")):
        (tmp_path / f"{name}.yaml").write_text(f"model: {{init_args: {{encoder: {{backbone_args: {given}}}}}}}\n")
    own = [f"--config={tmp_path}/{name}.yaml" for name in ("small", "wide")]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", words[0], *own, "--print_config"])
    encoder = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["encoder"]["init_args"]
    assert encoder["backbone_args"] == {"channels": [24, 48, 96, 192], "stem_width": 24}
