"""Options of other programs are answered with the keys of this one."""

from typing import Any

import pytest
import yaml

from dml_lightning.cli import main
from dml_lightning.commands.keys import KEYS, keys_for, unrecognized
from tests import ROOT

ARM = ["fit", f"--config={ROOT}/configs/base.yaml", f"--config={ROOT}/configs/data/simulated.yaml"]
ARM += [f"--config={ROOT}/configs/model/triplet.yaml"]


def test_every_key_is_one_of_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*ARM, "--print_config"])
    recipe = yaml.safe_load(capsys.readouterr().out)
    for key in {key for keys in KEYS.values() for key in keys} - {"ckpt_path"}:  # which no config holds
        node: Any = recipe
        for part in key.split("."):
            node = node if part in node else node.get("init_args", {})  # which may be left out in an option
            assert part in node, key
            node = node[part]


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        ("--lr=0.01", "for --lr write --model.init_args.optimizer.init_args.lr."),
        (
            "--batch-size=64",
            "for --batch-size write --data.classes_per_batch and --data.samples_per_class and --data.eval_batch_size.",
        ),
        ("--max_epochs=3", "for --max_epochs write --trainer.max_epochs."),
        ("--data.samples_per_clas=3", "for --data.samples_per_clas write --data.samples_per_class."),
    ],
)
def test_an_unknown_option_is_answered_with_the_key(
    capsys: pytest.CaptureFixture[str], option: str, answer: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*ARM, option])
    assert capsys.readouterr().err == f"dml fit: unrecognized arguments: {option}; {answer}\n"


def test_what_resembles_nothing_gets_no_advice() -> None:
    assert keys_for("--zebra", ["trainer.max_epochs"]) == []
    assert unrecognized("unrecognized arguments: --zebra 3 4", ["name"]) == "unrecognized arguments: --zebra 3 4"
    assert unrecognized("File does not exist: x", ["name"]) == "File does not exist: x"
