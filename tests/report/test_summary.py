"""The answer and the differences of a report."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.report.inputs import read_inputs
from dml_lightning.report.summary import answer_text, arms_section, arms_table, differences_section
from dml_lightning.stats.arms import compare_arms
from dml_lightning.stats.comparison import Comparison
from dml_lightning.stats.estimates import cell_text
from dml_lightning.stats.results import Question, higher_is_better
from dml_lightning.stats.units import unit_means
from tests.made_up import RunOf, arrays


def test_several_seeds_are_compared_in_the_number_that_is_named(run_of: RunOf) -> None:
    runs = [run_of(arm, seed) for arm in ("softmax", "triplet") for seed in (0, 1, 2)]
    given = read_inputs(runs, "ood_fpr95_ood_positive")
    assert isinstance(given.comparison, Comparison)
    assert not given.question.higher_is_better
    assert given.comparison.differences[0].arm == "triplet"
    assert given.comparison.differences[0].estimate.units == 3
    assert "ood fpr95 ood positive" in given.comparison.sentence


def test_runs_are_compared_by_the_rule_of_every_comparison(run_of: RunOf) -> None:
    """The verdict, intervals and ranges of the stats package, over seeds and not over cells of seed and fold."""
    runs = [run_of(arm, seed, fold=fold) for arm in ("softmax", "triplet") for seed in range(5) for fold in (0, 1)]
    given = read_inputs(runs, "recall_at_1")
    question = Question("recall_at_1", "softmax")
    expected = compare_arms(given.table(), question)
    assert isinstance(given.comparison, Comparison)
    for own, other in zip(given.comparison.arms, expected.arms, strict=True):
        assert own.estimate == other.estimate
        assert own.estimate.units == 5
    table = arms_table(given)
    means = unit_means(given.table(), "recall_at_1")
    assert table.columns == ["number", "softmax", "triplet"]
    assert table.rows[:2] == [["runs", 10, 10], ["Recall@1", *(cell_text(means[arm].to_numpy()) for arm in means)]]
    assert table.note.startswith("Square brackets: 95 % interval over seeds.")
    few = arms_table(read_inputs(runs[:8], "recall_at_1"))
    assert few.note.startswith("Round brackets: range over seeds")
    section = arms_section(given)
    assert section.tables[1].title == "Recall@1, mean over seeds with its 95 % interval"
    assert arms_section(read_inputs(runs[:8], "recall_at_1")).tables[1].title.endswith("with its range")


def test_folds_that_share_data_have_ranges_in_the_table_of_arms(run_of: RunOf) -> None:
    given = read_inputs([run_of("softmax", 0, fold=fold) for fold in range(5)], "recall_at_1")
    of_novel = ["novel Recall@1", "novel MAP@R", "novel MAP@R, other groups"]
    for fold_by, intervals in (("groups", []), ("classes", of_novel)):
        question = replace(given.question, unit="fold", fold_by=fold_by)
        table = arms_table(replace(given, question=question))
        assert [name for name, cell in table.rows if "[" in str(cell)] == intervals


def test_arms_whose_long_names_begin_alike_have_a_row_each(run_of: RunOf) -> None:
    arms = ["softmax", *(f"triplet semihard margin 0.2 rate {rate}" for rate in ("1e-3", "1e-4"))]
    section = differences_section(read_inputs([run_of(arm, seed) for arm in arms for seed in (0, 1)]))
    assert section is not None
    (figure,) = section.figures
    assert [trace["y"] for trace in figure.data] == [[1, 1], [0, 0], [0, 1]]
    assert figure.layout["yaxis"]["ticktext"] == ["triplet semiha…0.2 rate 1e-3", "triplet semiha…0.2 rate 1e-4"]


def test_one_seed_compares_nothing_and_says_so(run_of: RunOf) -> None:
    given = read_inputs([run_of("softmax"), run_of("triplet")])
    assert given.comparison == "There is one seed per arm, and a comparison over seeds needs two or more."


@pytest.mark.parametrize("flights", [1, 2, 6])
def test_one_run_has_the_spread_that_its_flights_allow(tmp_path: Path, flights: int) -> None:
    given = arrays()
    given["groups"] = np.array([f"flight_{row % flights}" for row in range(len(given["labels"]))])
    np.savez(tmp_path / "ours.npz", **given)
    spread = {1: "", 2: " (range over 2 flights)", 6: " (interval over 6 flights)"}[flights]
    text = answer_text(read_inputs([tmp_path / "ours.npz"]))
    assert f" against 14 OOD crops{spread}. One run" in text
    assert ("] against" in text, ") against" in text) == (flights == 6, flights == 2)


def test_an_arm_with_a_missing_seed_is_named(run_of: RunOf) -> None:
    given = read_inputs([run_of("softmax", 0), run_of("softmax", 1), run_of("triplet", 0)])
    assert not isinstance(given.comparison, str)
    assert given.comparison.left_out == ("triplet",)
    assert "Fewer than two complete seeds: triplet." in answer_text(given)


def test_retrieval_without_the_own_flight_stands_beside_the_plain(run_of: RunOf) -> None:
    given = read_inputs([run_of("softmax")])
    table = arms_table(given)
    shown, numbers = {str(name): value for name, value in table.rows}, given.runs[0].metrics
    for key, name in {"map_at_r": "MAP@R", "novel_map_at_r": "novel MAP@R"}.items():
        assert shown[name] == numbers[key]
        assert shown[f"{name}, other groups"] == numbers[f"{key}_other_groups"]


def test_many_arms_have_a_row_each(run_of: RunOf) -> None:
    arms = [f"arm {letter}" for letter in "abcdef"]
    table = arms_table(read_inputs([run_of(arm) for arm in arms]))
    assert table.columns[:2] == ["arm", "runs"]
    assert [row[0] for row in table.rows] == arms


def test_a_smaller_area_of_risk_is_better() -> None:
    assert not higher_is_better("aurc")
    assert not higher_is_better("aurc_prototype")
    assert higher_is_better("novel_oscr")
