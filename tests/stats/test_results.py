"""Questions, and the sentence of one difference."""

from dataclasses import replace

import numpy as np
import pytest

from dml_lightning.stats.arms import compare_arms
from dml_lightning.stats.estimates import Estimate
from dml_lightning.stats.paired import t_interval
from dml_lightning.stats.results import COLUMNS, limits
from tests.stats.runs import asked, runs


def test_incomplete_units_are_counted_after_every_verdict() -> None:
    (result,) = compare_arms(runs({"softmax": 0.0, "triplet": 0.1}), asked()).differences
    for changes in ({}, {"p_holm": 0.9}, {"p_holm": None}, {"p_holm": 0.9, "equal_p_holm": 0.01}):
        question = asked(margin=0.5)
        found = replace(result, question=question, estimate=replace(result.estimate, dropped=2), **changes)
        assert found.sentence.endswith(" 2 seeds left out as incomplete.")


def test_question_errors() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1})
    with pytest.raises(ValueError, match="arm 'nca' has no runs here; arms with runs: softmax, triplet"):
        compare_arms(table, asked(baseline="nca"))
    for margin in (0.0, -0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"margin must be a number above 0, got {margin}"):
            asked(margin=margin)
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 0.5\), got 5"):
        asked(alpha=5)


@pytest.mark.parametrize("metric", [*COLUMNS, "balanced_accuracy", "ood_fpr95_ood_positive", "nll", "intra_distance"])
def test_intervals_of_shares_stay_between_0_and_1_and_others_are_as_they_are(metric: str) -> None:
    values = np.array([0.9, 1.0, 1.0, 1.0, 1.0])
    share = metric not in ("nll", "intra_distance", "inter_intra_ratio")
    for each in (values, 1 - values):
        low, high = t_interval(each)
        assert low < 0 or high > 1
        found = Estimate.of(each, 0, 0.05, limits=limits(metric))
        assert (found.low, found.high) == ((max(low, 0), min(high, 1)) if share else (low, high))


def test_values_beyond_the_limits_are_kept_in_the_interval() -> None:
    values = np.array([1.1, 1.2, 1.3, 1.2, 1.1])
    found = Estimate.of(values, 0, 0.05, limits=(0.0, 1.0))
    assert (found.low, found.high) == (t_interval(values)[0], min(t_interval(values)[1], 1.3))
