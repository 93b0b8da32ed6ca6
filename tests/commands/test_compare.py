"""What `dml compare` does around its runs."""

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dml_lightning.commands import compare as command
from dml_lightning.commands.compare import compare
from dml_lightning.compare import findings, tracking
from dml_lightning.compare.experiment import Arm
from dml_lightning.compare.findings import Findings
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.scheduling import Schedule
from dml_lightning.compare.search import Search
from dml_lightning.files import read_json, write_json, write_text
from dml_lightning.runs.fairness import FACTS
from tests.compare.experiments import experiment

Look = Callable[[Sequence[Outcome], Sequence[Job]], None]


def compared(out: Path, **changes: Any) -> Path:
    """A comparison of two arms and a floor, without config files."""
    arms = {"pixels": Arm([], train=False), "softmax": Arm([]), "triplet": Arm([])}
    return compare("ours", [], arms, **{"primary": "map_at_r", "seeds": [0, 1], "out": str(out), **changes})


@pytest.fixture(autouse=True)
def planned(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Recipes by arm that take the place of those composed of config files."""
    recipes = {arm: {"trainer": {"max_epochs": 1}} for arm in ("pixels", "softmax", "triplet")}
    monkeypatch.setattr(command, "planned_recipe", lambda job: recipes[job.arm])
    return recipes


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """Outcomes that take the place of running jobs, shown one after another."""
    outcomes: list[Outcome] = []

    def run_all(jobs: Sequence[Job], schedule: Schedule, logs: Path, look: Look, work: object) -> list[Outcome]:
        assert (logs.parent / "declared.json").is_file()
        for number in range(len(outcomes)):
            look(outcomes[: number + 1], [])
        return [Outcome(job, error="not run") for job in jobs]

    monkeypatch.setattr(command, "run_all", run_all)
    return outcomes


def finished(path: Path, epochs: int = 1) -> Path:
    """A run's folder with what a fair comparison reads of it."""
    for stage in ("fit", "test"):
        write_json(path / f"recipe.{stage}.yaml", {"trainer": {"max_epochs": epochs}})  # also YAML
    write_json(path / "run.json", {"stages": {"fit": {}, "test": {}}})
    write_json(path / "facts.json", dict.fromkeys(FACTS, 1))
    write_json(path / "metrics" / "test.json", {"test/map_at_r": None})  # not finite, but there
    return path


def test_a_primary_number_that_no_run_has_ends_the_comparison_at_the_first(
    tmp_path: Path, ended: list[Outcome]
) -> None:
    run = finished(tmp_path / "run")
    ended += [
        Outcome(Job("pixels", 0, 0, (), train=False), run),  # floors lack some numbers
        Outcome(Job("softmax", 0, 0, ()), error="failed"),
    ]
    with pytest.raises(ValueError, match="6 of 6 runs failed, first pixels, seed 0, fold 0: not run"):
        compared(tmp_path, primary="mpa_at_r")
    ended.append(Outcome(Job("softmax", 1, 0, ()), run))
    with pytest.raises(ValueError, match="runs failed"):
        compared(tmp_path, primary="map_at_r")
    with pytest.raises(ValueError, match=r"softmax, seed 1, fold 0 has no number mpa_at_r.*map_at_r"):
        compared(tmp_path, primary="mpa_at_r")


def test_an_unfair_comparison_ends_with_the_first_seed(tmp_path: Path, ended: list[Outcome]) -> None:
    first, second = finished(tmp_path / "first"), finished(tmp_path / "second", epochs=2)
    ended += [Outcome(Job("softmax", 0, 0, ()), first), Outcome(Job("triplet", 1, 0, ()), second)]
    with pytest.raises(ValueError, match="6 of 6 runs failed"):  # of two seeds
        compared(tmp_path)
    ended.append(Outcome(Job("triplet", 0, 0, ()), second))
    with pytest.raises(ValueError, match="max_epochs: softmax has 1, triplet has 2"):
        compared(tmp_path)
    with pytest.raises(ValueError, match="6 of 6 runs failed"):
        compared(tmp_path, allow_differences=True)


def test_a_tidy_table_of_the_results_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "run_all", None)
    folder = tmp_path / "ours"
    run = {"arm": "softmax", "seed": 0, "fold": 0, "train_per_class": None, "run": "a", "map_at_r": 0.5}
    write_text(folder / "comparison.csv", pd.DataFrame([run]).to_csv(index=False))
    compared(tmp_path, table=str(tmp_path / "tidy.csv"))
    assert capsys.readouterr().out == f"1 numbers of 1 runs in {tmp_path / 'tidy.csv'}.\n"
    assert pd.read_csv(tmp_path / "tidy.csv")[["metric", "value"]].to_numpy().tolist() == [["map_at_r", 0.5]]
    assert [path.name for path in folder.iterdir()] == ["comparison.csv"]


