"""The crop table: one row per crop, the form into which every data set is read.

A pandas DataFrame with the columns

    frame   absolute path of the picture
    x, y    top-left corner of the box, px (float)
    width, height   of the box, px (float)
    label   class name
    group   what must stay together in a split: a flight, a date, a sequence
    role    known | novel | ood | clutter
    split   train | val | test | calibration, or "" for a crop that is not used

and a RangeIndex: the row number is the crop's `index` everywhere later.
"""

import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dml_lightning.printing import printable
from dml_lightning.types import ROLES

BOX_COLUMNS = ["x", "y", "width", "height"]
READER_COLUMNS = ("frame", *BOX_COLUMNS, "label", "group")
TABLE_COLUMNS = (*READER_COLUMNS, "role", "split")
RESERVED = ("unknown", "other")  # answers that predictions and counts give
SPLITS = ("train", "val", "test", "calibration")  # the last only where it is asked for
DIGEST_ROWS = 100_000  # rows whose texts are in memory at once


def validate_table(table: pd.DataFrame) -> None:
    """Checks a crop table once, so that nothing later has to.

    Args:
        table: Table with the columns `TABLE_COLUMNS` in this order and a RangeIndex.

    Raises:
        ValueError: The table breaks one of these rules; the message names the first row at fault and its frame.
    """
    if tuple(table.columns) != TABLE_COLUMNS:
        raise ValueError(f"The crop table has the columns {list(table.columns)}: they must be {list(TABLE_COLUMNS)}.")
    if table.empty:
        raise ValueError("The crop table has no rows.")
    if not table.index.equals(pd.RangeIndex(len(table))):
        raise ValueError("The crop table's index must count its rows 0, 1, 2, ...: call reset_index(drop=True).")
    for column in BOX_COLUMNS:
        numeric = pd.api.types.is_numeric_dtype(table[column])
        bad = ~np.isfinite(table[column].to_numpy(float)) if numeric else np.ones(len(table), bool)
        _refuse(table, bad, column, "a finite number of px")
    for column in ("width", "height"):
        _refuse(table, table[column].to_numpy(float) <= 0, column, "more than 0 px")
    for column in ("frame", "label", "group"):
        bad = [not (isinstance(value, str) and value) for value in table[column]]
        _refuse(table, bad, column, "a text that is not empty")
    relative = [frame for frame in table["frame"].unique() if not Path(frame).is_absolute()]
    _refuse(table, table["frame"].isin(relative), "frame", "an absolute path")
    _refuse(table, ~table["role"].isin(ROLES), "role", f"one of {list(ROLES)}")
    _refuse(table, ~table["split"].isin([*SPLITS, ""]), "split", f"one of {[*SPLITS, '']}")
    _check_consistency(table)


def _refuse(table: pd.DataFrame, bad: Iterable[bool], column: str, expected: str) -> None:
    """Raises for the first row marked bad."""
    rows = np.flatnonzero(np.asarray(bad))
    if len(rows):
        row = table.iloc[[rows[0]]].to_dict("records")[0]  # plain Python values
        more = f" ({len(rows)} rows in all)" if len(rows) > 1 else ""
        raise ValueError(
            f"Row {rows[0]} of the crop table ({row['frame']}) has the {column} {row[column]!r}: "
            f"it must be {expected}{more}."
        )


def _check_consistency(table: pd.DataFrame) -> None:
    """Checks what concerns several rows: roles of a class, group of a frame, split of a group."""
    known = table[(table["role"] == "known") & (table["split"] != "")]
    for rows, key, value in ((table, "label", "role"), (table, "frame", "group"), (known, "group", "split")):
        repeats = rows.drop_duplicates([key, value])
        conflict = repeats[repeats[key].duplicated()]
        if len(conflict):
            row = conflict.iloc[0]
            seen = sorted(repeats.loc[repeats[key] == row[key], value])
            raise ValueError(
                f"Row {conflict.index[0]} of the crop table ({row['frame']}): the {key} {row[key]!r} "
                f"occurs with several values of {value} {seen}, and must have one."
            )


def check_classes(
    existing: Iterable[str], known: Sequence[str] | None, unseen: Sequence[tuple[str, Sequence[str]]]
) -> dict[str, str]:
    """Checks lists of class names against each other and against the data.

    >>> check_classes(["mallard", "gadwall", "goose"], None, [("novel_val", ["goose"])])
    {'goose': 'novel_val', 'gadwall': 'known', 'mallard': 'known'}

    Args:
        existing: Class names in the data.
        known: Known classes; None means every class that no other list names.
        unseen: Pairs (name of the list, classes in it).

    Returns:
        Class name -> name of its list.

    Raises:
        ValueError: A class stands in two lists or twice in one, or does not exist, or no class is known.
    """
    classes = sorted(set(existing))
    place: dict[str, str] = {}
    lists = [("known", known or ()), *unseen]
    for name, members in lists:
        for member in members:
            if member in place:
                raise ValueError(
                    f"The class {member!r} is named in {place[member]} and in {name}: "
                    "a class has one role and, unless known, one split."
                )
            if member not in classes:
                raise ValueError(
                    f"The class {member!r} named in {name} does not exist in the data, which has {classes}."
                )
            place[member] = name
    if known is None:
        place |= {member: "known" for member in classes if member not in place}
    if "known" not in place.values():
        raise ValueError(f"No class is known: name at least one of {classes} as known.")
    return place


