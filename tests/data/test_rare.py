"""Classes that are set aside, by crops and by groups."""

import pandas as pd
import pytest

from dml_lightning.data.rare import numbered, rare_classes


def table(**crops: list[str]) -> pd.DataFrame:
    """A crop of each listed group for each class."""
    rows = [(label, group) for label, groups in crops.items() for group in groups]
    return pd.DataFrame(rows, columns=["label", "group"])


def test_few_crops_or_few_groups_make_a_class_rare() -> None:
    own = table(teal=["a", "b", "c"], coot=["a", "b"], swan=["a", "a", "a", "b"], dog=["a"])
    rare = rare_classes(own, min_crops=3, splits=3, listed={"dog"})
    assert numbered(rare) == "coot (2 crops in 2 group(s)), swan (4 crops in 2 group(s))"
    assert rare_classes(own, min_crops=1, splits=1).empty
    assert rare_classes(own[:0], min_crops=1, splits=3).empty
    with pytest.raises(ValueError, match=r"No class has 5 crops .* there are coot \(2 .* Give a smaller min_crops"):
        rare_classes(own, min_crops=5, splits=3)


def test_too_few_groups_for_any_split_are_left_to_the_split() -> None:
    assert rare_classes(table(teal=["a", "a"], coot=["a", "a"]), min_crops=2, splits=4).empty
