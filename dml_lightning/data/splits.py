"""Splits by group, and the one function that turns a reading into the finished crop table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.data.background import BACKGROUND, background_rows, background_sides, check_background
from dml_lightning.data.named_splits import named_split
from dml_lightning.data.sources.base import Reading
from dml_lightning.data.table import SPLITS, TABLE_COLUMNS, assign_roles, check_classes, check_names, validate_table

Counts = NDArray[np.float64]

# Weights of the split's cost, in units of one known class that is split as badly as possible:
# a known class that a split lacks makes the run impossible, an unseen one likewise but only in one split.
MISSING_KNOWN = 10.0
MISSING_UNSEEN = 5.0
PULL_UNSEEN = 0.1  # towards an unseen class's own split; small, so that known classes stay balanced


def grouped_split(
    table: pd.DataFrame,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    wanted: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Assigns whole groups to train, val and test, and to calibration where a fourth fraction asks for it.

    Every class should have the stated fractions of its crops in each split, as far as whole groups allow:
    groups are placed largest first with a jitter from the seed, each where it lowers the cost most, then moved
    one by one while that lowers it further.

    >>> table = pd.DataFrame({"label": ["mallard"] * 4, "group": ["f1", "f1", "f2", "f3"]})
    >>> grouped_split(table, fractions=(0.5, 0.25, 0.25)).groupby("split")["group"].nunique().to_dict()
    {'test': 1, 'train': 1, 'val': 1}

    Args:
        table: Table with the columns label and group.
        fractions: Shares of train, val, test and, as an option, calibration; positive, with the sum 1.
        seed: Seed of the placement; other seeds give other splits unless there are only a few groups.
        wanted: Class name -> the split that needs it, for classes that are not known; they weigh little in the
            balance but pull a group with them where needed.

    Returns:
        A copy with the column split.

    Raises:
        ValueError: There are fewer groups than splits, or the fractions cannot be used.
    """
    shares = np.asarray(fractions, float)
    if shares.shape not in ((3,), (4,)) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(
            f"split_fractions {list(fractions)} must be three or four positive numbers with the sum 1: "
            "train, val, test and, as an option, calibration."
        )
    counts = pd.crosstab(table["group"], table["label"])  # groups by name, so row order does not matter
    if len(counts) < len(shares):
        raise ValueError(
            f"The data has {len(counts)} group(s) {list(map(str, counts.index))}, and "
            f"{', '.join(SPLITS[: len(shares)])} need at least {len(shares)}: choose another group_by, e.g. "
            '"parent" or a regular expression on the file name.'
        )
    wanted = wanted or {}
    labels = [str(label) for label in counts.columns]
    target = np.array([SPLITS.index(wanted[label]) if label in wanted else -1 for label in labels])
    places = _partition(counts.to_numpy(float), shares, target, np.random.default_rng(seed))
    split = dict(zip(counts.index, (SPLITS[place] for place in places), strict=True))
    return table.assign(split=table["group"].map(split))


