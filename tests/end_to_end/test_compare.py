"""`dml compare`: arms and floors fitted and tested alike, an answer with intervals, and what can go wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from dml_lightning.cli import main
from dml_lightning.commands.jobs import planned_recipe
from dml_lightning.compare.jobs import Job
from dml_lightning.files import read_json
from dml_lightning.runs.checkpoints import read_checkpoint
from dml_lightning.runs.fairness import differences
from dml_lightning.runs.folder import read_run
from dml_lightning.runs.recipes import read_recipe
from tests import ROOT

MODEL = f"{ROOT}/configs/model"


@pytest.fixture(scope="module")
def settings(words: list[str]) -> dict[str, Any]:
    """What every comparison here shares: tiny fits."""
    return {
        "name": "small",
        "shared": [w.removeprefix("--config=") for w in words if w.startswith("--config=")],
        "overrides": [w for w in words if not w.startswith(("--config=", "--runs_root="))],
        "seeds": [0, 1],
        "schedule": {"workers": 1},
    }


RATE = "model.init_args.optimizer.init_args.lr"
LOSS = "model.init_args.loss.init_args.margin"
ARMS: dict[str, dict[str, Any]] = {
    "untrained": {"configs": [f"{MODEL}/untrained.yaml"], "train": False},
    "softmax": {"configs": [f"{MODEL}/softmax.yaml"]},
    "tri plet": {"configs": [f"{MODEL}/triplet.yaml"]},
}


def write(folder: Path, settings: dict[str, Any], **changes: Any) -> list[str]:
    """The words of a comparison whose settings lie in a file."""
    path = folder / "experiment.yaml"
    content = {**settings, "arms": ARMS, "out": str(folder / "runs"), **changes}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return ["compare", f"--config={path}"]


@pytest.fixture(scope="module")
def finished(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words of a comparison that has been run."""
    command = write(tmp_path_factory.mktemp("compare"), settings, schedule={"workers": 2})
    main(command)
    return command


def folder_of(command: list[str]) -> Path:
    content = yaml.safe_load(Path(command[1].removeprefix("--config=")).read_text())
    return Path(content["out"], content["name"])


def table_of(command: list[str]) -> pd.DataFrame:
    return pd.read_csv(folder_of(command) / "comparison.csv")


def test_a_comparison_ends_with_an_answer_tables_figures_and_a_report(finished: list[str]) -> None:
    folder, table = folder_of(finished), table_of(finished)
    assert table["arm"].tolist() == ["untrained", "softmax", "tri plet"] * 2
    assert table["run"].nunique() == 6
    written = (folder / "comparison.md").read_text()
    mean = table.loc[table["arm"] == "softmax", "map_at_r"].mean()
    assert f"{mean:.3f} (" in written  # a range
    assert "tri plet" in written
    assert "it takes 6 seeds or more" in written
    for name in ("comparison.png", "neighbours.png"):
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 1, name
    asked = json.loads((folder / "comparison.json").read_text())["question"]
    assert (asked["baseline"], asked["floors"]) == ("softmax", ["untrained"])
    assert "<html" in (folder / "report.html").read_text()[:200]


