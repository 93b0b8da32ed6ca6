"""Classes that are too rare to train on and to judge by, where nobody has listed the known ones."""

from collections.abc import Collection

import pandas as pd


def rare_classes(table: pd.DataFrame, min_crops: int, splits: int, listed: Collection[str] = ()) -> pd.DataFrame:
    """Classes with too few crops, or with crops of fewer groups than there are splits to share them.

    >>> table = pd.DataFrame({"label": ["teal"] * 3 + ["coot"] * 2, "group": ["f1", "f2", "f3", "f1", "f1"]})
    >>> rare_classes(table, min_crops=2, splits=3).reset_index().to_numpy().tolist()
    [['coot', 2, 1]]

    Args:
        table: Table with the columns label and group.
        min_crops: Smallest number of crops of a class that is not rare.
        splits: Number of splits that need a group of every class.
        listed: Classes that a list names, which are left out.

    Returns:
        Numbers of crops and groups of each rare class, in columns of these names; classes by name.

    Raises:
        ValueError: Every class is rare.
    """
    splits = min(splits, table["group"].nunique())  # with fewer groups there is no split at all, which says so
    counts = table[~table["label"].isin(listed)].groupby("label")["group"].agg(crops="size", groups="nunique")
    rare: pd.DataFrame = counts[(counts["crops"] < min_crops) | (counts["groups"] < splits)]
    if len(rare) and len(rare) == len(counts):
        raise ValueError(
            f"No class has {min_crops} crops (min_crops) of {splits} groups, one for each split: there are "
            f"{numbered(rare)}. Give a smaller min_crops, fewer split_fractions or another group_by."
        )
    return rare


def numbered(rare: pd.DataFrame) -> str:
    """The classes of `rare_classes` with their numbers, as text.

    >>> numbered(pd.DataFrame({"crops": [2], "groups": [1]}, index=["coot"]))
    'coot (2 crops in 1 group(s))'
    """
    return ", ".join(f"{name} ({row.crops} crops in {row.groups} group(s))" for name, row in rare.iterrows())