def _partition(counts: Counts, shares: Counts, target: NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    """Places groups into splits.

    Args:
        counts: (G, C) crops of each class in each group.
        shares: (S,) wanted fractions.
        target: (C,) the only split that uses a class, or -1 for a known class.
        rng: Generator of the jitter and of the order of moves.

    Returns:
        The split of each group.
    """
    relative = counts / counts.sum(axis=0)  # (G, C); each class weighs the same
    jitter = rng.uniform(0.5, 1.5, len(counts))
    order = np.argsort(-relative.sum(axis=1) * jitter, kind="stable")
    have = np.zeros((len(shares), counts.shape[1]))  # (S, C) share of each class in each split
    places = np.full(len(counts), -1)
    for group in order:
        places[group] = _best(have, relative[group], shares, target)
        have[places[group]] += relative[group]
    for _ in range(20):  # settles after a few rounds
        moved = False
        for group in rng.permutation(len(counts)):
            old = places[group]
            have[old] -= relative[group]
            places[group] = _best(have, relative[group], shares, target, old)
            have[places[group]] += relative[group]
            moved |= places[group] != old
        if not moved:
            break
    return [int(place) for place in places]


def _best(have: Counts, group: Counts, shares: Counts, target: NDArray[np.int64], old: int = 0) -> int:
    """Returns the split for a group that gives the lowest cost; `old` where no other is better."""
    options = have + np.eye(len(shares))[:, :, None] * group  # (S options, S splits, C)
    costs = _cost(options, shares, target)
    best = int(costs.argmin())
    return best if costs[best] < costs[old] - 1e-9 else old


def _cost(have: Counts, shares: Counts, target: NDArray[np.int64]) -> Counts:
    """Returns the cost of each option (..., S, C) -> (...,).

    For known classes the chi-square distance to the wanted shares plus a penalty for each empty split; for
    unseen ones a penalty where their split has none, and a small pull towards it.
    """
    known = target < 0
    empty = have < 1e-9
    cost = ((have - shares[:, None]) ** 2 / shares[:, None])[..., known].sum(axis=(-2, -1))
    cost += MISSING_KNOWN * empty[..., known].sum(axis=(-2, -1))
    for column in np.flatnonzero(~known):
        share = have[..., target[column], column]
        cost += MISSING_UNSEEN * (share < 1e-9) + PULL_UNSEEN * (1 - share) ** 2
    return np.asarray(cost)


def class_fold(classes: Sequence[str], folds: int, fold: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Unseen classes of one of several class-disjoint folds: those for validation and those for the test.

    The classes are shuffled and dealt into `folds` parts; part `fold` is the test's and the next one the
    validation's. Over all folds every class is an unseen class of the test once.

    >>> [class_fold(["gadwall", "mallard", "pintail"], folds=3, fold=fold) for fold in range(3)]
    [(['gadwall'], ['pintail']), (['mallard'], ['gadwall']), (['pintail'], ['mallard'])]

    Args:
        classes: Names of the species.
        folds: Number of parts, at least 3.
        fold: Number of the fold, from 0 to folds - 1.
        seed: Seed of the shuffle; the same for all folds.

    Returns:
        Names for validation, names for test, each sorted.

    Raises:
        ValueError: The numbers are out of range, or there are fewer classes than parts.
    """
    if folds < 3 or not 0 <= fold < folds:
        raise ValueError(f"class_folds is {folds} and class_fold {fold}: at least 3 folds, counted from 0, are needed.")
    if len(classes) < folds:
        raise ValueError(f"{len(classes)} classes cannot be dealt into {folds} folds.")
    order = np.random.default_rng(seed).permutation(sorted(classes)).tolist()
    return sorted(order[(fold + 1) % folds :: folds]), sorted(order[fold::folds])


def build_table(
    reading: Reading,
    *,
    known: Sequence[str] | None = None,
    novel_val: Sequence[str] = (),
    novel_test: Sequence[str] = (),
    ood_train: Sequence[str] = (),
    ood_val: Sequence[str] = (),
    ood_test: Sequence[str] = (),
    background: int = 0,
    background_side: float | tuple[float, float] | None = None,
    context: float = 0.0,
    min_side: float = 0.0,
    shown_sides_of: Mapping[str, float] | None = None,
    split_fractions: Sequence[float] = (0.6, 0.2, 0.2),
    split_by: Mapping[str, Sequence[str]] | None = None,
    unseen_groups: Literal["split", "all"] = "split",
    seed: int = 0,
    allow_identical_frames: bool = False,
) -> pd.DataFrame:
    """Builds the crop table that training and evaluation use.

    Args:
        reading: Data set as a source has read it.
        known: Classes to train on; None means every class that no other list names.
        novel_val: Waterfowl classes never trained on, for validation.
        novel_test: Waterfowl classes never trained on, for the test; disjoint from novel_val.
        ood_train: Classes that are no waterfowl, from which training tells the known classes apart (clutter): their
            crops of training groups are trained on, those of validation and test groups are evaluated apart.
        ood_val: Classes that are no waterfowl, for validation.
        ood_test: Classes that are no waterfowl, for the test; disjoint from ood_val.
        background: Number of crops of the class "background" sampled in each frame; if above 0, the class must stand in
            one of the ood lists.
        background_side: Side of the background crops in px, or the lowest and highest one; None draws from the sides
            of the known boxes.
        context: Margin of a crop, as in `CropOptions`: a background crop keeps away from every box with its margin.
        min_side: Smallest side of a crop in px of the frame, as in `CropOptions`.
        shown_sides_of: Side in px of what a crop shows in each frame, in place of context and min_side.
        split_fractions: Shares of train, val, test and, as an option, calibration, for the known classes.
        split_by: Groups of each split, as in `named_split`, in place of split_fractions.
        unseen_groups: Whether crops of unseen classes come from groups of their split only ("split"), or from all
            groups ("all"), also from flights seen in training. Clutter always keeps to the split of its group.
        seed: Seed of the split and of the background crops.
        allow_identical_frames: Whether frames with the same bytes may lie in two groups, and so in two splits.

    Returns:
        A validated crop table in frame order; every row is used.

    Raises:
        ValueError: Classes or numbers cannot be used, a class has the name of an answer, frames of two groups are
            the same, or a split lacks a class that it needs.
    """
    lists = {"novel_val": novel_val, "novel_test": novel_test}
    lists |= {"ood_train": ood_train, "ood_val": ood_val, "ood_test": ood_test}
    if unseen_groups not in ("split", "all"):
        raise ValueError(f'unseen_groups {unseen_groups!r} is unknown: give "split" or "all".')
    check_background(reading, lists, background)
    existing = [*reading.table["label"].unique(), *([BACKGROUND] if background else [])]
    place = check_classes(existing, known, list(lists.items()))
    check_names(place)
    if not allow_identical_frames:
        _refuse_identical(reading)
    wanted = {name: where.split("_")[1] for name, where in place.items() if where != "known"}
    rows = reading.table
    if background:
        sides = background_sides(reading, place, background_side)
        around = {"context": context, "min_side": min_side, "shown_sides_of": shown_sides_of}
        rows = pd.concat([rows, background_rows(reading, background, sides, seed, **around)])
    rows = assign_roles(
        rows,
        [name for name, where in place.items() if where == "known"],
        [*novel_val, *novel_test],
        [*ood_val, *ood_test],
        ood_train,
    )
    if split_by is None:
        rows, splits = grouped_split(rows, split_fractions, seed, wanted), SPLITS[: len(split_fractions)]
    else:
        places = named_split(sorted(reading.frames["group"].unique()), split_by)
        rows, splits = rows.assign(split=rows["group"].map(places)), tuple(split_by)
    clutter = rows["role"] == "clutter"
    own = rows["label"].map(wanted).mask(clutter)  # missing for known classes and clutter, which keep to their groups
    chosen = rows["split"].where(own.isna(), own) if unseen_groups == "all" else rows["split"]
    kept = rows.assign(split=chosen)[(own.isna() | (chosen == own)) & ~(clutter & (chosen == "calibration"))]
    _check_splits(kept, rows, wanted, unseen_groups, splits)
    table = kept.sort_values("frame", kind="stable", ignore_index=True)[list(TABLE_COLUMNS)]
    validate_table(table)
    return table


def _refuse_identical(reading: Reading) -> None:
    """Refuses copies of a frame in two groups: a split by group would train on what it tests.

    Raises:
        ValueError: There are such copies; the first pair is named.
    """
    if reading.identical:
        raise ValueError(identical_message(reading.identical))


def identical_message(pairs: Sequence[tuple[Path, Path]]) -> str:
    """Says which frames of two groups are the same, and what would work; at least one pair."""
    first, other = pairs[0]
    return (
        f"{len(pairs)} frame(s) have the same bytes as a frame of another group, the first being "
        f"{other} and {first}: remove the copies, let group_by put them into one group, or set "
        "allow_identical_frames."
    )


def _check_splits(
    kept: pd.DataFrame, rows: pd.DataFrame, wanted: Mapping[str, str], unseen_groups: str, splits: Sequence[str]
) -> None:
    """Raises for the first class that a split needs and lacks."""
    present = set(zip(kept["label"], kept["split"], strict=True))
    for label, own in rows.groupby("label")["group"]:
        for split in [wanted[str(label)]] if label in wanted else splits:
            if (label, split) not in present:
                advice = "another seed, another group_by or other lists in split_by"
                if wanted.get(str(label)) in ("val", "test") and unseen_groups == "split":
                    advice += ', or unseen_groups "all"'
                raise ValueError(
                    f"The split {split} has no crop of the class {label!r}, which has {len(own)} crops in "
                    f"{own.nunique()} group(s): try {advice}."
                )
