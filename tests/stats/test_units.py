"""Runs averaged to units, and units that are incomplete."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from dml_lightning.stats.arms import compare_arms
from dml_lightning.stats.units import complete, unit_means
from tests.stats.runs import asked, runs


@pytest.mark.parametrize("unit", ["seed", "fold"])
def test_unit_means_are_means_over_the_other_factor(unit: str) -> None:
    table = runs({"triplet": 0.1, "softmax": 0.0}, seeds=3)
    means = unit_means(table.sample(frac=1, random_state=1).sort_values("arm"), "map_at_r", unit)  # type: ignore[arg-type]
    assert list(means) == ["softmax", "triplet"]  # in order of appearance
    for arm, level in product(means, table[unit].unique()):
        cells = table[(table["arm"] == arm) & (table[unit] == level)]["map_at_r"]
        assert means.loc[level, arm] == pytest.approx(cells.mean())


@pytest.mark.parametrize("failure", ["absent", "nan", "inf", "none"])
def test_a_failed_run_takes_its_unit_with_it(failure: str) -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1, "pairs": 0.0}, seeds=4).astype({"map_at_r": object})
    row = table.index[(table["arm"] == "triplet") & (table["seed"] == 1) & (table["fold"] == 0)]
    if failure == "absent":
        table = table.drop(row)
    else:
        table.loc[row, "map_at_r"] = {"nan": np.nan, "inf": np.inf, "none": None}[failure]
    means = unit_means(table, "map_at_r")
    assert means.isna().to_numpy().nonzero()[0].tolist() == [1]
    kept, dropped = complete(means, "triplet", "softmax")
    assert (kept.shape, dropped) == ((3, 2), 1)
    assert complete(means, "pairs", "softmax")[1] == 0
    result = compare_arms(table, asked())
    triplet, pairs = result.differences
    assert (triplet.estimate.units, triplet.estimate.dropped) == (3, 1)
    assert (pairs.estimate.units, pairs.estimate.dropped) == (4, 0)
    assert "1 seed left out as incomplete." in triplet.sentence
    assert "left out" not in pairs.sentence
    paired = kept[:, 0] - kept[:, 1]
    assert triplet.estimate.mean == pytest.approx(paired.mean())
    by_fold = unit_means(table, "map_at_r", "fold")  # seeds averaged: fold 0 lacks one
    assert by_fold["triplet"].isna().tolist() == [True, False]


def test_a_fold_that_failed_in_every_seed_of_an_arm_is_missed() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1}, seeds=3)
    table = table[(table["arm"] == "softmax") | (table["fold"] == 0)]
    result = compare_arms(table, asked())
    assert (result.left_out, result.differences) == (("triplet",), ())
    assert "Left out, with fewer than two complete seeds: triplet." in result.sentence


def test_unit_errors() -> None:
    table = runs({"softmax": 0.0, "triplet": 0.1}, seeds=2)
    with pytest.raises(ValueError, match='unit must be "seed" or "fold", got \'run\''):
        unit_means(table, "map_at_r", "run")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"lacks the column\(s\) fold, recall; it has arm, seed, map"):
        unit_means(table.drop(columns="fold"), "recall")
    with pytest.raises(ValueError, match="arm softmax, seed 0, fold 1 comes twice"):
        unit_means(pd.concat([table, table.iloc[[1]]]), "map_at_r")
    with pytest.raises(ValueError, match="1 of 1 seeds complete, and a comparison needs two or more"):
        compare_arms(runs({"softmax": 0.0, "triplet": 0.1}, seeds=1), asked())
