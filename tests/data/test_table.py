"""The crop table: validation, roles, summary, digest."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.data.table import (
    READER_COLUMNS,
    TABLE_COLUMNS,
    assign_roles,
    check_classes,
    format_summary,
    relative_frames,
    summarise,
    table_digest,
    validate_table,
)


def crop_table() -> pd.DataFrame:
    rows = [
        ("/data/f0/a.tif", 1.0, 2.0, 3.0, 4.0, "mallard", "f0", "known", "train"),
        ("/data/f0/a.tif", 5.0, 2.0, 3.0, 4.0, "teal", "f0", "known", "train"),
        ("/data/f1/b.tif", 1.0, 2.0, 3.0, 4.0, "mallard", "f1", "known", "val"),
        ("/data/f2/c.tif", 1.0, 2.0, 3.0, 4.0, "mallard", "f2", "known", "test"),
        ("/data/f2/c.tif", 8.0, 2.0, 3.0, 4.0, "goose", "f2", "novel", "test"),
        ("/data/f3/d.tif", 1.0, 2.0, 3.0, 4.0, "stone", "f3", "ood", "val"),
        ("/data/f0/a.tif", 9.0, 9.0, 3.0, 4.0, "stone", "f0", "ood", ""),
    ]
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))


def test_a_good_table_passes() -> None:
    validate_table(crop_table())


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (2, "x", np.nan, r"Row 2 .*\(/data/f1/b.tif\) has the x nan: .*finite number"),
        (1, "y", np.inf, r"Row 1 .*\(/data/f0/a.tif\) has the y inf: .*finite number"),
        (3, "width", 0.0, r"Row 3 .*c\.tif\) has the width 0.0: it must be more than 0 px"),
        (4, "height", -2.0, r"Row 4 .*c\.tif\) has the height -2.0: it must be more than 0"),
        (0, "frame", "a.tif", r"Row 0 .*'a.tif': it must be an absolute path"),
        (0, "frame", "", "Row 0 .*has the frame ''.*text that is not empty"),
        (5, "label", "", r"Row 5 .*d\.tif\) has the label ''"),
        (5, "label", None, r"Row 5 .*d\.tif\) has the label"),
        (1, "group", "", "Row 1 .*has the group ''"),
        (4, "role", "bird", r"Row 4 .*has the role 'bird': it must be one of \['known'"),
        (4, "split", "dev", r"Row 4 .*has the split 'dev': it must be one of \['train'"),
        (4, "split", None, "Row 4 .*has the split"),
    ],
)
def test_a_bad_value_names_row_and_frame(row: int, column: str, value: object, message: str) -> None:
    table = crop_table()
    table.loc[row, column] = value
    with pytest.raises(ValueError, match=message):
        validate_table(table)


def test_the_number_of_bad_rows_is_given() -> None:
    with pytest.raises(ValueError, match=r"\(7 rows in all\)"):
        validate_table(crop_table().assign(width=0.0))


def test_boxes_that_are_text_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Row 0 .*a\.tif\) has the x '1'"):
        validate_table(crop_table().assign(x="1"))


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (2, "role", "novel", r"label 'mallard' occurs with several values of role \['known', 'novel'"),
        (1, "group", "f9", r"frame '/data/f0/a.tif' occurs with several values of group \['f0', 'f9'"),
        (1, "split", "val", r"group 'f0' occurs with several values of split \['train', 'val'"),
    ],
)
def test_contradictions_between_rows(row: int, column: str, value: str, message: str) -> None:
    table = crop_table()
    table.loc[row, column] = value
    with pytest.raises(ValueError, match=message):
        validate_table(table)


def test_unseen_crops_may_come_from_groups_of_another_split() -> None:
    table = crop_table()
    table.loc[6, "split"] = "val"  # a stone of flight f0, whose known crops are trained on
    validate_table(table)


def test_columns_index_and_emptiness() -> None:
    table = crop_table()
    with pytest.raises(ValueError, match="has the columns"):
        validate_table(table[list(TABLE_COLUMNS)[::-1]])
    with pytest.raises(ValueError, match="has the columns"):
        validate_table(table[list(READER_COLUMNS)])
    with pytest.raises(ValueError, match="index must count"):
        validate_table(table.iloc[1:])
    with pytest.raises(ValueError, match="no rows"):
        validate_table(table.iloc[:0])


def test_roles_are_assigned_and_unused_rows_dropped() -> None:
    table = crop_table()[list(READER_COLUMNS)]
    result = assign_roles(table, known=["mallard"], novel=["goose"])
    assert result["label"].tolist() == ["mallard", "mallard", "mallard", "goose"]
    assert result["role"].tolist() == ["known"] * 3 + ["novel"]
    assert result.index.equals(pd.RangeIndex(4))
    assert "role" not in table.columns  # the input stays as it was


def test_known_none_takes_every_other_class() -> None:
    result = assign_roles(crop_table()[list(READER_COLUMNS)], None, ["goose"], ["stone"])
    assert dict(zip(result["label"], result["role"], strict=True)) == {
        "mallard": "known",
        "teal": "known",
        "goose": "novel",
        "stone": "ood",
    }


@pytest.mark.parametrize(
    ("known", "novel", "ood", "message"),
    [
        (["mallard"], ["mallard"], [], "'mallard' is named in known and in novel"),
        (None, ["goose"], ["goose"], "'goose' is named in novel and in ood"),
        (["mallard", "mallard"], [], [], "'mallard' is named in known and in known"),
        (["swan"], [], [], r"'swan' named in known does not exist .* \['goose', 'mallard', 'stone'"),
        (None, [], ["fox"], "'fox' named in ood does not exist"),
        ([], ["goose"], [], "No class is known"),
        (None, ["goose", "mallard"], ["stone", "teal"], "No class is known"),
    ],
)
def test_errors_of_roles(known: list[str] | None, novel: list[str], ood: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assign_roles(crop_table(), known, novel, ood)


def test_check_classes_names_the_lists() -> None:
    place = check_classes("abc", None, [("novel_val", ["b"]), ("ood_test", ["c"])])
    assert place == {"a": "known", "b": "novel_val", "c": "ood_test"}
    with pytest.raises(ValueError, match="'b' is named in novel_val and in novel_test"):
        check_classes("abc", None, [("novel_val", ["b"]), ("novel_test", ["b"])])


def test_summary_counts_by_hand() -> None:
    summary = summarise(crop_table())
    assert list(summary.columns) == ["class", "role", "split", "crops", "groups"]
    assert [tuple(row) for row in summary.itertuples(index=False)] == [
        ("mallard", "known", "train", 1, 1),
        ("mallard", "known", "val", 1, 1),
        ("mallard", "known", "test", 1, 1),
        ("teal", "known", "train", 1, 1),
        ("goose", "novel", "test", 1, 1),
        ("stone", "ood", "val", 1, 1),
    ]
    doubled = pd.concat([crop_table(), crop_table().assign(group="f9", frame="/data/f9/z.tif")])
    assert summarise(doubled)["crops"].tolist() == [2] * 6
    assert summarise(doubled)["groups"].tolist() == [2] * 6


def test_the_summary_as_text_holds_every_row() -> None:
    text = format_summary(summarise(crop_table()))
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[1] == ["class", "role", "train", "val", "test"]
    assert lines[3:] == [
        ["mallard", "known", *["1", "(1)"] * 3],
        ["teal", "known", "1", "(1)"],
        ["goose", "novel", "1", "(1)"],
        ["stone", "ood", "1", "(1)"],
    ]
    goose = next(line for line in text.splitlines() if "goose" in line)
    assert goose.rstrip().endswith("1 (1)")  # of the test, below the last head
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("name", "shown"), [("[/red]", "[/red]"), ("[bold]x[/bold]", "[bold]x[/bold]"), ("a\a", r"a\x07")]
)
def test_a_name_in_the_summary_is_no_markup(name: str, shown: str) -> None:
    text = format_summary(summarise(crop_table().replace("mallard", name)))
    assert sum(shown in line for line in text.splitlines()) == 1


def test_digest_survives_moving_the_data() -> None:
    table = crop_table()
    moved = table.assign(frame=table["frame"].str.replace("/data", "/mnt/other disk/x"))
    digest = table_digest(table)
    assert table_digest(moved) == digest
    assert len(digest) == len(hashlib.sha256().hexdigest())
    assert set(digest) <= set("0123456789abcdef")


@pytest.mark.parametrize("column", TABLE_COLUMNS)
def test_digest_sees_every_column(column: str) -> None:
    table = crop_table()
    other = table.copy()
    other.loc[3, column] = 77.5 if column in ["x", "y", "width", "height"] else "/data/f2/other.tif"
    assert table_digest(other) != table_digest(table)


def test_digest_sees_order_and_boundaries_of_texts() -> None:
    table = crop_table()
    assert table_digest(table.iloc[::-1]) != table_digest(table)
    pair = table.iloc[:2]
    one, other = pair.assign(label=["ab", "c"]), pair.assign(label=["a", "bc"])
    assert table_digest(one) != table_digest(other)


def test_digest_does_not_depend_on_the_number_type_of_boxes() -> None:
    table = crop_table()
    assert table_digest(table.astype({"x": "int64", "width": "float32"})) == table_digest(table)


def test_digest_is_that_of_all_texts_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0).integers(0, 60, 500)
    odd = [1, True, 1.0, "1", None, np.nan, 0.0, -0.0]
    table = pd.DataFrame(
        {
            "frame": [f"/data/flight {n % 3}/ü{n}.tif" for n in draws],
            "x": draws / 7,
            "label": [f"né{n % 5}" for n in draws],
            "gsd": [(np.nan, 0.02, 0.0, -0.0)[n % 4] for n in draws],
            "mixed": pd.Series([odd[n % 8] for n in draws], dtype=object),
        }
    )
    table["missing"] = table["label"].where(draws % 2 == 0)
    table["category"] = table["label"].astype("category")
    monkeypatch.setattr("dml_lightning.data.table.DIGEST_ROWS", 7)
    for rows in (table, table.iloc[::-3], table[["frame", "x"]], table[:0]):
        assert table_digest(rows) == slow_digest(rows)


def slow_digest(table: pd.DataFrame) -> str:
    """All of a column at once, each text written for itself."""
    digest = hashlib.sha256()
    for column, values in table.items():
        texts = relative_frames(values) if column == "frame" else list(values)
        data = b"".join(b"%d:%s" % (len(str(text).encode()), str(text).encode()) for text in texts)
        data = values.to_numpy("<f8").tobytes() if column == "x" else data
        digest.update(b"%s|%d|" % (str(column).encode(), len(data)) + data)
    return digest.hexdigest()


def test_relative_frames() -> None:
    assert relative_frames(["/a/b/c.tif", "/a/d/e/f.tif"]) == ["b/c.tif", "d/e/f.tif"]
    assert relative_frames(["/a/b/c.tif"]) == ["c.tif"]
    assert relative_frames([]) == []
    assert all(not Path(path).is_absolute() for path in relative_frames(crop_table()["frame"]))