@pytest.mark.parametrize("arm", ["softmax", "tri plet"])
def test_a_run_beside_another_is_bit_by_bit_the_run_alone(finished: list[str], tmp_path: Path, arm: str) -> None:
    beside = Path(table_of(finished).query("arm == @arm and seed == 1")["run"].item())
    command = [word for word in read_run(beside)["stages"]["fit"]["command"] if not word.startswith("--runs_root=")]
    alone = main([*command, f"--runs_root={tmp_path}"])
    one, other = (read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"] for run in (beside, alone))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (beside / "metrics" / "val.json").read_bytes() == (alone / "metrics" / "val.json").read_bytes()


def test_finished_runs_are_taken_as_they_are_and_tested_once(
    finished: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [Path(run) for run in table_of(finished)["run"]]
    before = {run: (run / "run.json").read_bytes() for run in runs}
    main(finished)
    assert "6 of 6 runs were taken from an earlier run." in capsys.readouterr().out
    assert before == {run: (run / "run.json").read_bytes() for run in runs}
    assert {read_run(run)["stages"]["test"]["times"] for run in runs} == {1}


def test_a_question_that_is_changed_after_the_runs_is_told_wherever_the_answer_is(
    finished: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(finished)
    declared = (folder / "declared.json").read_bytes()
    assert json.loads(declared)["primary"] == "balanced_accuracy_prototype"
    assert read_json(folder / "comparison.json")["changes"] == []
    assert "exploratory" not in (folder / "report.html").read_text()
    main([*finished, "--primary=map_at_r"])
    said = " ".join(capsys.readouterr().out.split())
    changed = (
        "The question was changed after runs had been tested "
        "(primary from balanced_accuracy_prototype to map_at_r), so the p-values are exploratory."
    )
    assert changed in said
    assert changed in (folder / "comparison.md").read_text()
    assert changed in (folder / "report.html").read_text()
    assert read_json(folder / "comparison.json")["changes"] == [changed]
    assert (folder / "declared.json").read_bytes() == declared
    main(["report", str(folder), "--metric=recall_at_1", "--format=md"])
    said = capsys.readouterr().out
    assert "The comparison asks of MAP@R; this report asks of Recall@1, so its p-values" in said


def test_runs_record_what_they_saw(finished: list[str]) -> None:
    facts = [read_json(Path(run, "facts.json")) for run in table_of(finished).query("seed == 0")["run"]]
    floor, softmax, triplet = facts
    assert floor == {}
    assert softmax == triplet
    assert softmax["samples_seen"] == 2 * 4 * 4 * 8  # epochs, batches, classes, crops of each


def test_a_test_set_that_was_touched_again_is_noticed(finished: list[str]) -> None:
    runs = dict(zip(*[table_of(finished).query("seed == 1")[c] for c in ("arm", "run")], strict=True))
    paths = {arm: Path(run) for arm, run in runs.items()}
    assert differences(paths, ["softmax", "tri plet"]) == []
    record = paths["softmax"] / "run.json"
    kept = record.read_text()
    try:
        main(["test", "--run", str(paths["softmax"]), "--verbose=false"])
        found = " ".join(differences(paths, ["softmax", "tri plet"]))
        assert "touched 2 times by softmax" in found
    finally:
        record.write_text(kept)


def test_recipes_are_planned_as_runs_save_them(finished: list[str]) -> None:
    rows = table_of(finished).query("seed == 1").set_index("arm")
    for arm, run in rows["run"].items():
        stage = "fit" if arm != "untrained" else "test"
        words = read_run(Path(run))["stages"][stage]["command"][1:]
        last = words.index("--reuse=true" if stage == "fit" else "--ckpt_path=none")
        job = Job(str(arm), 1, 0, tuple(words[:last]), train=stage == "fit")
        assert job.first_words == [stage, *words]
        assert planned_recipe(job) == read_recipe(Path(run))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--trainer.max_epochs=1", "trainer.max_epochs: untrained has 2, tri plet has 1"),
        ("--data.crop_size=40", "data.crop_size"),
        ("--model.init_args.optimizer.init_args.lr=0.9", "model.init_args.optimizer.init_args.lr: softmax has"),
        ("--model.init_args.optimizer.init_args.weight_decay=0.9", "model.init_args.optimizer.init_args.weight_decay"),
        ("--model.init_args.encoder.init_args.embedding_dim=4", "model.init_args.encoder"),
        ("--data.samples_per_class=4", "crops per step"),
        ("--data.augmentation.rotate=0", "data.augmentation.rotate"),
        ("--data.reference_per_class=7", "data.reference_per_class"),
        ("--data.far_ood=[]", "data.far_ood"),
        ("--trainer.limit_test_batches=1", "trainer.limit_test_batches"),
        ("--trainer.val_check_interval=0.5", "trainer.val_check_interval"),
        ("--trainer.callbacks=[]", "trainer.callbacks"),
        ("--data.split_seed=5", "crop table"),
    ],
)
def test_unequal_recipes_are_told_apart(finished: list[str], option: str, said: str) -> None:
    """On the saved recipes of a fair comparison, one of them changed."""
    rows = table_of(finished).query("seed == 0")
    paths = {arm: Path(run) for arm, run in zip(rows["arm"], rows["run"], strict=True)}
    run = paths["tri plet"]
    name = "run.json" if said == "crop table" else "recipe.fit.yaml"
    kept = (run / name).read_text()
    content = yaml.safe_load(kept)
    if said == "crop table":
        content["stages"]["fit"]["data"] = "another"
    else:
        *path, last = option.removeprefix("--").partition("=")[0].split(".")
        place = content
        for key in path:
            place = place[key]
        place[last] = yaml.safe_load(option.partition("=")[2])
    try:
        (run / name).write_text(json.dumps(content) if name == "run.json" else yaml.safe_dump(content))
        found = differences(paths, ["softmax", "tri plet"])
        code = ("code of the fit", "code of the test")
        found = [sentence for sentence in found if not sentence.startswith(code)]
        assert found
        assert all(sentence.startswith(said.split(":")[0]) for sentence in found)
        assert said in found[0]
    finally:
        (run / name).write_text(kept)


@pytest.mark.slow
def test_an_unequal_comparison_is_refused_unless_told(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {**ARMS, "tri plet": {**ARMS["tri plet"], "options": ["--trainer.max_epochs=1"]}}
    settings = {**settings, "seeds": [0], "overrides": [
        word for word in settings["overrides"] if "max_epochs" not in word
    ], "shared": [*settings["shared"], str(tmp_path / "short.yaml")]}  # fmt: skip
    (tmp_path / "short.yaml").write_text("trainer: {max_epochs: 2}\n")
    command = write(tmp_path, settings, arms=arms)
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "trainer.max_epochs: untrained has 2, tri plet has 1" in capsys.readouterr().err
    assert not list(folder_of(command).glob("*/*"))  # refused before any run
    main([*command, "--allow_differences=true"])
    assert "Not equal between the arms: trainer.max_epochs" in capsys.readouterr().out
    said = read_json(folder_of(command) / "comparison.json")["differences"]
    assert any("trainer.max_epochs" in sentence for sentence in said)


@pytest.mark.slow
def test_a_failed_run_loses_no_other_and_alone_runs_again(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    margin = tmp_path / "margin.yaml"
    margin.write_text("model: {init_args: {loss: {init_args: {margin: 5.0}}}}\n")  # beyond its bound
    arms = {"softmax": ARMS["softmax"], "tri plet": {"configs": [f"{MODEL}/triplet.yaml", str(margin)]}}
    command = write(tmp_path, settings, arms=arms)
    with pytest.raises(SystemExit, match="2"):
        main(command)
    said = capsys.readouterr()
    assert "2 of 4 runs failed, first tri plet, seed 0, fold 0" in said.err
    assert "margin" in said.err
    assert table_of(command)["arm"].tolist() == ["softmax", "softmax"]
    assert "Left out" in said.out
    before = {run: Path(run, "run.json").read_bytes() for run in table_of(command)["run"]}
    margin.write_text("model: {init_args: {loss: {init_args: {margin: 0.3}}}}\n")
    main(command)
    assert before == {run: Path(run, "run.json").read_bytes() for run in before}
    assert table_of(command)["arm"].tolist() == ["softmax", "tri plet"] * 2


@pytest.mark.slow
def test_a_search_gives_every_arm_as_many_trials_and_touches_no_test(settings: dict[str, Any], tmp_path: Path) -> None:
    arms = {arm: ARMS[arm] for arm in ("softmax", "tri plet")}
    space = {
        "softmax": {RATE: {"low": 1e-4, "high": 1e-2, "log": True}},
        "tri plet": {RATE: [0.001, 0.01], LOSS: [0.1, 0.3]},
    }
    command = write(tmp_path, {**settings, "seeds": [0]}, arms=arms, search={"trials": 2, "space": space})
    main(command)
    found = read_json(folder_of(command) / "search.json")
    trials = pd.DataFrame(found["trials"])
    assert trials.groupby("arm").size().tolist() == [2, 2]
    assert not any(Path(run, "metrics", "test.json").exists() for run in trials["run"])
    for arm, own in trials.groupby("arm"):
        best = own.sort_values("value", ascending=False).iloc[0]
        assert bool(found["chosen"][arm]) == bool(best["trial"])
        recipe = yaml.safe_load(Path(best["run"], "recipe.fit.yaml").read_text())
        reported = table_of(command).query("arm == @arm")["run"].iloc[0]
        chosen = yaml.safe_load(Path(reported, "recipe.fit.yaml").read_text())
        assert chosen["model"] == recipe["model"]


@pytest.mark.slow
def test_a_curve_over_the_training_crops_per_class(settings: dict[str, Any], tmp_path: Path) -> None:
    arms = {arm: ARMS[arm] for arm in ("softmax", "tri plet")}
    command = write(tmp_path, settings, arms=arms, train_per_class=[8, None])
    main(command)
    folder = folder_of(command)
    curve = pd.read_csv(folder / "curve.csv")
    assert curve["train_per_class"].tolist() == ["8", "8", "all", "all"]
    assert "| crops | softmax | tri plet |" in (folder / "comparison.md").read_text()
    with Image.open(folder / "curve.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interruption_ends_the_run_and_the_same_command_goes_on(
    settings: dict[str, Any], tmp_path: Path, number: signal.Signals
) -> None:
    arms = {arm: ARMS[arm] for arm in ("softmax", "tri plet")}
    command = write(tmp_path, {**settings, "seeds": [0]}, arms=arms)
    process = subprocess.Popen(
        [sys.executable, "-m", "dml_lightning", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    runs = tmp_path / "runs" / "small"
    until = time.monotonic() + 240
    while not list(runs.glob("softmax/*/run.json")) and time.monotonic() < until:
        time.sleep(0.1)
    (run,) = runs.glob("softmax/*")
    worker = read_run(run)["stages"]["fit"]["pid"]
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 130, said
    assert "Interrupted. 0 of 2 runs are done." in said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert not Path(f"/proc/{worker}").exists()
    assert not (runs / "tri_plet").exists()  # no other run began
    assert not (run / "metrics" / "test.json").exists()
    main(command)
    assert table_of(command)["arm"].tolist() == ["softmax", "tri plet"]


def test_a_plan_says_how_many_seeds_a_difference_needs(finished: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main([*finished, "--plan=0.05"])
    said = capsys.readouterr().out
    assert "tri plet beside softmax: A difference of 0.05" in said
    assert "seeds for a power of 80%" in said


def test_a_comparison_is_reported_and_planned_from_where_it_was_moved(
    finished: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "moved" / "small"
    shutil.copytree(folder_of(finished), here)
    away = folder_of(finished).rename(tmp_path / "away")
    try:
        main(["report", str(here), "--format=md"])
        main([*finished, f"--out={here.parent}", "--plan=0.05"])
    finally:
        away.rename(folder_of(finished))
    said = capsys.readouterr().out
    assert "No difference shown between tri plet and softmax" in said
    assert "tri plet beside softmax: A difference of 0.05" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [1, 1]}, "seeds must be different numbers"),
        ({"train_per_class": [5, 5]}, "train_per_class must be different numbers"),
        ({"train_per_class": []}, "train_per_class must be different numbers, at least one"),
        ({"train_per_class": [0, None]}, "train_per_class must be 1 or more"),
        ({"baseline": "untrained"}, "is no trained arm"),
        ({"margin": -0.1}, "margin must be a number above 0, got -0.1"),
        ({"arms": {"untrained": ARMS["untrained"]}}, "no arm is trained"),
        ({"fold_by": "classes", "folds": [1, 2, 3]}, "counted 0, 1, 2"),
        ({"plan": 0.1, "name": "none"}, "has no comparison.json"),
        ({"search": {"trials": 1, "space": {}}}, "needs 2 or more"),
        ({"search": {"trials": 2, "space": {"softmax": {"a": [1, 2]}}}}, "as many trials as the others"),
        ({"search": {"trials": 3, "space": {"softmax": {"a": [1]}, "tri plet": {}}}}, "has 1 settings"),
        ({"search": {"trials": 2, "space": {"softmax": {"data.crop_size": [40]}, "tri plet": {LOSS: [0.1]}}}},
         "data.crop_size: softmax, seed 1000, fold 0, trial 0 has 32, softmax, seed 1000, fold 0, trial 1 has 40"),
        ({"search": {"trials": 2, "space": {"softmax": {RATE: [0.01]}, "tri plet": {LOSS: [0.2]}}}},
         "tri plet, seed 1000, fold 0, trial 0 and tri plet, seed 1000, fold 0, trial 1 have the same recipe"),
        ({"search": {"trials": 2, "space": {}}, "folds": [0, 1]}, "sees what the other 1 test"),
        ({"arms": {"a b": ARMS["softmax"], "a_b": ARMS["softmax"]}}, "would share a folder"),
        ({"arms": {"..": ARMS["softmax"]}}, "an arm is named '..': give a name with a letter"),
        ({"arms": {"雁" * 60: ARMS["softmax"]}}, "at most 150 bytes"),
        ({"overrides": ["--trainer.max_epoch=1"]},
         "options of untrained make no recipe: unrecognized arguments: --trainer.max_epoch=1"),
        ({"shared": ["none.yaml"]}, "there is no config file none.yaml"),
        ({"search": {"trials": 2, "seed": 1, "space": {}}}, "one of the seeds to report"),
        ({"search": {"trials": 2, "metric": "test/map_at_r",
                     "space": {"softmax": {"a": [1, 2]}, "tri plet": {"a": [1, 2]}}}}, "val/ metrics"),
    ],
)  # fmt: skip
def test_unusable_comparisons_end_with_one_sentence(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(write(tmp_path, settings, **changes))
    assert not (tmp_path / "runs" / settings["name"] / "logs").exists()  # before any run
    assert said in capsys.readouterr().err
