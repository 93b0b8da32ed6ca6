"""What `dml fit` refuses, and what its options reach."""

from pathlib import Path

import pytest
import yaml
from lightning.pytorch.loggers import WandbLogger

from dml_lightning.cli import main
from tests.end_to_end.arms import arm_words


def test_the_same_recipe_is_not_run_twice_by_accident(
    runs: dict[str, Path], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert runs["softmax"].is_dir()
    with pytest.raises(SystemExit, match="2"):
        main(["fit", *arm_words(words, "softmax")])
    said = capsys.readouterr().err
    assert "has finished" in said
    assert "--rerun" in said


def test_resuming_what_is_not_there_is_an_error(
    runs: dict[str, Path], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = ["fit", *arm_words(words, "triplet"), "--ckpt_path=last"]
    with pytest.raises(SystemExit, match="2"):
        main([*fresh, "--seed_everything=5"])
    assert "no checkpoints/last.ckpt" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(fresh)
    assert "has finished" in capsys.readouterr().err


def test_going_online_is_one_flag(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    seen: dict[str, object] = {}

    def note(self: WandbLogger, *args: object, **settings: object) -> None:
        seen.update(settings)
        raise ValueError("stop here")

    monkeypatch.setattr(WandbLogger, "__init__", note)
    for flag, offline in (([], True), (["--tracking.wandb=online"], False)):
        with pytest.raises(SystemExit):
            main(["fit", *arm_words(words, "softmax"), "--rerun=3", *flag])
        assert seen["offline"] is offline


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--data.known=[mallard, dragon]"], "dragon"),
        (["--data.ood_test=[debris, dead_pixel, person]"], "debris"),
        (["--data.source.init_args.root=/nowhere"], "/nowhere"),
        (["--model.init_args.encoder.backbone=resnet1"], "no backbone named 'resnet1'"),
        (["--model.init_args.warmup=2"], "warmup"),
        (["--name=.."], "--name '..' must name a folder below another"),
        (["--name="], "--name '' must name a folder below another"),
        (["--ckpt_path=/nowhere.ckpt"], "/nowhere.ckpt is neither a file nor last"),
        (["--data.batch=3"], "data.batch"),
        (["--trainer.max_epoch=3"], "max_epoch"),
    ],
)
def test_wrong_input_gets_one_sentence_and_no_traceback(
    words: list[str], capsys: pytest.CaptureFixture[str], wrong: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fit", *arm_words(words, "softmax"), *wrong])
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    told = [line for line in said.splitlines() if line.startswith("dml fit: ") or message in line]
    assert len(told) == 1, said
    assert len(said.splitlines()) < 12, said


@pytest.mark.parametrize("option", ["checkpoint", "backbone_args", "init_args.backbone_args"])
def test_null_reaches_the_encoder(words: list[str], capsys: pytest.CaptureFixture[str], option: str) -> None:
    null = f"--model.init_args.encoder.{option}=null"
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *arm_words(words, "softmax"), null, "--print_config"])
    encoder = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["encoder"]
    assert encoder["init_args"][option.removeprefix("init_args.")] is None
