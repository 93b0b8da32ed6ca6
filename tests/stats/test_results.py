"""Questions, and the sentence of one difference."""

from dataclasses import replace

import pytest

from dml_lightning.stats.arms import compare_arms
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
