"""Run folders of which a part was edited, or taken from another run: every command that reads the part names it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from dml_lightning.cli import main
from dml_lightning.gallery.trained import TrainedRun


@pytest.fixture(scope="module")
def tested(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tested copy of the run of each arm."""
    folder = tmp_path_factory.mktemp("tested")
    left_out = shutil.ignore_patterns("wandb", "csv", "last.ckpt")
    copies = {arm: Path(shutil.copytree(run, folder / arm, ignore=left_out)) for arm, run in runs.items()}
    for run in copies.values():
        main(["test", f"--run={run}", "--tracking.wandb=disabled"])
    return copies


@pytest.fixture
def run(tested: dict[str, Path], tmp_path: Path) -> Path:
    """A tested run of the triplet arm, to be changed, beside data that nobody comes to read."""
    (tmp_path / "crops").mkdir()
    (tmp_path / "boxes.csv").touch()
    return Path(shutil.copytree(tested["triplet"], tmp_path / "run"))


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    return capsys.readouterr().err


READERS = {
    "report": ["report", "RUN", "--format=md"],
    "test": ["test", "--run=RUN"],
    "validate": ["validate", "--run=RUN"],
    "count": ["count", "--run=RUN", "--predictions=RUN/../boxes.csv"],
    "drift": ["drift", "--run=RUN", "--predictions=RUN/../boxes.csv"],
    "predict": ["predict", "--run=RUN", "--data=RUN/../boxes.csv"],
    "enroll": ["enroll", "--run=RUN", "--crops=RUN/../crops", "--label=teal"],
    "gallery": ["gallery", "list", "--run=RUN"],
    "remove": ["gallery", "remove", "--run=RUN", "--label=teal"],
    "recalibrate": ["gallery", "recalibrate", "--run=RUN", "--data=RUN/../boxes.csv"],
    "export": ["export", "--run=RUN", "--out=RUN/out"],
}
EVERY = tuple(READERS)


def words_of(command: str, run: Path) -> list[str]:
    return [word.replace("RUN", str(run)) for word in READERS[command]]


def test_a_whole_run_lists_its_files_and_is_read(run: Path) -> None:
    files = {path.stem: set(json.loads(path.read_text())) for path in (run / "digests").iterdir()}
    read = {"recipe.fit.yaml", "checkpoints/best.ckpt"}
    assert files["fit"] == read
    assert files["val"] == read | {"embeddings/val.npz", "metrics/val.json", "gallery/0000.json"}
    assert files["test"] == read | {"embeddings/test.npz", "metrics/test.json"}
    TrainedRun.load(str(run))
    main(["report", str(run), "-o", str(run / "page.md")])


@pytest.mark.parametrize("command", EVERY)
def test_an_edited_recipe_is_named(run: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = run / "recipe.fit.yaml"
    content = yaml.safe_load(recipe.read_text())
    content["data"]["context"] += 0.25
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    said = refusal(words_of(command, run), capsys)
    assert f"{recipe} is not the file that dml fit wrote" in said
    assert f"delete {run / 'digests'}" in said


@pytest.mark.parametrize("command", EVERY)
def test_changed_weights_are_named(run: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    best = run / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    next(iter(content["state_dict"].values())).mul_(2)
    torch.save(content, best)
    assert f"{best} is not the file that dml fit wrote" in refusal(words_of(command, run), capsys)


@pytest.mark.parametrize("command", [name for name in EVERY if name not in ("test", "validate")])
@pytest.mark.parametrize("stage", ["val", "test"])
def test_embeddings_of_the_other_arm_are_named(
    run: Path, tested: dict[str, Path], command: str, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = run / "embeddings" / f"{stage}.npz"
    shutil.copy(tested["softmax"] / "embeddings" / own.name, own)
    said = refusal(words_of(command, run), capsys)
    again = {"val": "dml validate", "test": "dml test"}[stage]
    assert f"{own} is not the file that {again} wrote" in said
    assert f"{again} --run {run} makes" in said


@pytest.mark.parametrize("command", [name for name in EVERY if name != "validate"])
def test_a_gallery_with_a_class_less_is_named(run: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    base = run / "gallery" / "0000.json"
    fields = json.loads(base.read_text())
    fields["class_names"].pop()
    base.write_text(json.dumps({key: value for key, value in fields.items() if key != "words_sha256"}))
    assert f"{base} is not the file that dml validate wrote" in refusal(words_of(command, run), capsys)


def test_a_base_of_another_run_that_was_added_is_named(
    run: Path, tested: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (tested["softmax"] / "gallery").iterdir():
        shutil.copy(file, run / "gallery" / file.name.replace("0000.json", "0001.json"))
    said = refusal(words_of("gallery", run), capsys)
    assert f"{run}/gallery/0001.json is of another run: dml validate wrote gallery/0000.json" in said


def test_edited_numbers_are_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "metrics" / "test.json"
    numbers = json.loads(path.read_text())
    path.write_text(json.dumps(numbers | {"test/balanced_accuracy": 1.0}))
    assert f"{path} is not the file that dml test wrote" in refusal(words_of("report", run), capsys)


def test_results_of_an_earlier_checkpoint_are_named_with_what_makes_them_again(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test of a fit that then went on and found better weights."""
    best = run / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    torch.save({**content, "later": 1}, best)
    (run / "digests" / "fit.json").unlink()
    said = refusal(words_of("report", run), capsys)
    assert f"{run}/embeddings/val.npz was made of another checkpoints/best.ckpt than the one in {run}" in said
    main(["validate", f"--run={run}", "--tracking.wandb=disabled"])
    said = refusal(words_of("report", run), capsys)
    assert f"{run}/embeddings/test.npz was made of another checkpoints/best.ckpt" in said
    main(["test", f"--run={run}", "--tracking.wandb=disabled"])
    main(words_of("report", run))


def test_a_change_that_is_meant_is_taken_without_the_digests(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = run / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    content["state_dict"]["encoder.head.0.weight"].mul_(-1)
    torch.save(content, best)
    shutil.rmtree(run / "digests")
    before = np.load(run / "embeddings" / "test.npz")["vectors"]
    said = refusal(words_of("test", run), capsys)
    assert f"the gallery of {run} is of the encoder" in said
    assert f"dml validate --run {run} makes the gallery of new weights" in said
    assert (np.load(run / "embeddings" / "test.npz")["vectors"] == before).all()
    main(["validate", f"--run={run}", "--tracking.wandb=disabled"])
    main(["test", f"--run={run}", "--tracking.wandb=disabled"])
    assert isinstance(main(["gallery", "list", f"--run={run}"]), pd.DataFrame)
    assert (np.load(run / "embeddings" / "test.npz")["vectors"] != before).any()


@pytest.mark.parametrize("command", ["test", "validate"])
def test_other_crop_options_than_the_run_s_are_refused(
    run: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal([*words_of(command, run), "--data.context=0.9", "--data.normalisation=frame"], capsys)
    assert "was trained on crops with another context, normalisation: leave out --data.context" in said


def test_a_trial_replaces_nothing(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for command in ("validate", "test"):
        main([command, f"--run={run}", "--tracking.wandb=disabled", "--trainer.fast_dev_run=2"])
    assert [path for path in before if path.read_bytes() != before[path]] == []  # a difference of pictures takes hours
