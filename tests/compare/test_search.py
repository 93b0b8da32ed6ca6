"""Random search: different settings, as many for every arm, the best by validation."""

import math
from pathlib import Path
from typing import Any

import pytest

from dml_lightning.cli import main
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.search import Range, Search
from dml_lightning.files import write_json


def outcome(folder: Path, arm: str, trial: int, value: float | None) -> Outcome:
    run = folder / f"{arm}-{trial}"
    write_json(run / "metrics" / "val.json", {"val/selection_map_at_r": value})
    return Outcome(Job(arm, 1000, 0, (), test=False, trial=trial), run)


def test_trials_are_different_and_the_first_is_the_recipe_itself() -> None:
    search = Search(7, {"a": {"x": [1, 2, 3], "y": [0, 1]}})
    settings = list(search.settings("a"))
    assert settings[0] == ()
    assert len(set(settings)) == 7
    assert settings == list(search.settings("a"))


def test_as_many_values_as_further_trials_are_enough() -> None:
    search = Search(4, {"a": {"x": [1, 2, 3]}})
    search.check(["a"], [0], [0])
    assert {*search.settings("a")} == {(), ("--x=1",), ("--x=2",), ("--x=3",)}
    spaces: list[tuple[dict[str, Any], int]] = [({"x": [1, 2]}, 2), ({"x": [], "y": Range(0, 1)}, 0), ({}, 0)]
    for space, settings in spaces:
        with pytest.raises(ValueError, match=f"space of a has {settings} settings beside its own"):
            Search(4, {"a": space}).check(["a"], [0], [0])


def test_ranges_are_drawn_evenly_in_their_logarithm() -> None:
    search = Search(400, {"a": {"x": Range(1e-4, 1e-2, log=True)}})
    values = [float(words[0].partition("=")[2]) for words in search.settings("a") if words]
    assert min(values) >= 1e-4
    assert max(values) <= 1e-2
    assert sum(value < 1e-3 for value in values) / len(values) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{low: 1, high: 0}", "a range needs low < high (and low > 0 with log), got 1.0 and 0.0."),
        ("{low: 0, high: 1, log: true}", "a range needs low < high (and low > 0 with log), got"),
        ("[1, null]", "null is no value to try; leave it out, the first trial is the arm's own"),
    ],
)
def test_values_that_cannot_be_tried_get_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: str, said: str
) -> None:
    space = f"{{a: {{x: {values}}}, b: {{x: [1, 2]}}}}"
    arms = "{a: {configs: []}, b: {configs: []}}"
    text = f"name: n\nshared: []\narms: {arms}\nsearch: {{trials: 2, space: {space}}}"
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(SystemExit):
        main(["compare", "--config", str(tmp_path / "e.yaml"), "--out", str(tmp_path / "runs")])
    assert capsys.readouterr().err.startswith(f"dml compare: search.space of a, x: {said}")


def test_a_trial_that_failed_or_diverged_is_the_worst(tmp_path: Path) -> None:
    search = Search(3, {"a": {"x": [1, 2, 3]}})
    failed = Outcome(Job("a", 1000, 0, (), trial=2), error="margin 5 is infeasible")
    trials = [outcome(tmp_path, "a", 0, None), failed, outcome(tmp_path, "a", 1, 0.1)]
    job, value = search.best(trials)["a"]
    assert (job.trial, value) == (1, 0.1)
    assert math.isnan(search.value(failed))
    with pytest.raises(ValueError, match=r"no trial of a has reached a value.*infeasible"):
        search.best(trials[:2])


@pytest.mark.parametrize(("smaller", "best"), [(False, 1), (True, 0)])
def test_the_best_by_the_sense_of_the_metric(tmp_path: Path, smaller: bool, best: int) -> None:
    search = Search(2, {"a": {"x": [1, 2]}}, smaller_is_better=smaller)
    trials = [outcome(tmp_path, "a", 0, 0.2), outcome(tmp_path, "a", 1, 0.4)]
    assert search.best(trials)["a"][0].trial == best


def test_a_metric_that_no_run_has_is_an_error(tmp_path: Path) -> None:
    search = Search(2, {"a": {"x": [1, 2]}}, metric="val/none")
    with pytest.raises(ValueError, match="has no number val/none"):
        search.best([outcome(tmp_path, "a", 0, 0.2)])
