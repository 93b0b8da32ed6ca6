"""Splits by the names of groups, and sentences about what rests on one group."""

from typing import Any

import pandas as pd
import pytest

from dml_lightning.data.named_splits import named_split, single_groups

DATES = ["2024-03-02", "2024-03-09", "2024-03-16", "2024-04-01", "flight_1", "flight_10"]
SPLIT_BY = {"train": [r"2024-03-.*"], "val": ["2024-04-01"], "test": ["flight_1"], "calibration": [r"flight_\d\d"]}


def test_names_and_expressions() -> None:
    expected = dict(zip(DATES, ["train", "train", "train", "val", "test", "calibration"], strict=True))
    assert named_split(DATES, SPLIT_BY) == expected
    assert list(named_split(DATES[::-1], SPLIT_BY)) == DATES[::-1]


def test_a_name_stands_for_itself_alone_though_it_is_an_expression_of_others() -> None:
    groups = ["a.c", "abc", "adc"]
    assert named_split(groups, {"train": ["a.c"], "val": ["abc"], "test": ["adc"]})["abc"] == "val"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"val": ["2024-03-09", "2024-04-01"]},
            r"'2024-03-09' is in two splits: .* in train \('2024-03-\.\*'\) and in",
        ),
        (
            {"calibration": ["flight_1"]},
            r"'flight_1' is in two splits: split_by names it in test .* and in calibration",
        ),
        ({"train": ["2024-03-.*6"]}, r"puts 2 of 6 groups into no split: 2024-03-02, 2024-03-09\.$"),
        ({"val": ["2024-04-10"]}, r"split_by\.val has '2024-04-10', which matches no .*; close names: 2024-04-01"),
        ({"val": ["spring"]}, r"'spring', which matches no group as a whole; the data has .* and 1 more\.$"),
        ({"val": ["2024-04"]}, "which matches no group as a whole"),  # a part of the name is not enough
        ({"val": ["(2024"]}, r"'\(2024', which is no group and no expression: missing \)"),
        ({"val": []}, r"split_by\.val is \[\]: list at least one group"),
        ({"val": "2024-04-01"}, r"split_by\.val is '2024-04-01': list at least one group"),
        ({"val": [20240401]}, r"split_by\.val is \[20240401\]: .*, each in quotes"),
        ({"calibration": None}, r"split_by\.calibration is None"),
        ({"vall": ["2024-04-01"]}, "names the split 'vall'; val is one; there are train, val, test, calibration"),
        ({"holdout": ["flight_1"]}, "names the split 'holdout'; there are"),
    ],
)
def test_refused_lists(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named_split(DATES, {**SPLIT_BY, **changed})


@pytest.mark.parametrize("missing", ["train", "val", "test"])
def test_a_missing_split_is_refused(missing: str) -> None:
    rest = {split: entries for split, entries in SPLIT_BY.items() if split != missing}
    with pytest.raises(ValueError, match=rf"split_by\.{missing} is \[\]"):
        named_split(DATES, rest)


def crops(counts: dict[tuple[str, str, str, str], int]) -> pd.DataFrame:
    rows = [key for key, number in counts.items() for _ in range(number)]
    return pd.DataFrame(rows, columns=["label", "role", "split", "group"])


def test_splits_and_classes_of_one_group_are_named() -> None:
    several = {("teal", "known", "train", group): 2 for group in ("f1", "f2")}
    several |= {("coot", "known", "train", "f1"): 4, ("coot", "known", "", "f9"): 1}
    held = {("teal", "known", "val", "f3"): 5, ("coot", "known", "val", "f3"): 3}
    test = {("teal", "known", "test", "f4"): 1, ("coot", "known", "test", "f5"): 1}
    unseen = {("buoy", "ood", "val", "f3"): 7, ("buoy", "ood", "test", "f3"): 7}
    first, second = single_groups(crops({**several, **held, **test, **unseen}))
    assert first == "All 8 known crops of val are of one group, f3: its numbers are of that group."
    listed = "coot in train (4 crops), coot in test (1 crops), teal in test (1 crops)"
    assert second == f"Classes whose crops of a split are of one group: {listed}."


def test_nothing_is_said_where_two_groups_stand_behind_everything() -> None:
    counts = {("teal", "known", split, f"{split}{n}"): 1 for split in ("train", "val", "test") for n in range(2)}
    assert single_groups(crops(counts)) == []
