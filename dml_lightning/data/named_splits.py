"""Splits that name their groups, and splits that rest on a single group, named or not."""

import difflib
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from dml_lightning.data.table import SPLITS, summarise
from dml_lightning.printing import listed

NEEDED = SPLITS[:3]  # calibration is an option
MOST_LISTED = 5


def named_split(groups: Sequence[str], split_by: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Assigns every group to the split whose list names it.

    >>> named_split(["2024-03-02", "2024-03-09", "2024-04-01"],
    ...             {"train": ["2024-03-02"], "val": ["2024-03-09"], "test": [r"2024-0[4-6]-.*"]})
    {'2024-03-02': 'train', '2024-03-09': 'val', '2024-04-01': 'test'}

    Args:
        groups: Names of all groups of the data.
        split_by: Split -> its groups, each by its name or by a regular expression that matches whole names; a text that
            is the name of a group stands for that group alone.

    Returns:
        Group -> split, in the order of `groups`.

    Raises:
        ValueError: A split is missing, unknown or no list of texts, an expression is invalid or matches no group, or a
            group is in two splits or in none.
    """
    _check_form(split_by)
    found: dict[str, tuple[str, str]] = {}  # group -> split, and the entry that names it
    for split, entries in split_by.items():
        for entry in entries:
            for group in _matches(entry, groups, split):
                other, by = found.setdefault(group, (split, entry))
                if other != split:
                    raise ValueError(
                        f"The group {group!r} is in two splits: split_by names it in {other} ({by!r}) and in {split} "
                        f"({entry!r})."
                    )
    left = [group for group in groups if group not in found]
    if left:
        raise ValueError(
            f"split_by puts {len(left)} of {len(groups)} groups into no split: {listed(left, MOST_LISTED)}."
        )
    return {group: found[group][0] for group in groups}


def _check_form(split_by: Mapping[str, Sequence[str]]) -> None:
    for split in split_by:
        if split not in SPLITS:
            close = difflib.get_close_matches(str(split), SPLITS, n=1)
            hint = f"; {close[0]} is one" if close else ""
            raise ValueError(f"split_by names the split {split!r}{hint}; there are {', '.join(SPLITS)}.")
    for split in (*NEEDED, *split_by):
        entries = split_by.get(split, [])
        texts = isinstance(entries, Sequence) and all(isinstance(entry, str) for entry in entries)
        if isinstance(entries, str) or not texts or not entries:
            raise ValueError(
                f"split_by.{split} is {entries!r}: list at least one group, by its name or a regular expression, each "
                "in quotes."
            )


def _matches(entry: str, groups: Sequence[str], split: str) -> list[str]:
    """Groups that an entry names; at least one."""
    if entry in groups:
        return [entry]
    try:
        pattern = re.compile(entry)
    except re.error as error:
        raise ValueError(f"split_by.{split} has {entry!r}, which is no group and no expression: {error}.") from error
    matches = [group for group in groups if pattern.fullmatch(group)]
    if not matches:
        close = difflib.get_close_matches(entry, groups, n=3)
        hint = f"close names: {', '.join(close)}" if close else f"the data has {listed(groups, MOST_LISTED)}"
        raise ValueError(f"split_by.{split} has {entry!r}, which matches no group as a whole; {hint}.")
    return matches


def single_groups(table: pd.DataFrame) -> list[str]:
    """Says which splits, and which classes in a split, have all of their crops from one group.

    >>> row = {"label": "teal", "role": "known", "split": "train"}
    >>> rows = [row | {"group": "f1"}, row | {"group": "f2"}, row | {"group": "f3", "split": "val"}]
    >>> single_groups(pd.DataFrame(rows))
    ['All 1 known crops of val are of one group, f3: its numbers are of that group.']

    Args:
        table: Crop table.

    Returns:
        One sentence for each such split of the known classes, and one for such classes in the other splits.
    """
    known = table[(table["role"] == "known") & (table["split"] != "")]
    whole = {
        str(split): f"All {len(rows)} known crops of {split} are of one group, {rows['group'].iloc[0]}: its numbers "
        "are of that group."
        for split, rows in known.groupby("split")
        if rows["group"].nunique() == 1
    }
    summary = summarise(known)
    thin = summary[(summary["groups"] == 1) & ~summary["split"].isin(list(whole))]
    if thin.empty:
        return list(whole.values())
    named = [f"{row['class']} in {row['split']} ({row['crops']} crops)" for row in thin.to_dict("records")]
    return [*whole.values(), f"Classes whose crops of a split are of one group: {listed(named, MOST_LISTED)}."]
