"""Which classes a matrix shows when there are many."""

import numpy as np
import pandas as pd

from dml_lightning.report.matrices import class_distances_figure, confusion_figure, foremost


def test_the_foremost_classes_are_those_of_the_foremost_pairs() -> None:
    values = np.random.default_rng(0).normal(size=(40, 40))
    values[3, 5] = np.nan
    np.fill_diagonal(values, 99.0)
    pairs = [(a, b) for a in range(40) for b in range(40) if a != b and (a, b) != (3, 5)]
    expected: list[int] = []
    for pair in sorted(pairs, key=lambda pair: -values[pair]):
        expected += [label for label in pair if label not in expected]
    np.testing.assert_array_equal(foremost(values, 7), sorted(expected[:7]))
    np.testing.assert_array_equal(foremost(values[:7, :7], 7), np.arange(7))
    np.testing.assert_array_equal(foremost(values[:1, :1]), [0])


def test_a_part_of_a_matrix_keeps_its_shares_and_says_what_it_is() -> None:
    names = [f"class {label}" for label in range(50)]
    counts = np.diag(np.full(50, 10))
    counts[40, 2] = 10
    confused = confusion_figure("ours", counts, names)
    assert confused.title == "ours (30 of 50 classes, those confused most)"
    assert "class 40 is called class 2 in 50 % of its crops" in confused.alt
    assert "balanced accuracy 0.990" in confused.alt
    row = [name for name, *_ in confused.table.rows].index("class 40")
    assert confused.data[0]["z"][row][list(confused.table.columns).index("class 2") - 1] == 0.5

    distances = pd.DataFrame(np.full((50, 50), 2.0), names, names)
    distances.loc["class 49", "class 48"] = distances.loc["class 48", "class 49"] = 1.0
    near = class_distances_figure("ours", distances, 2.5)
    assert (near.data[0]["zmin"], near.data[0]["zmax"]) == (0, 2.5)
    assert near.title == "ours (30 of 50 classes, those nearest to each other)"
    assert {"class 48", "class 49"} < set(near.table.columns)
