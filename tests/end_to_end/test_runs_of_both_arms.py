"""`dml fit`, `validate` and `test` as a user runs them, in this process."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dml_lightning.cli import main
from dml_lightning.models import EmbeddingModule
from dml_lightning.runs import folder as run_folders
from tests.end_to_end.arms import ARMS, StopError, arm_words, interrupt, interrupted

LOGGED = [
    "accuracy",
    "accuracy_knn",
    "accuracy_prototype",
    "active_triplet_fraction",
    "balanced_accuracy",
    "inter_distance",
    "inter_intra_ratio",
    "intra_distance",
    "map_at_r",
    "novel_inter_intra_ratio",
    "novel_map_at_r",
    "novel_recall_at_1",
    "ood_auroc",
    "ood_auroc_far",
    "ood_auroc_near",
    "ood_fpr95_known_positive",
    "ood_fpr95_ood_positive",
    "recall_at_1",
    "worst_anchor_gap",
]


@pytest.mark.parametrize("arm", ARMS)
def test_a_fit_leaves_everything_in_its_own_folder(runs: dict[str, Path], arm: str) -> None:
    run = runs[arm]
    assert run_folders.read_status(run) == "finished"
    for name in ("recipe.fit.yaml", "gallery/0000.json", "metrics/val.json", "csv/fit/metrics.csv"):
        assert (run / name).is_file(), name
    for name in ("best.ckpt", "last.ckpt"):
        assert (run / "checkpoints" / name).is_file(), name
    assert list(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert not list(run.rglob("*.tmp"))


@pytest.mark.parametrize("arm", ARMS)
def test_every_promised_number_is_logged(runs: dict[str, Path], arm: str) -> None:
    values = json.loads((runs[arm] / "metrics" / "val.json").read_text())
    for name in LOGGED:
        assert isinstance(values[f"val/{name}"], float), name
    with (runs[arm] / "csv" / "fit" / "metrics.csv").open() as file:
        columns = csv.DictReader(file).fieldnames or []
    for name in ("loss", "active_triplet_fraction", "hard_triplet_fraction"):
        assert f"train/{name}" in columns


@pytest.mark.parametrize("flag", ["--ckpt_path=last", "--reuse=true"])
def test_an_interrupted_run_goes_on_where_it_stopped(
    runs: dict[str, Path], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    again = [*arm_words(words, "triplet"), f"--runs_root={tmp_path}"]
    interrupted(again)
    (run,) = (tmp_path / "triplet").iterdir()
    assert run_folders.read_status(run) == "failed"
    with pytest.raises(SystemExit, match="2"):
        main(["fit", *again])
    assert "--ckpt_path last goes on with it" in capsys.readouterr().err
    assert main(["fit", *again, flag]) == run
    assert run_folders.read_status(run) == "finished"
    assert {path.name for path in (run / "csv").iterdir()} == {"fit", "fit-1", "best"}
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (run, runs["triplet"])
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_run_that_never_began_starts_over(words: list[str], tmp_path: Path) -> None:
    again = [*arm_words(words, "softmax"), f"--runs_root={tmp_path}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddingModule, "on_train_epoch_start", interrupt)
        with pytest.raises(StopError):
            main(["fit", *again])
    run = main(["fit", *again])
    assert run_folders.read_status(run) == "finished"


def test_another_checkpoint_leaves_the_run_s_results_alone(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["softmax"], run)
    kept = {path: path.read_bytes() for path in (run / "gallery" / "0000.json", run / "metrics" / "val.json")}
    main(["validate", f"--run={run}", "--ckpt_path=none"])
    main(["validate", f"--run={run}", f"--ckpt_path={run}/checkpoints/last.ckpt"])
    assert kept == {path: path.read_bytes() for path in kept}
    assert (run / "other" / "initial" / "gallery" / "0000.json").is_file()
    assert (run / "other" / "last" / "metrics" / "val.json").is_file()
    with pytest.raises(SystemExit, match="2"):
        main(["validate", "--run", str(run), "--data.known=[mallard, gadwall]"])
    assert "the data differ" in capsys.readouterr().err


def test_a_finished_run_is_reused_untouched(runs: dict[str, Path], words: list[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in runs["triplet"].rglob("*") if p.is_file()}
    assert main(["fit", *arm_words(words, "triplet"), "--reuse=true"]) == runs["triplet"]
    assert before == {p: p.stat().st_mtime_ns for p in runs["triplet"].rglob("*") if p.is_file()}


def test_both_arms_start_from_the_same_encoder(words: list[str]) -> None:
    vectors = []
    for arm in ARMS:
        untrained = ["--ckpt_path=none", f"--name=untrained_{arm}"]
        run = main(["test", *arm_words(words, arm)[:-1], *untrained])
        with np.load(run / "embeddings" / "test.npz") as file:
            vectors.append(file["vectors"])
    assert np.array_equal(*vectors)


@pytest.mark.parametrize("arm", ARMS)
def test_test_needs_only_the_run(runs: dict[str, Path], arm: str) -> None:
    assert main(["test", "--run", str(runs[arm])]) == runs[arm]
    values = json.loads((runs[arm] / "metrics" / "test.json").read_text())
    for name in LOGGED:
        assert isinstance(values[f"test/{name}"], float), name
    with np.load(runs[arm] / "embeddings" / "test.npz") as file:
        assert set(file["roles"]) == {"reference", "known", "novel", "ood", "calibration"}
        assert len(file["vectors"]) == len(file["labels"]) == len(file["groups"])
        assert len(np.unique(file["index"])) == len(file["index"])


def test_ood_classes_of_validation_and_test_are_disjoint(runs: dict[str, Path]) -> None:
    main(["test", "--run", str(runs["softmax"])])
    seen = {}
    for stage in ("val", "test"):
        with np.load(runs["softmax"] / "embeddings" / f"{stage}.npz") as file:
            names = file["class_names"][file["labels"]]
            seen[stage] = {role: set(names[file["roles"] == role].tolist()) for role in ("novel", "ood")}
    assert not seen["val"]["ood"] & seen["test"]["ood"]
    assert not seen["val"]["novel"] & seen["test"]["novel"]


def test_the_recipe_is_a_config_that_gives_the_same_run(runs: dict[str, Path], tmp_path: Path) -> None:
    recipe = runs["triplet"] / "recipe.fit.yaml"
    again = main(["fit", f"--config={recipe}", f"--runs_root={tmp_path}"])
    assert again.name == runs["triplet"].name
    states = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (again, runs["triplet"])
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    settings = yaml.safe_load(recipe.read_text())
    assert settings["model"]["init_args"]["loss"]["class_path"].endswith("TripletLoss")