def test_without_the_extra_there_is_no_page_but_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "comparison.md").write_text("a table\n")
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setattr(tracking, "track_summary", lambda *_: None)
    command._publish(Findings(pd.DataFrame(), []), "ours", tmp_path)
    assert capsys.readouterr().out == (
        f"Results: {tmp_path / 'comparison.md'}\n"
        'No report.html: this needs plotly, which an extra installs: pip install "dml-lightning[report]".\n'
    )


def test_other_data_than_those_tested_first_reach_the_answer(
    tmp_path: Path, ended: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {data: finished(tmp_path / data) for data in ("a", "b")}
    for data, run in runs.items():
        write_json(run / "run.json", {"stages": {"fit": {}, "test": {"data": data}}})
    told: list[str] = []
    monkeypatch.setattr(
        findings, "write_findings", lambda experiment, done, folder, changes, unequal: told.extend(changes)
    )
    for data, run in runs.items():

        def run_all(
            jobs: Sequence[Job], schedule: Schedule, logs: Path, look: Look, work: object, run: Path = run
        ) -> list[Outcome]:
            given = [Outcome(Job("softmax", 0, 0, ()), run)]
            look(given, [])
            assert read_json(logs.parent / "declared.json")["data"] == {"0": "a"}  # as soon as the first has finished
            return given

        monkeypatch.setattr(command, "run_all", run_all)
        compared(tmp_path)
        if data == "a":
            assert told == []
            tested = tmp_path / "ours" / "softmax" / "a"  # where runs lie
            write_json(tested / "metrics" / "test.json", {})
            write_json(tested / "recipe.fit.yaml", {"data": {}})
    assert [sentence.split(" (")[0] for sentence in told] == ["The data set was changed after runs had been tested"]


@pytest.mark.parametrize(("seeds", "said"), [(5, "5 seed(s) can show no difference"), (6, "")])
def test_too_few_seeds_are_told_beforehand(
    tmp_path: Path, ended: list[Outcome], capsys: pytest.CaptureFixture[str], seeds: int, said: str
) -> None:
    with pytest.raises(ValueError, match="runs failed"):
        compared(tmp_path, seeds=[*range(seeds)])
    out = capsys.readouterr().out
    assert ("between 2 arms: it takes 6." in out) == bool(said)
    assert said in out


@pytest.mark.parametrize(
    ("fold_by", "primary", "winner"),
    [("groups", "novel_map_at_r", False), ("classes", "map_at_r", False), ("classes", "novel_map_at_r", True)],
)
def test_folds_that_cannot_be_tested_are_told_beforehand(
    tmp_path: Path, ended: list[Outcome], capsys: pytest.CaptureFixture[str], fold_by: str, primary: str, winner: bool
) -> None:
    with pytest.raises(ValueError, match="runs failed"):
        compared(tmp_path, unit="fold", folds=[*range(8)], seeds=[0], fold_by=fold_by, primary=primary)
    assert ("The answer will be an estimate and a range, without a winner." in capsys.readouterr().out) == (not winner)


def test_an_unfair_plan_is_refused_before_anything_runs_or_is_declared(
    tmp_path: Path, planned: dict[str, dict[str, Any]]
) -> None:
    planned["triplet"] = {"trainer": {"max_epochs": 2}}
    with pytest.raises(ValueError, match="max_epochs: pixels has 1, triplet has 2"):
        compared(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]


@pytest.mark.parametrize(
    ("folds", "fold_by", "refused"), [([0, 1], "groups", True), ([0], "groups", False), ([0, 1], "classes", False)]
)
def test_folds_by_groups_beside_named_splits_are_refused_before_anything_runs(
    tmp_path: Path,
    ended: list[Outcome],
    planned: dict[str, dict[str, Any]],
    folds: list[int],
    fold_by: str,
    refused: bool,
) -> None:
    for arm in ("pixels", "softmax", "triplet"):
        planned[arm] = {"trainer": {"max_epochs": 1}, "data": {"split_by": {"train": ["flight_01"]}}}
    with pytest.raises(ValueError, match=r"folds \[0, 1\] deal groups" if refused else "runs failed"):
        compared(tmp_path, folds=folds, fold_by=fold_by)


@pytest.mark.parametrize(
    ("option", "fair"), [("model.init_args.loss.init_args.margin", True), ("data.crop_size", False)]
)
def test_a_search_of_what_arms_have_to_share_is_refused(
    tmp_path: Path, ended: list[Outcome], monkeypatch: pytest.MonkeyPatch, option: str, fair: bool
) -> None:
    def plan(job: Job) -> dict[str, Any]:
        tried = [word.split("=") for word in job.words if word.startswith(f"--{option}=")]
        return {"trainer": {"max_epochs": 1}} | {name[2:]: value for name, value in tried}

    monkeypatch.setattr(command, "planned_recipe", plan)
    space: dict[str, Any] = {arm: {option: [1, 2]} for arm in ("softmax", "triplet")}
    said = "no trial" if fair else r"crop_size: softmax, seed 7, fold 0, trial 0 has None, softmax"
    with pytest.raises(ValueError, match=said):
        compared(tmp_path, search=Search(trials=2, seed=7, space=space))


RATE = "model.init_args.optimizer.init_args.lr"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (None, f"{RATE}: softmax has 0.003, triplet has 0.03. A search with equal trials may choose"),
        ({"softmax": {RATE: [1, 2]}, "triplet": {RATE: [3, 4]}}, "no trial of softmax"),
        ({"softmax": {RATE: [1, 2]}, "triplet": {"model.init_args.loss.init_args.margin": [3, 4]}},
         f"{RATE}: softmax has 0.003, triplet has 0.03"),
    ],
)  # fmt: skip
def test_a_learning_rate_of_its_own_takes_a_search_of_every_arm(
    tmp_path: Path,
    ended: list[Outcome],
    monkeypatch: pytest.MonkeyPatch,
    space: dict[str, Any] | None,
    message: str,
) -> None:
    own = {"pixels": {}, "softmax": {RATE: 0.003}, "triplet": {RATE: 0.03}}

    def plan(job: Job) -> dict[str, Any]:
        tried = dict(word[2:].split("=") for word in job.words if "init_args" in word)
        return {"trainer": {"max_epochs": 1}} | own[job.arm] | tried

    monkeypatch.setattr(command, "planned_recipe", plan)
    search = space and Search(trials=2, seed=7, space=space)
    with pytest.raises(ValueError, match=re.escape(message)):
        compared(tmp_path, search=search)


