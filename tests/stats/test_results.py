"""Answers as sentences, JSON and tables."""

import pandas as pd
import pytest

from dml_lightning.stats.arms import compare_arms
from tests.stats.runs import asked, runs, strict


def test_a_comparison_says_what_it_is_about() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1}, folds=7)
    assert compare_arms(table, asked()).sentence.endswith("this speaks of these classes.")
    by_fold = compare_arms(table, asked(unit="fold"))
    assert by_fold.sentence.endswith("Units are folds: this speaks of new classes.")
    assert "(7 folds, " in by_fold.sentence
    assert by_fold.arms[0].sentence.endswith("over 7 folds.")


def test_results_are_json_and_frames() -> None:
    result = compare_arms(runs({"softmax": 0.0, "triplet": 0.1}), asked())
    loaded = strict(result)
    assert loaded["sentence"] == result.sentence
    assert loaded["arms"][1]["difference"]["p"] == result.differences[0].p  # type: ignore[index]
    assert loaded["question"]["unit"] == "seed"  # type: ignore[index]
    frame = result.to_frame()
    assert frame["arm"].tolist() == ["softmax", "triplet"]
    assert frame["verdict"].isna().tolist() == [True, False]
    row = frame.iloc[1]
    assert row["difference_mean"] == result.differences[0].estimate.mean
    assert row["mean"] == result.arms[1].estimate.mean
    pd.testing.assert_frame_equal(result.arms[1].to_frame(), frame.iloc[[1]].reset_index(drop=True))
    assert ",8,0," in frame.to_csv()
    assert "8.0" not in frame.to_csv()


def test_question_errors() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1})
    with pytest.raises(ValueError, match="arm 'nca' has no runs here; arms with runs: softmax, triplet"):
        compare_arms(table, asked(baseline="nca"))
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 0.5\), got 5"):
        asked(alpha=5)
