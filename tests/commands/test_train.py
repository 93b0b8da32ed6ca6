"""What `dml fit` refuses, and what its options reach."""

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from lightning.pytorch.loggers import WandbLogger
from timm.models import save_for_hf

from dml_lightning.cli import main
from dml_lightning.commands.train import plain_warnings, tell_other_sources
from dml_lightning.errors import PACKAGE_FOLDER
from dml_lightning.files import write_json
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.models import EmbeddingModule
from dml_lightning.runs.folder import read_run
from dml_lightning.runs.sources import source_digests
from dml_lightning.types import Batch
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
    for flag, mode in (([], "offline"), (["--tracking.wandb=online"], "online")):
        with pytest.raises(SystemExit):
            main(["fit", *arm_words(words, "softmax"), "--rerun=3", *flag])
        assert seen["mode"] == mode


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
        (["--trainer.limit_val_batches=0"], "trainer.limit_val_batches is 0.0; it has to be above 0"),
        (["--trainer.use_distributed_sampler=true"], "trainer.use_distributed_sampler is True"),
        (["--model.init_args.num_classes=7"], "num_classes is 7 by hand"),
        (["--model.init_args.clutter=true"], "clutter is true by hand"),
        (["--rerun=-1"], "rerun is -1"),
        (["--trainer.max_epochs=many"], "trainer.max_epochs: many is not a whole number or null."),
        (["--tracking.wandb=maybe"], "tracking.wandb: maybe is not one of 'offline', 'online', 'disabled' or null."),
        (["--trainer.callbacks+=LearningRateFinder"], "LearningRateFinder would train at another rate"),
        (["--trainer.profiler=fast"], "`profiler`"),
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


def small(words: list[str], folder: Path) -> list[str]:
    """A fit of its own folder, without a trial of Weights & Biases."""
    return [*arm_words(words, "softmax"), f"--runs_root={folder}", "--tracking.wandb=disabled"]


def test_a_fit_that_never_validates_keeps_its_last_epoch_as_the_best(words: list[str], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="as no epoch was validated or .* the last state counts as the run's best"):
        run = main(["fit", *small(words, tmp_path), "--trainer.check_val_every_n_epoch=3"])
    best, last = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert best["global_step"] == 8
    assert all(torch.equal(best["state_dict"][key], value) for key, value in last["state_dict"].items())
    assert Gallery.load(run / "gallery").class_names == ["canada_goose", "gadwall", "mallard", "snow_goose"]
    assert "val/map_at_r" in json.loads((run / "metrics" / "val.json").read_text())


def test_overfitting_sees_the_same_batches_in_every_epoch(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    step = EmbeddingModule.training_step

    def note(self: EmbeddingModule, batch: Batch, batch_idx: int) -> Any:
        seen.append([*batch.index.tolist(), *(1e4 * batch.images.sum((1, 2, 3))).long().tolist()])
        return step(self, batch, batch_idx)

    monkeypatch.setattr(EmbeddingModule, "training_step", note)
    more = ["--trainer.overfit_batches=2", "--trainer.max_epochs=3", "--data.eval_batch_size=16"]
    run = main(["fit", *small(words, tmp_path), *more])
    assert seen[0] != seen[1]
    assert seen == seen[:2] * 3
    assert (run / "gallery").is_dir()


def test_wandb_is_disabled_by_its_own_variable(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = main(["fit", *arm_words(words, "softmax"), f"--runs_root={tmp_path}", "--trainer.max_epochs=1"])
    assert not (run / "wandb").exists()
    assert (run / "csv" / "fit" / "metrics.csv").is_file()


def test_an_offline_run_leaves_the_variable_of_wandb_alone(runs: dict[str, Path]) -> None:
    assert any(runs["softmax"].glob("wandb/offline-run-*"))
    assert os.environ.get("WANDB_MODE") != "dryrun"  # which Lightning would set


def test_the_data_are_shared_among_ranks_by_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["use_distributed_sampler"] is False


@pytest.mark.slow
def test_a_run_of_a_local_folder_needs_the_folder_no_more(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    save_for_hf(timm.create_model("test_vit", num_classes=3), str(folder))
    own = [word for word in words if "backbone_args" not in word]
    encoder = [f"backbone=local-dir:{folder}", "backbone_args={}", "pretrained=true", "img_size=32"]
    options = [f"--model.init_args.encoder.{option}" for option in encoder]
    run = main(["fit", *arm_words(own, "triplet"), *options, "--trainer.max_epochs=1", f"--runs_root={tmp_path}"])
    shutil.rmtree(folder)
    main(["test", "--run", str(run)])
    trained = TrainedRun.load(str(run))
    assert trained.module(torch.zeros(1, 1, 32, 32)).shape == (1, 8)
    (run / "backbone.json").write_text("{}")
    with pytest.raises(ValueError, match=r"backbone\.json is not the file that dml fit wrote"):
        TrainedRun.load(str(run))


@pytest.mark.slow
def test_turned_classes_are_trained_on_and_known_classes_are_named(words: list[str], tmp_path: Path) -> None:
    turned = ["--data.turned_classes=4", "--data.augmentation={rotate: 10, flip: 0}"]
    run = main(["fit", *arm_words(words, "softmax"), *turned, "--trainer.max_epochs=1", f"--runs_root={tmp_path}"])
    main(["test", "--run", str(run)])
    trained = TrainedRun.load(str(run))
    known = len(trained.gallery.class_names)
    assert (trained.module.num_classes, trained.module.training_classes) == (known, 4 * known)
    logits = trained.module.compute_logits(trained.module(torch.zeros(1, 1, 32, 32)))
    assert logits is not None
    assert logits.shape == (1, known)
    with np.load(run / "embeddings" / "test.npz") as written:
        assert int(written["labels"].max()) < len(written["class_names"])


def test_an_evaluation_tells_of_a_class_that_was_edited_since_the_fit(tmp_path: Path) -> None:
    fit = {"sources": {"ours.Loss": "a", "ours.Miner": "c"}}
    write_json(tmp_path / "run.json", {"stages": {"fit": fit}})
    tell_other_sources(tmp_path, {"ours.Loss": "a", "theirs.Other": "b"})
    with pytest.warns(UserWarning, match=f"The source of ours.Loss has been changed since {tmp_path} was fitted"):
        tell_other_sources(tmp_path, {"ours.Loss": "b", "ours.Miner": "c"})


def test_the_digests_of_sources_are_recorded(runs: dict[str, Path]) -> None:
    sources = read_run(runs["triplet"])["stages"]["fit"]["sources"]
    assert sources["torch.optim.AdamW"] == source_digests({"class_path": "torch.optim.AdamW"})["torch.optim.AdamW"]
    assert not any(name.startswith("dml_lightning") for name in sources)


def test_a_warning_of_this_package_is_told_without_its_place_in_the_source() -> None:
    usual = warnings.formatwarning
    with plain_warnings():
        own, other = (
            warnings.formatwarning(UserWarning("few crops"), UserWarning, str(file), 7)
            for file in (PACKAGE_FOLDER / "data" / "samplers.py", "torch/nn.py")
        )
    assert own == "Warning: few crops\n"
    assert "torch/nn.py:7" in other
    assert warnings.formatwarning is usual