def test_a_difference_that_is_allowed_is_named_in_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planned: dict[str, dict[str, Any]]
) -> None:
    given = []
    for arm, rate in (("softmax", 0.003), ("triplet", 0.03)):
        run = finished(tmp_path / arm)
        recipe = {"trainer": {"max_epochs": 1}, "model": {"init_args": {"optimizer": {"init_args": {"lr": rate}}}}}
        write_json(run / "recipe.fit.yaml", recipe)
        given.append(Outcome(Job(arm, 0, 0, ()), run))

    def run_all(jobs: Sequence[Job], schedule: Schedule, logs: Path, look: Look, work: object) -> list[Outcome]:
        look(given, [])
        return given

    named: list[str] = []
    monkeypatch.setattr(command, "run_all", run_all)
    monkeypatch.setattr(findings, "write_findings", lambda *args: named.extend(args[-1]))
    sentence = f"{RATE}: softmax has 0.003, triplet has 0.03"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        compared(tmp_path)
    compared(tmp_path, allow_differences=True)
    assert named == [sentence]
    search = Search(trials=2, seed=7, space={arm: {RATE: [1, 2]} for arm in ("softmax", "triplet")})
    assert command._check_fairness(experiment(search=search), given, False) == []  # it has chosen them


def test_the_floors_of_a_plan_share_all_but_the_model(
    tmp_path: Path, ended: list[Outcome], planned: dict[str, dict[str, Any]]
) -> None:
    planned["pixels"] = {"trainer": {"max_epochs": 1}, "model": {"anything": 1}}
    with pytest.raises(ValueError, match="6 of 6 runs failed"):
        compared(tmp_path)
    planned["pixels"]["data"] = {"crop_size": 40}
    with pytest.raises(ValueError, match=r"data.crop_size: pixels has 40, softmax has None"):
        compared(tmp_path)


@pytest.mark.parametrize(
    ("last", "said"),
    [("not run", "not run Their logs"), ("otherwise", "not run 5 failed by this, others otherwise. Their logs")],
)
def test_the_answer_says_how_many_runs_failed_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str, said: str
) -> None:
    def run_all(jobs: Sequence[Job], *_: Any) -> list[Outcome]:
        return [*(Outcome(job, error="not run") for job in jobs[:-1]), Outcome(jobs[-1], error=last)]

    monkeypatch.setattr(command, "run_all", run_all)
    with pytest.raises(ValueError, match=f"6 of 6 runs failed, first pixels.*: {said}"):
        compared(tmp_path)


def test_a_comparison_runs_once_at_a_time(tmp_path: Path) -> None:
    hold = "import sys, pathlib, dml_lightning.files as f\nwith f.locked(pathlib.Path(sys.argv[1])): print(), input()"
    command = [sys.executable, "-u", "-c", hold, str(tmp_path / "name")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            with pytest.raises(ValueError, match=rf"name is being written by process {other.pid} "):
                compare("name", [], {"arm": Arm([])}, out=str(tmp_path))
        finally:
            other.kill()
