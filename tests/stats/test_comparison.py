"""Results of a comparison as sentences, JSON and tables."""

from dataclasses import replace

import pandas as pd

from dml_lightning.stats.arms import compare_arms
from tests.stats.runs import asked, runs, strict


def test_a_comparison_says_what_it_is_about() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1}, folds=7)
    over_seeds = compare_arms(table, asked())
    assert over_seeds.sentence.endswith("Units are seeds: this speaks of these classes and these test crops.")
    known = replace(over_seeds, flights=4).sentence
    assert known.endswith("this speaks of these classes and these 4 test flights.")
    assert replace(over_seeds, flights=1).sentence.endswith("these classes and this test flight.")
    by_groups = replace(compare_arms(table, asked(unit="fold")), flights=9).sentence
    assert "over 7 folds, not tested. Folds by groups share flights, so they are not independent: " in by_groups
    assert by_groups.endswith("no p-value and no winner, that speak of these classes and these 9 test flights.")
    novel = table.rename(columns={"map_at_r": "novel_map_at_r"})
    by_class = compare_arms(novel, asked(metric="novel_map_at_r", unit="fold", fold_by="classes"))
    said = replace(by_class, flights=9).sentence
    assert said.endswith("Units are folds of classes: this speaks of new classes on these 9 test flights.")
    assert "(7 folds, " in said
    assert by_class.arms[0].sentence.endswith("over 7 folds.")


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
