"""Retrieval with and without the query's own flight, and which of both chooses checkpoints."""

import inspect
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.retrieval import Selection, retrieval_values, selection
from dml_lightning.metrics.retrieval import retrieval_summary
from tests import ROOT
from tests.evaluation.lines import laid_out
from tests.metrics.slow_ranks import slow_ranks

OTHERS = {"recall_at_1_other_groups", "map_at_r_other_groups", "left_out_other_groups"}


def test_by_hand() -> None:
    """Of the crop at 4 the nearest is of the other class, then one of its own."""
    known = [([0.0], 0), ([1.0], 0), ([4.0], 0), ([6.0], 1), ([7.5], 1)]
    result = retrieval_values(laid_out({"reference": known, "known": known}))
    assert result["recall_at_1"] == pytest.approx(4 / 5)
    assert result["r_precision"] == pytest.approx((1 + 1 + 1 / 2 + 1 + 1) / 5)
    # the crop at 4 meets 6 first and then 1: a precision of 1/2 at the second of two
    assert result["map_at_r"] == pytest.approx((1 + 1 + 1 / 4 + 1 + 1) / 5)
    assert set(result) == {"recall_at_1", "r_precision", "map_at_r"} | OTHERS


def test_other_flights_by_hand() -> None:
    """Crops are of two flights in turn: 0, 4 and 7.5 of one, 1 and 6 of the other."""
    known = [([0.0], 0), ([1.0], 0), ([4.0], 0), ([6.0], 1), ([7.5], 1)]
    result = retrieval_values(laid_out({"reference": known, "known": known}))
    # 0 finds 1; 1 finds 0, then 4; 4 meets 6 before 1, its only one of two left; 6 finds 7.5 and 7.5 finds 6
    assert result["recall_at_1_other_groups"] == pytest.approx(4 / 5)
    assert result["map_at_r_other_groups"] == pytest.approx(4 / 5)
    assert result["left_out_other_groups"] == 0


@pytest.mark.parametrize("flights", [1, 2, 5])
def test_other_flights_by_the_definition(split: Evidence, flights: int) -> None:
    """All candidates of the flight are left out, and so is a crop that finds none of its class elsewhere."""
    rng = np.random.default_rng(flights)
    drawn = {name: rng.integers(flights, size=len(part)).astype(str) for name, part in split.sets.items()}
    result = retrieval_values(replace(split, groups=drawn))
    for prefix, name in {"": "known", "novel_": "novel"}.items():
        part = split.sets[name]  # type: ignore[index]
        groups = torch.from_numpy(drawn[name].astype(np.int64))  # type: ignore[index]
        ranks = [rank for rank in slow_ranks(part.vectors, part.labels, groups=groups) if rank[0]]
        assert result[f"{prefix}left_out_other_groups"] == len(part) - len(ranks)
        expected = np.mean([[rank[1] == 1, rank[3]] for rank in ranks], axis=0) if ranks else [None, None]
        for key, value in zip(("recall_at_1", "map_at_r"), expected, strict=True):  # without a query there is no mean
            assert result.get(f"{prefix}{key}_other_groups") == (value if value is None else pytest.approx(value))


def test_novel_species_are_searched_among_themselves(split: Evidence) -> None:
    result = retrieval_values(split)
    novel = split.sets["novel"]
    alone = retrieval_summary(novel.vectors, novel.labels)
    assert result["novel_map_at_r"] == alone.map_at_r
    assert result["novel_recall_at_1"] == alone.recall_at[1] == 1  # there is one novel class
    assert len(result) == 12


def test_where_groups_mean_nothing_there_are_plain_numbers_only(split: Evidence) -> None:
    whole, plain = retrieval_values(split), retrieval_values(replace(split, other_groups=False))
    assert plain == {key: value for key, value in whole.items() if not key.endswith("_other_groups")}
    recipe = yaml.safe_load((ROOT / "configs" / "data" / "omniglot.yaml").read_text(encoding="utf-8"))
    assert recipe["data"]["other_groups"] is False  # every person drew every character once


# The choice --------------------------------------------------------------------------------------


def test_the_choice_knows_no_embedding() -> None:
    """So both arms of a comparison, and every epoch of a fit, are judged by one number."""
    assert list(inspect.signature(selection).parameters) == ["labels", "groups", "other_groups"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=40))
def test_the_choice_by_its_definition(crops: list[tuple[int, int]]) -> None:
    lost: Counter[int] = Counter()
    asked: Counter[int] = Counter()
    for row, (label, group) in enumerate(crops):
        own = [other for place, (each, other) in enumerate(crops) if each == label and place != row]
        asked[label] += bool(own)
        lost[label] += bool(own) and all(other == group for other in own)
    few = 0 < sum(asked.values()) >= 5 * sum(lost.values())
    none_whole = not any(count and lost[label] == count for label, count in asked.items())
    result = selection(np.array([c[0] for c in crops], np.int64), np.array([str(c[1]) for c in crops], str))
    assert result.metric == ("map_at_r_other_groups" if few and none_whole else "map_at_r")
    assert bool(result.reason) == (result.metric == "map_at_r")


def test_a_fifth_may_be_lost_and_no_more() -> None:
    """Twenty crops of five classes; class 0 has a flight for each crop, class 4 one flight and another crop."""
    labels = np.repeat(np.arange(5), 4)
    groups = np.array([f"{row % 4}" for row in range(20)])
    assert selection(labels, groups) == Selection("map_at_r_other_groups", "")
    groups[16:] = "9"
    assert selection(labels, groups) == Selection(
        "map_at_r",
        "4 of 20 known crops, among them all of 1 of 5 classes, have no other of their class in another group",
    )
    labels[-1] = 0  # a class of three in one flight and one elsewhere: no class is lost
    labels[-2] = 0
    groups[-3:] = "0"  # class 4 is now two crops, in flights 9 and 0
    assert selection(labels, groups).metric == "map_at_r_other_groups"


def test_without_two_crops_of_a_class_it_is_the_plain_number() -> None:
    assert selection(np.arange(3), np.array(list("abc"))) == Selection(
        "map_at_r", "no known crop has another of its class"
    )


def test_it_is_turned_off_by_the_data() -> None:
    labels, groups = np.array([0, 0]), np.array(["a", "b"])
    assert selection(labels, groups).metric == "map_at_r_other_groups"
    assert selection(labels, groups, other_groups=False) == Selection("map_at_r", "data.other_groups is false")
