"""Figures against the numbers that they are given: what is drawn, its text alternative and its table."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dml_lightning.evaluation.distances import DistanceSample
from dml_lightning.report.figures import (
    BINS,
    TrainingCurve,
    add_units,
    coverage_figure,
    curves,
    differences_figure,
    distances_figure,
    roc_figure,
    training_figure,
)
from dml_lightning.report.numbers import POINTS, Coverage
from dml_lightning.stats.arms import compare_arms
from dml_lightning.stats.comparison import Comparison
from tests.stats.runs import asked, runs

LINES: dict[str, dict[str, Any]] = {"triplet": {"color": "#0072b2"}, "softmax": {"color": "#e69f00"}}


def compared(gains: dict[str, float], **changes: object) -> Comparison:
    """Made-up arms compared with softmax over eight seeds."""
    return compare_arms(runs(gains), asked(**changes))


def sample(**changes: object) -> DistanceSample:
    """Few distances, none of them novel."""
    values = {"known": [0.1, 0.2, 0.3, 0.4], "novel": [], "ood": [0.35, 0.6], "intra": [0.2, 0.4], "inter": [0.5, 1.0]}
    return DistanceSample(**{name: np.array(row, float) for name, row in (values | changes).items()})


def test_differences_are_drawn_with_their_simultaneous_intervals() -> None:
    result = compared({"softmax": 0.0, "triplet": 0.1, "plain <b>": -0.1})
    figure = differences_figure(result)
    (trace,) = figure.data
    assert len(result.differences) == 2
    for row, difference in enumerate(result.differences):
        mean = trace["x"][row]
        assert trace["y"][row] == row
        assert mean == pytest.approx(difference.estimate.mean, abs=1e-4)
        assert mean + trace["error_x"]["array"][row] == pytest.approx(difference.simultaneous_high, abs=2e-4)
        assert mean - trace["error_x"]["arrayminus"][row] == pytest.approx(difference.simultaneous_low, abs=2e-4)
        low, high = difference.simultaneous_low, difference.simultaneous_high
        assert trace["hovertext"][row].endswith(f": {difference.estimate.mean:+.3f} [{low:.3f}, {high:.3f}]")
        shown = (difference.arm, difference.estimate.mean, low, high, 8, difference.p, difference.p_holm)
        assert figure.table.rows[row] == [*shown, difference.verdict]
    assert figure.layout["yaxis"]["ticktext"] == [d.arm.replace("<b>", "&lt;b&gt;") for d in result.differences]
    (zero,) = figure.layout["shapes"]
    assert zero["x0"] == zero["x1"] == 0
    assert result.sentence in figure.alt


def test_a_range_is_called_one_also_beside_its_mark() -> None:
    result = compare_arms(runs({"softmax": 0.0, "triplet": 0.1}, seeds=3), asked())
    (trace,) = differences_figure(result).data
    (difference,) = result.differences
    assert trace["hovertext"] == [f"triplet: {difference.estimate.text('+')}"]
    assert ", range " in trace["hovertext"][0]


def test_the_axis_names_the_number_in_full() -> None:
    result = compared({"softmax": 0.0, "triplet": 0.1})
    named = replace(result, question=replace(result.question, metric="balanced accuracy, nearest <prototype>'s"))
    title = differences_figure(named).layout["xaxis"]["title"]["text"]
    assert title == "balanced accuracy, nearest &lt;prototype&gt;'s<br>arm minus softmax"


@pytest.mark.parametrize(("higher", "side"), [(True, "right"), (False, "left")])
def test_the_text_names_the_better_side(higher: bool, side: str) -> None:
    figure = differences_figure(compared({"softmax": 0.0, "triplet": 0.1}, higher_is_better=higher))
    assert f"better is to the {side}." in figure.alt
    assert figure.table.note.startswith("The p-value is from exact sign flips, at least 0.0078 ")  # 2 / 2^8


def test_units_are_added_below_the_mean_in_the_row_of_their_arm() -> None:
    figure = differences_figure(compared({"softmax": 0.0, "a": 0.1, "b": 0.2}))
    (mean,) = figure.data
    assert add_units(figure, {"a": np.array([0.1, 0.3]), "b": np.array([0.2, np.nan])}) is figure
    assert figure.data[-1] is mean  # drawn last, on top
    assert {(tuple(each["x"]), tuple(each["y"])) for each in figure.data[:-1]} == {
        ((0.1, 0.3), (0, 0)),
        ((0.2, None), (1, 1)),
    }


def test_densities_are_counts_over_number_and_width_of_bins() -> None:
    values = sample(known=np.random.default_rng(0).gamma(4.0, 0.1, 500).tolist())
    figure = distances_figure("ours", values, {}, normalized=True)
    known = next(trace for trace in figure.data if trace["name"] == "known to prototype")
    end = figure.layout["xaxis"]["range"][1]
    width = end / BINS
    expected = [
        sum(i * width <= distance < (i + 1) * width for distance in values.known) / 500 / width for i in range(BINS)
    ]
    np.testing.assert_allclose(known["y"], expected, atol=1e-4)
    np.testing.assert_allclose(known["x"], (np.arange(BINS) + 0.5) * width, atol=1e-4)
    assert end >= max(np.quantile(values.known, 0.999), np.quantile(values.inter, 0.999))


def test_distances_without_crops_are_left_out_and_the_others_are_in_the_table() -> None:
    figure = distances_figure("ours", sample(), {}, normalized=False)
    names = ["within a class", "between classes", "known to prototype", "OOD to prototype"]
    assert [trace["name"] for trace in figure.data] == names
    assert [row[0] for row in figure.table.rows] == names
    assert figure.table.rows[2] == ["known to prototype", 4, *np.quantile([0.1, 0.2, 0.3, 0.4], [0.05, 0.5, 0.95])]
    assert "known to prototype, median 0.25" in figure.alt
    assert figure.layout["xaxis"]["title"]["text"] == "Euclidean distance"


def test_thresholds_are_lines_with_names_inside_the_frame() -> None:
    figure = distances_figure("ours", sample(), {"A": 0.3, "C <i>": 5.0}, normalized=True)
    assert [shape["x0"] for shape in figure.layout["shapes"]] == [0.3, 5.0]
    assert figure.layout["xaxis"]["range"][1] > 5.0  # the axis reaches beyond the last of them
    low, high = figure.layout["annotations"]
    assert (low["text"], low["xanchor"]) == ("A", "left")
    assert (high["text"], high["xanchor"]) == ("C &lt;i&gt;", "right")
    assert low["yshift"] != high["yshift"]
    assert figure.table.rows[-2:] == [["threshold A", "", "", 0.3, ""], ["threshold C <i>", "", "", 5.0, ""]]
    assert figure.layout["xaxis"]["title"]["text"] == "Euclidean distance of unit vectors"


def test_an_roc_curve_per_arm_and_chance() -> None:
    """The table holds the largest share of OOD crops refused while at most so many known ones are."""
    rng = np.random.default_rng(0)
    arms = {
        "triplet": sample(known=rng.normal(0, 1, 40), ood=rng.normal(2, 1, 30)),
        "softmax": sample(known=rng.normal(0, 1, 40), ood=rng.normal(0.5, 1, 30)),
    }
    figure = roc_figure(arms, LINES, {"triplet": "0.91", "softmax": "0.60"})
    chance, *drawn = figure.data
    assert chance["x"] == chance["y"] == [0, 1]
    for trace, row, (arm, values) in zip(drawn, figure.table.rows, arms.items(), strict=True):
        assert (trace["name"], trace["line"]) == (arm, LINES[arm])
        assert (trace["x"][0], trace["y"][0], trace["x"][-1], trace["y"][-1]) == (0, 0, 1, 1)
        cuts = [np.inf, *values.known, *values.ood]
        for allowed, refused in zip((0.05, 0.1, 0.2), row[2:], strict=True):
            possible = [(values.ood >= cut).mean() for cut in cuts if (values.known >= cut).mean() <= allowed]
            assert refused == max(possible)
    assert [row[:2] for row in figure.table.rows] == [["triplet", "0.91"], ["softmax", "0.60"]]
    assert figure.alt == "ROC curves; area under the curve: triplet 0.91; softmax 0.60."


def test_the_table_of_a_long_roc_curve_is_exact() -> None:
    """One in 27 of the thresholds is drawn; the table counts at all of them."""
    known = np.arange(4000.0)
    figure = roc_figure({"softmax": sample(known=known, ood=known + 300.5)}, LINES, {"softmax": "0.57"})
    _, trace = figure.data
    assert len(trace["x"]) == len(trace["y"]) == POINTS
    assert (trace["x"][0], trace["y"][0], trace["x"][-1], trace["y"][-1]) == (0, 0, 1, 1)
    assert figure.table.rows == [["softmax", "0.57", 501 / 4000, 701 / 4000, 1101 / 4000]]


def test_curves_skip_steps_without_the_value() -> None:
    history = pd.DataFrame({"step": [0, 5, 9], "val/loss": [0.5, np.nan, 0.25], "never": [np.nan] * 3})
    (curve,) = curves("triplet", history, "val/loss")
    assert (curve.arm, curve.steps.tolist(), curve.values.tolist()) == ("triplet", [0, 9], [0.5, 0.25])
    assert curves("triplet", history, "never") == curves("triplet", history, "absent") == []


def curve(arm: str, *values: float) -> TrainingCurve:
    return TrainingCurve(arm, np.arange(len(values)), np.array(values))


def test_runs_of_one_arm_share_its_line_and_one_entry_of_the_legend() -> None:
    drawn = [curve("triplet", 1.0, 0.5), curve("softmax", 2.0, 1.5), curve("triplet", 0.8, 0.4)]
    figure = training_figure("Loss", "loss", drawn, LINES, type="log")
    assert [trace["line"] for trace in figure.data] == [LINES[each.arm] for each in drawn]
    assert [trace["showlegend"] for trace in figure.data] == [True, True, False]
    assert {trace["opacity"] for trace in figure.data} == {0.55}
    assert [trace["y"] for trace in figure.data] == [[1.0, 0.5], [2.0, 1.5], [0.8, 0.4]]
    assert figure.layout["yaxis"]["type"] == "log"
    assert figure.table.rows == [["triplet", 1.0, 0.5], ["softmax", 2.0, 1.5], ["triplet", 0.8, 0.4]]
    assert figure.alt.startswith("Loss. triplet: from 1.000 to 0.500; softmax: ")
    alone = training_figure("Loss", "loss", drawn[:2], LINES)
    assert {trace["opacity"] for trace in alone.data} == {1}


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    (trace,) = training_figure("Loss", "loss", [curve("triplet", *np.linspace(1, 0, 5000))], LINES).data
    assert len(trace["x"]) == len(trace["y"]) == POINTS
    assert (trace["x"][0], trace["y"][0], trace["x"][-1], trace["y"][-1]) == (0, 1, 4999, 0)


def test_refused_shares_are_drawn_over_the_shares_asked_for() -> None:
    arms = {
        "triplet": Coverage({0.05: 0.04, 0.1: 0.12}, 0.05, {}, 60, 4),
        "softmax": Coverage({0.05: 0.05, 0.2: 0.31}, 0.05, {}, 60, 4),
    }
    figure = coverage_figure(arms, LINES)
    diagonal, *drawn = figure.data
    assert diagonal["x"] == diagonal["y"] == [0, 0.2]
    assert [(trace["name"], trace["x"], trace["y"]) for trace in drawn] == [
        ("triplet", [0.05, 0.1], [0.04, 0.12]),
        ("softmax", [0.05, 0.2], [0.05, 0.31]),
    ]
    assert figure.table.rows[:2] == [["triplet", "5 %", 0.04], ["triplet", "10 %", 0.12]]
    assert figure.alt.endswith("triplet: 0.040 at 5 %; softmax: 0.050 at 5 %.")
