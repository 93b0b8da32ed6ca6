"""What finished runs show where some have not finished: no crash, no number that is about other runs than it says."""

import re
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.compare.experiment import Arm
from dml_lightning.compare.findings import _answer, _curve, _question, units_to_show, write_findings
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.table import render_table
from dml_lightning.figures.embeddings import draw_curve
from dml_lightning.files import write_json
from dml_lightning.runs.folder import read_metrics
from tests.compare.experiments import experiment, table_of
from tests.made_up import write_run


@pytest.mark.parametrize(
    ("absent", "row"),
    [
        ("arm == 'triplet'", [0]),
        ("arm == 'softmax'", [1]),  # the baseline
        ("arm == 'triplet' and seed > 0", [0]),  # one unit has no interval
        ("seed > 0", []),
        ("arm != 'none'", []),
    ],
)
def test_a_curve_shows_what_there_is(tmp_path: Path, absent: str, row: list[int]) -> None:
    """At 20 crops some runs have not finished; in `row`, the arms that are shown there."""
    asked = experiment()
    table = table_of(asked)
    missing = table.eval(f"train_per_class == 20 and ({absent})")
    lines = "".join(_curve(asked, table[~missing], _question(asked), tmp_path)).splitlines()
    head, _, *body = [line for line in lines if line.startswith("|")]
    assert head == "| crops | softmax | triplet |"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in body]
    assert [line[0] for line in cells] == ["5", "20", "all"]
    assert [n for n, cell in enumerate(cells[1][1:]) if cell != "-"] == row
    assert all(
        re.fullmatch(r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)", cell) for line in (cells[0], cells[2]) for cell in line[1:]
    )
    assert lines[-1].startswith("Round brackets: range over seeds")
    assert (tmp_path / "curve.png").is_file()


def test_a_figure_leaves_an_absent_point_out() -> None:
    curve = pd.DataFrame(
        [
            {"train_per_class": size, "arm": arm, "mean": 0.5, "low": 0.4, "high": 0.6}
            for size, arm in product(("5", "20", "all"), ("softmax", "triplet"))
            if (size, arm) != ("20", "triplet")
        ]
    )
    (axes,) = draw_curve(curve, "map_at_r").axes
    heights = [np.isfinite(container.lines[0].get_ydata(orig=False)).tolist() for container in axes.containers]
    assert heights == [[True, True, True], [True, False, True]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "20", "all"]


def test_a_size_whose_runs_all_failed_still_counts_in_the_correction(tmp_path: Path) -> None:
    asked = experiment(seeds=[*range(6)])
    table = table_of(asked)
    rows = {}
    for name, kept in (("whole", table), ("part", table.query("train_per_class != 5"))):
        (tmp_path / name).mkdir()
        list(_curve(asked, kept, _question(asked), tmp_path / name))
        curve = pd.read_csv(tmp_path / name / "curve.csv")
        rows[name] = curve.query("train_per_class == 'all' and arm == 'triplet'")
    low = [rows[name]["simultaneous_low"].item() for name in rows]
    assert low[0] == pytest.approx(low[1])
    assert low[0] < rows["whole"]["difference_low"].item()


def test_one_size_is_no_curve(tmp_path: Path) -> None:
    asked = experiment(train_per_class=[None])
    assert list(_curve(asked, table_of(asked), _question(asked), tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_curve_of_one_seed_says_why_there_is_none(tmp_path: Path) -> None:
    asked = experiment(seeds=[0])
    (said,) = _curve(asked, table_of(asked), _question(asked), tmp_path)
    assert "No curve: no arm has two complete seeds" in said


@pytest.mark.parametrize(
    ("sizes", "about"), [([5, None], "all training crops"), ([5, 20], "20 training crops per class")]
)
def test_runs_on_a_smaller_set_do_not_stand_in_for_those_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizes: list[int | None], about: str
) -> None:
    """Every run on the main size has failed."""
    write_json(tmp_path / "run" / "metrics" / "test.json", {"test/map_at_r": 0.5})
    finished = [Outcome(Job("softmax", 0, 0, (), train_per_class=5), tmp_path / "run")]
    write_findings(experiment(train_per_class=sizes), finished, tmp_path, [], [])
    assert f"the answer is about {about}, and no such run has finished" in capsys.readouterr().out
    assert not (tmp_path / "comparison.json").exists()


def test_an_arm_without_complete_units_is_named_in_the_answer(tmp_path: Path) -> None:
    asked = experiment(train_per_class=[None])
    table = table_of(asked).query("arm == 'softmax' or seed == 0").assign(run=str(write_run(tmp_path, "any")))
    said = _answer(table, _question(asked))
    assert "softmax: map_at_r" in said
    assert "Left out, with fewer than two complete seeds: triplet." in said
    assert _answer(table.query("arm == 'triplet'"), _question(asked)).startswith("No comparison: ")


def test_beside_the_answer_over_seeds_stands_the_one_over_flights(tmp_path: Path) -> None:
    asked = experiment(train_per_class=[None], seeds=[0, 1], primary="recall_at_1")
    rows = [
        {"arm": arm, "seed": seed, "fold": 0, "run": str(write_run(tmp_path, arm, seed, spread=spread))}
        for arm, spread in (("softmax", 0.2), ("triplet", 0.8))
        for seed in (0, 1)
    ]
    table = pd.DataFrame([row | read_metrics(Path(row["run"]), "test") for row in rows])
    said = _answer(table, _question(asked))
    assert "Units are seeds: this speaks of these classes and these 4 test flights." in said
    assert "Flight by flight, triplet minus softmax in recall_at_1: -0." in said
    assert "over 4 test flights, too few to speak of other flights." in said


def test_the_way_of_folding_and_the_margin_reach_the_question() -> None:
    question = _question(experiment(fold_by="classes", margin=0.02))
    assert (question.fold_by, question.margin) == ("classes", 0.02)


def test_a_plan_needs_a_comparison(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no comparison.json"):
        units_to_show(experiment(), tmp_path, 0.1)
    with pytest.raises(
        ValueError, match=r"no number of folds shows a difference here\. Only folds by classes, in a num"
    ):
        units_to_show(experiment(unit="fold"), tmp_path, 0.1)
    with pytest.raises(ValueError, match=r"has no comparison.json"):
        units_to_show(experiment(unit="fold", fold_by="classes", primary="novel_map_at_r"), tmp_path, 0.1)


def test_names_of_arms_are_cells_of_the_markdown_tables(tmp_path: Path) -> None:
    asked = experiment(arms={"softmax": Arm([]), "trip|let <b>": Arm([])})
    table = table_of(asked)
    written = render_table(table.query("train_per_class == 5"), _question(asked)).markdown
    written += "".join(_curve(asked, table, _question(asked), tmp_path))
    heads = [line for line in written.splitlines() if line.startswith(("| test split", "| crops"))]
    assert [head.replace(r"\|", "").count("|") for head in heads] == [4, 4]
    assert "<b>" not in written


def test_names_that_are_no_formula_are_drawn(tmp_path: Path) -> None:
    rows = [{"train_per_class": size, "arm": "a $x_{$", "mean": 0.5, "low": 0.4, "high": 0.6}
            for size in ("5", "all")]  # fmt: skip
    draw_curve(pd.DataFrame(rows), "map_at_r", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").is_file()