def check_names(used: Iterable[str]) -> None:
    """Refuses names of classes that stand for answers: "unknown" is a refused box, "other" what no name fits.

    Raises:
        ValueError: A class has such a name.
    """
    for name in used:
        if name.strip().casefold() in RESERVED:
            raise ValueError(
                f"The class {name!r} has the name of an answer (a refused box is unknown, what no name fits is other): "
                "rename it in the data, or leave it out of every list of classes."
            )


def assign_roles(
    table: pd.DataFrame,
    known: Sequence[str] | None = None,
    novel: Sequence[str] = (),
    ood: Sequence[str] = (),
    clutter: Sequence[str] = (),
) -> pd.DataFrame:
    """Gives every class its role and drops the rows of classes that have none.

    >>> table = pd.DataFrame({"label": ["mallard", "goose", "dog"]})
    >>> assign_roles(table, known=["mallard"], novel=["goose"])["role"].tolist()
    ['known', 'novel']

    Args:
        table: Table of a reader, or a crop table, whose roles are replaced.
        known: Classes to train on; None means every class that no other list names.
        novel: Waterfowl classes never trained on.
        ood: Classes that are no waterfowl, and never trained on.
        clutter: Classes that are no waterfowl, from which training tells the known classes apart.

    Returns:
        A new table with the column `role` and a fresh RangeIndex.

    Raises:
        ValueError: A class has two roles or does not exist, or no class is known.
    """
    place = check_classes(table["label"], known, [("novel", novel), ("ood", ood), ("clutter", clutter)])
    roles = table["label"].map(place)
    kept = table.assign(role=roles)[roles.notna()]
    return kept.reset_index(drop=True)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Counts crops and groups per class, role and split.

    >>> row = {"label": "mallard", "role": "known", "split": "train"}
    >>> summarise(pd.DataFrame([row | {"group": "flight_1"}, row | {"group": "flight_2"}])).to_numpy().tolist()
    [['mallard', 'known', 'train', 2, 2]]

    Returns:
        Table with the columns class, role, split, crops, groups; known before novel before ood before clutter, train
        before val before test, classes by name. Unused rows are left out.
    """
    used = table[table["split"] != ""]
    grouped = used.groupby(["label", "role", "split"], sort=False)["group"].agg(["size", "nunique"])
    summary = grouped.reset_index().set_axis(["class", "role", "split", "crops", "groups"], axis=1)
    order: dict[str, int] = {name: rank for rank, name in enumerate([*ROLES, *SPLITS])}
    return summary.sort_values(
        ["role", "class", "split"],
        key=lambda column: column if column.name == "class" else column.map(order),
        ignore_index=True,
    )


def format_summary(summary: pd.DataFrame) -> str:
    """Renders what `summarise` returns as plain text of 80 columns, with a row for each class."""
    splits = [name for name in SPLITS if name in set(summary["split"])]
    rendered = Table(title="Crops of each class, and groups in brackets", box=SIMPLE_HEAD)
    for column in ("class", "role", *splits):
        rendered.add_column(column, justify="right" if column in splits else "left", overflow="fold")
    for name, rows in summary.groupby("class", sort=False):
        cells = {row.split: f"{row.crops} ({row.groups})" for row in rows.itertuples()}
        # no markup, whatever a class is called
        texts = (printable(str(name)), rows["role"].iloc[0], *(cells.get(split, "") for split in splits))
        rendered.add_row(*map(Text, texts))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as capture:
        console.print(rendered)
    return capture.get()


def relative_frames(frames: Iterable[str]) -> list[str]:
    """Rewrites absolute paths relative to the folder that they share, with forward slashes.

    >>> relative_frames(["/data/flight_1/a.tif", "/data/flight_2/a.tif"])
    ['flight_1/a.tif', 'flight_2/a.tif']
    """
    paths = list(frames)
    root = os.path.commonpath([Path(path).parent for path in paths]) if paths else ""
    return [Path(path).relative_to(root).as_posix() for path in paths]


def table_digest(table: pd.DataFrame) -> str:
    """Hashes a table: the same crops in the same order give the same digest, wherever the data lies.

    Returns:
        SHA-256 as 64 hexadecimal digits of the frames' paths below the folder that they share, the boxes as
        little-endian float64, and the texts as they are. The contents of files do not count.
    """
    digest = hashlib.sha256()
    for column in table.columns:
        size, pieces = _numbers(table[column]) if column in BOX_COLUMNS else _texts(table[column])
        digest.update(b"%s|%d|" % (str(column).encode(), size))
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


def _numbers(values: pd.Series) -> tuple[int, Iterable[bytes]]:
    """Size in bytes of a column of numbers as float64, and the bytes."""
    data = values.to_numpy("<f8").tobytes()
    return len(data), [data]


def _texts(values: pd.Series) -> tuple[int, Iterable[bytes]]:
    """Texts of a column, each behind its length: their size in bytes, and the bytes in pieces.

    Millions of rows share few texts, so each is written once.
    """
    texts = values if isinstance(values.dtype, pd.StringDtype) else pd.Series(map(str, values), dtype="str")
    codes, names = pd.factorize(texts, use_na_sentinel=False)
    distinct = relative_frames(names) if values.name == "frame" else map(str, names)
    written = [b"%d:%s" % (len(raw := text.encode()), raw) for text in distinct]
    size = sum(len(each) * int(count) for each, count in zip(written, np.bincount(codes), strict=True))
    starts = range(0, len(codes), DIGEST_ROWS)
    return size, (b"".join(map(written.__getitem__, codes[start : start + DIGEST_ROWS])) for start in starts)
