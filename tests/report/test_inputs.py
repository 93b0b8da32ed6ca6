"""Which runs may stand in one report, and what is said of those that may not."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from dml_lightning.cli import run_command
from dml_lightning.report.inputs import read_inputs
from dml_lightning.report.summary import answer_text
from dml_lightning.stats.comparison import Comparison
from tests.made_up import Made, RunOf


def test_arms_seeds_and_floors_are_read_from_the_runs(run_of: RunOf) -> None:
    floor = run_of("raw_pixels", trained=False)
    runs = [run_of("triplet", seed) for seed in (0, 1)]
    given = read_inputs([floor, *runs])
    assert list(given.arms) == ["triplet", "raw pixels"]  # floors last
    assert [run.seed for run in given.arms["triplet"]] == [0, 1]
    assert given.question.baseline == "triplet"
    assert given.question.floors == ("raw pixels",)
    assert given.question.higher_is_better
    numbers = json.loads((runs[0] / "metrics" / "test.json").read_text())
    assert given.runs[0].metrics["map_at_r"] == numbers["test/map_at_r"]
    assert len(given.runs[0].history) == 5


def test_arms_that_differ_in_more_than_their_files_are_named(run_of: RunOf) -> None:
    runs = [run_of(arm, seed) for arm in ("softmax", "triplet") for seed in (0, 1)]
    recipe = runs[3] / "recipe.fit.yaml"
    recipe.write_text(recipe.read_text() + "\ntrainer: {max_epochs: 99}\n")
    given = read_inputs(runs)
    assert any("trainer.max_epochs" in sentence for sentence in given.differences)
    assert "the runs differ in more than arm, seed and fold" in answer_text(given)


def test_seeds_of_one_arm_with_another_recipe_are_named(run_of: RunOf) -> None:
    runs = [run_of("triplet", seed, fold=fold) for seed in (0, 1) for fold in (0, 1)]
    assert read_inputs(runs).differences == []
    recipe = runs[3] / "recipe.fit.yaml"
    recipe.write_text(recipe.read_text().replace("margin: 0.2", "margin: 0.9"))
    (sentence,) = read_inputs(runs).differences
    assert sentence.startswith("model.init_args.loss.init_args.margin of triplet: ")
    assert sentence.endswith("has 0.9")
    assert sentence in answer_text(read_inputs(runs))


def test_a_comparison_folder_brings_its_question(run_of: RunOf, tmp_path: Path) -> None:
    runs = [run_of(arm, seed) for arm in ("b", "a") for seed in (0, 1)]
    folder = tmp_path / "runs" / "ours"
    folder.mkdir()
    content = {
        "name": "ours",
        "question": {"metric": "test/map_at_r", "baseline": "a", "unit": "seed", "floors": []},
        "runs": [
            {"arm": run.parent.name, "seed": n % 2, "fold": 0, "run": f"../{run.parent.name}/{run.name}"}
            for n, run in enumerate(runs)
        ],
    }
    (folder / "comparison.json").write_text(json.dumps(content))
    given = read_inputs([folder])
    assert (given.title, given.question.metric, given.question.baseline) == ("ours", "map_at_r", "a")
    assert isinstance(given.comparison, Comparison)
    assert read_inputs([folder], "accuracy").question.metric == "accuracy"
    margin = content | {"question": content["question"] | {"margin": 0.9}}  # type: ignore[operator]
    (folder / "comparison.json").write_text(json.dumps(margin))
    assert "Equality within 0.9 is not tested" in answer_text(read_inputs([folder]))
    assert read_inputs([folder], "accuracy").question.margin is None  # declared for another number
    (folder / "comparison.json").write_text(json.dumps(content))
    rate = "model.init_args.optimizer.init_args.lr"
    recipe = runs[2] / "recipe.fit.yaml"
    own = yaml.safe_load(recipe.read_text())
    own["model"]["init_args"]["optimizer"] = {"init_args": {"lr": 0.1}}
    kept = recipe.read_text()
    recipe.write_text(yaml.safe_dump(own))
    (found,) = [sentence for sentence in read_inputs([folder]).differences if f"{rate}: " in sentence]
    assert found == f"{rate}: b has None, a has 0.1"
    (folder / "comparison.json").write_text(json.dumps(content | {"searched": {"a": [rate], "b": []}}))
    assert not any(f"{rate}: " in sentence for sentence in read_inputs([folder]).differences)
    recipe.write_text(kept)
    (folder / "comparison.json").write_text('{"name": "ours"}')
    with pytest.raises(ValueError, match=r"comparison.json is not what `dml compare` writes"):
        read_inputs([folder])


def test_a_comparison_of_an_earlier_version_keeps_its_folds_and_its_search(run_of: RunOf) -> None:
    runs = [run_of(arm, seed) for arm in ("b", "a") for seed in (0, 1)]
    folder, rate = runs[0].parent.parent, "model.init_args.optimizer.init_args.lr"
    question = {"metric": "novel_map_at_r", "baseline": "a", "unit": "fold", "floors": []}
    rows = [
        {"arm": r.parent.name, "seed": 0, "fold": n % 2, "run": f"{r.parent.name}/{r.name}"} for n, r in enumerate(runs)
    ]
    (folder / "comparison.json").write_text(json.dumps({"name": "ours", "question": question, "runs": rows}))
    given = read_inputs([folder])
    assert (given.question.fold_by, given.question.is_tested, given.searched) == ("groups", False, {})
    search = {"trials": 2, "space": {"a": {rate: [0.1]}, "b": {}}}
    recipe = {"kind of folds": "classes", "search": search}
    (folder / "declared.json").write_text(json.dumps({"recipe": recipe}))
    given = read_inputs([folder])
    assert (given.question.fold_by, given.question.is_tested) == ("classes", True)
    assert given.searched == {"a": {rate}, "b": set()}
    (folder / "declared.json").write_text(json.dumps({"recipe": recipe | {"search": None}}))
    assert read_inputs([folder]).searched == {}


def test_runs_that_no_comparison_declared_are_called_exploratory(run_of: RunOf, tmp_path: Path) -> None:
    runs = [run_of(arm, seed) for arm in ("b", "a") for seed in (0, 1)]
    chosen = "Exploratory: these runs were chosen after their tests, and no comparison declared them."
    given = read_inputs(runs)
    assert chosen in answer_text(given)
    assert chosen in run_command(["report", *map(str, runs), "--format=md"])
    assert chosen not in answer_text(read_inputs(runs[:2]))  # one arm is compared with nothing
    folder = runs[0].parent.parent
    content = {
        "name": "ours",
        "question": {"metric": "map_at_r", "baseline": "a", "unit": "seed", "floors": []},
        "runs": [
            {"arm": run.parent.name, "seed": n % 2, "fold": 0, "run": f"{run.parent.name}/{run.name}"}
            for n, run in enumerate(runs)
        ],
    }
    (folder / "comparison.json").write_text(json.dumps(content))
    whole = read_inputs(runs[::-1])  # all runs of a comparison are that comparison
    assert (whole.title, whole.question, whole.changes) == ("ours", read_inputs([folder]).question, ())
    assert chosen in read_inputs(runs[1:]).changes  # but not some of them
    (folder / "comparison.json").write_text(json.dumps({"runs": {}}))
    assert chosen in read_inputs(runs).changes


def test_no_run_at_all() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        read_inputs([])


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing is neither a run's folder nor an \.npz file"):
        read_inputs([tmp_path / "nothing"])
    with pytest.raises(ValueError, match=r"nothing.npz: there is no such file"):
        read_inputs([tmp_path / "nothing.npz"])


def test_a_run_without_a_test(run_of: RunOf) -> None:
    run = run_of("triplet")
    (run / "metrics" / "test.json").unlink()
    with pytest.raises(ValueError, match=r"has not been tested: run dml test --run .*triplet/0-s0 first"):
        read_inputs([run])


@pytest.mark.parametrize("content", ["", '{"a', "a,b\n1,2,3,4\n", "\x00["])
@pytest.mark.parametrize("name", ["recipe.fit.yaml", "run.json", "metrics/test.json", "csv/fit/metrics.csv"])
def test_a_damaged_file_is_named(run_of: RunOf, name: str, content: str) -> None:
    run = run_of("triplet")
    (run / name).write_text(content)
    with pytest.raises(ValueError, match=rf"triplet/0-s0/{name} is (damaged|no valid YAML)"):
        run_command(["report", str(run), "--format=md"])


def test_runs_on_different_data_are_refused(run_of: RunOf) -> None:
    runs = [run_of("softmax"), run_of("triplet", data="e" * 64)]
    with pytest.raises(ValueError, match=r"saw different data in fold 0 \(digests dddddddddd and eeeeeeeeee\)"):
        read_inputs(runs)
    read_inputs([runs[0], run_of("softmax", 0, fold=1, data="f" * 64)])  # another fold has other crops


def test_the_same_cell_twice_is_refused(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of("triplet")
    copy = tmp_path / "copy"
    run.rename(copy)
    with pytest.raises(ValueError, match="are both arm 'triplet', seed 0, fold 0"):
        read_inputs([copy, run_of("triplet")])


def test_a_number_that_no_run_has_is_refused_with_those_there_are(run_of: RunOf) -> None:
    with pytest.raises(ValueError, match=r"no run has the number 'f1'; there are accuracy, .*map_at_r"):
        read_inputs([run_of("triplet")], "f1")


def test_files_of_other_frameworks_are_arms_of_their_own(tmp_path: Path, made: Made) -> None:
    paths = [tmp_path / f"{name}.npz" for name in ("theirs", "ours")]
    for path in paths:
        np.savez(path, **made())
    given = read_inputs(paths)
    assert list(given.arms) == ["theirs", "ours"]
    assert given.runs[0].folder is None
    assert given.runs[0].recipe == {}
    assert given.runs[0].history.empty


def test_a_row_that_a_kill_cut_short_is_left_out(run_of: RunOf) -> None:
    run = run_of("triplet")
    with (run / "csv" / "fit" / "metrics.csv").open("a") as file:
        file.write("0.12")
    assert len(read_inputs([run]).runs[0].history) == 5
