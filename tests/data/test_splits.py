"""Grouped splits and the function that builds the whole table."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.data.sources import CocoJson, Reading, ReadReport
from dml_lightning.data.splits import build_table, grouped_split
from dml_lightning.data.table import READER_COLUMNS, TABLE_COLUMNS, summarise, validate_table
from tests.data.making import boxes_in, gap, make_frames

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
BOX = ["x", "y", "width", "height"]


def labelled(counts: dict[str, dict[str, int]]) -> pd.DataFrame:
    """A table of label and group from group -> class -> crops."""
    rows = [
        (label, group) for group, classes in counts.items() for label, number in classes.items() for _ in range(number)
    ]
    return pd.DataFrame(rows, columns=["label", "group"])


def random_counts(seed: int, groups: int, classes: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    numbers = rng.poisson(rng.gamma(1.0, 8.0, (groups, classes)))
    return labelled({f"g{g:03}": {f"c{c}": int(numbers[g, c]) for c in range(classes)} for g in range(groups)})


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Fraction of each class in each split."""
    return pd.crosstab(table["label"], table["split"], normalize="index")


@settings(max_examples=40, deadline=None)
@given(
    numbers=st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any), min_size=3, max_size=15),
    seed=st.integers(0, 5),
)
def test_no_group_leaks_and_every_row_has_a_split(numbers: list[list[int]], seed: int) -> None:
    table = labelled({f"g{g}": {f"c{c}": n for c, n in enumerate(row)} for g, row in enumerate(numbers)})
    split = grouped_split(table, seed=seed)
    assert set(split["split"]) <= {"train", "val", "test"}
    assert (split.groupby("group")["split"].nunique() == 1).all()
    pd.testing.assert_frame_equal(split[["label", "group"]], table)


@pytest.mark.parametrize("seed", range(10))
def test_a_class_with_three_groups_reaches_every_split(seed: int) -> None:
    counts = {f"g{g:02}": {"common": 5} for g in range(12)}
    for rare, holders in (("a", (0, 1, 2)), ("b", (2, 3, 4)), ("c", (5, 6, 7))):
        for g in holders:
            counts[f"g{g:02}"][rare] = 1
    split = grouped_split(labelled(counts), seed=seed)
    assert (split.groupby("label")["split"].nunique() == 3).all()


@pytest.mark.parametrize("seed", range(5))
def test_classes_get_their_fractions(seed: int) -> None:
    split = grouped_split(random_counts(seed, groups=60, classes=5), (0.6, 0.2, 0.2), seed)
    got = shares(split)[["train", "val", "test"]].to_numpy()
    np.testing.assert_allclose(got, np.tile([0.6, 0.2, 0.2], (5, 1)), atol=0.05)


def test_stratified_better_than_drawing_groups() -> None:
    """The mean deviation from the fractions is far below that of groups drawn at random."""
    wanted = np.array([0.6, 0.2, 0.2])
    own, drawn = [], []
    for seed in range(5):
        table = random_counts(seed, groups=30, classes=6)
        split = grouped_split(table, wanted.tolist(), seed)
        own.append(np.abs(shares(split)[["train", "val", "test"]].to_numpy() - wanted).mean())
        places = np.random.default_rng(seed).choice(["train", "val", "test"], 30, p=wanted)
        names = dict(zip(sorted(set(table["group"])), places, strict=True))
        random = shares(table.assign(split=table["group"].map(names)))
        columns = random.reindex(columns=["train", "val", "test"], fill_value=0.0).to_numpy()
        drawn.append(np.abs(columns - wanted).mean())
    assert np.mean(own) < 0.25 * np.mean(drawn)


def test_small_case_against_every_possible_split() -> None:
    """With seven groups the result is among the best tenth of all assignments."""
    table = random_counts(3, groups=7, classes=2)
    counts = pd.crosstab(table["group"], table["label"]).to_numpy(float)
    relative = counts / counts.sum(0)
    wanted = np.array([0.6, 0.2, 0.2])

    def cost(places: np.ndarray) -> float:
        have = np.stack([relative[places == split].sum(0) for split in range(3)])
        empty = 10.0 * (have < 1e-9).sum()
        return float(((have - wanted[:, None]) ** 2 / wanted[:, None]).sum() + empty)

    every = sorted(cost(np.array(places)) for places in np.ndindex(*(3,) * 7))
    order = {"train": 0, "val": 1, "test": 2}
    for seed in range(5):
        split = grouped_split(table, wanted.tolist(), seed)
        places = split.groupby("group")["split"].first().map(order).to_numpy()
        assert cost(places) <= every[len(every) // 10]


def test_same_seed_same_split_whatever_the_row_order() -> None:
    table = random_counts(0, groups=20, classes=3)
    first = grouped_split(table, seed=4)
    pd.testing.assert_frame_equal(first, grouped_split(table, seed=4))
    shuffled = grouped_split(table.sample(frac=1, random_state=1), seed=4)
    pd.testing.assert_frame_equal(first, shuffled.sort_index())


def test_other_seeds_other_splits() -> None:
    table = random_counts(0, groups=20, classes=3)
    seen = {tuple(grouped_split(table, seed=seed)["split"]) for seed in range(6)}
    assert len(seen) == 6


def test_an_unseen_class_lands_in_its_split() -> None:
    counts = {f"g{g:02}": {"duck": 10 + g} for g in range(20)}
    counts["g03"]["goose"] = 1
    counts["g04"]["stone"] = 1
    for seed in range(8):
        split = grouped_split(labelled(counts), seed=seed, wanted={"goose": "val", "stone": "test"})
        place = split.drop_duplicates("label").set_index("label")["split"]
        assert (place["goose"], place["stone"]) == ("val", "test")


@pytest.mark.parametrize("groups", [0, 1, 2])
def test_too_few_groups(groups: int) -> None:
    table = labelled({f"flight {g}": {"duck": 5} for g in range(groups)})
    with pytest.raises(ValueError, match=rf"The data has {groups} group.*choose another group_by"):
        grouped_split(table)


@pytest.mark.parametrize("fractions", [(0.6, 0.4), (0.6, 0.2, 0.3), (1.2, -0.1, -0.1), (0.8, 0.2, 0.0), (np.nan, 1, 1)])
def test_fractions_are_checked(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="positive numbers with the sum 1"):
        grouped_split(random_counts(0, 5, 2), fractions)


# The whole table


def make_reading(folder: Path, labels: tuple[str, ...] = ("duck", "teal", "goose", "stone")) -> Reading:
    frames = make_frames(folder, 24)
    frames["group"] = [f"flight_{n // 2:02}" for n in range(24)]
    return Reading(boxes_in(frames, len(labels), labels), frames, ReadReport())


def test_build_table_with_unseen_classes_of_their_split(tmp_path: Path) -> None:
    reading = make_reading(tmp_path)
    before = reading.table.copy()
    table = build_table(reading, novel_val=["goose"], ood_val=["background"], ood_test=["stone"], background=2)
    validate_table(table)
    assert list(table.columns) == list(TABLE_COLUMNS)
    assert table["frame"].is_monotonic_increasing
    assert (table["split"] != "").all()
    assert (table.groupby("group")["split"].nunique() == 1).all()
    summary = summarise(table)
    splits = summary.groupby("class")["split"].apply(set).to_dict()
    every = {"train", "val", "test"}
    assert splits == {"duck": every, "teal": every, "goose": {"val"}, "stone": {"test"}, "background": {"val"}}
    roles = dict(zip(summary["class"], summary["role"], strict=True))
    expected = {"duck": "known", "teal": "known", "goose": "novel"}
    assert roles == {**expected, "stone": "ood", "background": "ood"}
    pd.testing.assert_frame_equal(reading.table, before)  # pure


def test_build_table_with_all_unseen_crops(tmp_path: Path) -> None:
    reading = make_reading(tmp_path)
    table = build_table(
        reading,
        known=["duck"],
        novel_test=["goose"],
        ood_val=["stone"],
        ood_test=["background"],
        background=1,
        unseen_groups="all",
    )
    counts = table.groupby("label").size()
    assert counts["goose"] == (reading.table["label"] == "goose").sum()
    assert counts["stone"] == (reading.table["label"] == "stone").sum()
    assert counts["background"] == 24
    assert "teal" not in counts  # named nowhere, and known names the known ones
    assert set(table.loc[table["label"] == "goose", "split"]) == {"test"}
    assert set(table.loc[table["label"] == "stone", "split"]) == {"val"}
    known = table[table["role"] == "known"]
    assert (known.groupby("group")["split"].nunique() == 1).all()


@pytest.mark.parametrize("unseen_groups", ["split", "all"])
def test_clutter_keeps_to_the_split_of_its_group(tmp_path: Path, unseen_groups: str) -> None:
    """Background of flights that are evaluated or calibrated on is never trained on."""
    table = build_table(
        make_reading(tmp_path),
        ood_train=["background", "goose"],
        ood_test=["stone"],
        background=2,
        unseen_groups=unseen_groups,
        split_fractions=(0.4, 0.2, 0.2, 0.2),
    )
    clutter = table[table["role"] == "clutter"]
    assert set(clutter["label"]) == {"background", "goose"}
    assert set(clutter["split"]) == {"train", "val", "test"}
    split = table[table["role"] == "known"].drop_duplicates("group").set_index("group")["split"]
    assert (clutter["split"] == clutter["group"].map(split)).all()
    held_out = table[table["split"].isin(["val", "test", "calibration"]) & (table["role"] == "known")]
    assert not set(clutter.loc[clutter["split"] == "train", "group"]) & set(held_out["group"])


def test_build_table_is_reproducible(tmp_path: Path) -> None:
    reading = make_reading(tmp_path)
    options = {"ood_test": ["background"], "background": 2}
    first, again = (build_table(reading, **options, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(build_table(reading, **options, seed=4))


def test_background_avoids_classes_that_are_not_used_and_obstacles(tmp_path: Path) -> None:
    reading = make_reading(tmp_path)
    obstacle = reading.frames.iloc[[0]][["frame"]].assign(x=0.0, y=0.0, width=120.0, height=100.0)
    blocked = Reading(reading.table, reading.frames, ReadReport(), obstacle)
    options = {
        "known": ["duck"],
        "ood_test": ["background"],
        "background": 3,
        "background_side": 6.0,
        "unseen_groups": "all",
    }
    table = build_table(blocked, **options)
    drawn = table[table["label"] == "background"]
    assert set(drawn["width"]) == {6.0}
    assert reading.frames["frame"][0] not in set(drawn["frame"])
    assert reading.frames["frame"][0] in set(build_table(reading, **options)["frame"])
    for _, row in drawn.iterrows():
        for _, box in reading.table[reading.table["frame"] == row.frame].iterrows():
            assert gap(row, box) >= 8.0


def test_missing_background_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        build_table(make_reading(tmp_path), ood_test=["background"], background=40, background_side=(10, 20))
    assert "of 960 background crops found no room" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"known": ["duck"], "ood_val": ["duck"]}, "'duck' is named in known and in ood_val"),
        ({"ood_val": ["stone"], "ood_test": ["stone"]}, "in ood_val and in ood_test"),
        ({"novel_val": ["goose"], "novel_test": ["goose"]}, "in novel_val and in novel_test"),
        ({"novel_val": ["goose"], "ood_test": ["goose"]}, "in novel_val and in ood_test"),
        ({"known": []}, "No class is known"),
        ({"known": ["swan"]}, r"'swan' named in known does not exist .*\['duck', 'goose'"),
        ({"ood_val": ["background"]}, "background is 0: set it to the crops per frame"),
        ({"background": 2}, 'no list uses it: name "background" in ood_train, ood_val or ood_test'),
        ({"ood_train": ["stone"], "ood_val": ["stone"]}, "in ood_train and in ood_val"),
        ({"background": 2, "known": ["duck", "background"]}, "no list uses it"),
        ({"background": -1}, "background is -1"),
        ({"unseen_groups": "some"}, "unseen_groups 'some' is unknown"),
        ({"background": 1, "ood_val": ["background"], "background_side": 0}, "background_side 0 must be px above 0"),
        ({"background": 1, "ood_val": ["background"], "background_side": (9, 5)}, r"background_side \(9, 5\) must be"),
        ({"background": 1, "ood_val": ["background"], "background_side": 500}, "No frame has room"),
        ({"split_fractions": (0.5, 0.5)}, "three or four positive numbers"),
    ],
)
def test_errors_of_build_table(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_table(make_reading(tmp_path), **options)


def test_own_class_called_background(tmp_path: Path) -> None:
    reading = make_reading(tmp_path, ("duck", "background"))
    table = build_table(reading, ood_test=["background"])
    assert set(table.loc[table["label"] == "background", "role"]) == {"ood"}
    with pytest.raises(ValueError, match='a class "background" of its own'):
        build_table(reading, ood_test=["background"], background=1)


def test_a_known_class_in_too_few_groups(tmp_path: Path) -> None:
    reading = make_reading(tmp_path)
    rare = (reading.table["label"] == "teal") & ~reading.table["group"].isin(["flight_03"])
    thin = Reading(reading.table[~rare].reset_index(drop=True), reading.frames, ReadReport())
    with pytest.raises(
        ValueError,
        match=r"The split \w+ has no crop of the class 'teal', which has \d crops in 1 group\(s\): "
        "try another seed, another group_by",
    ):
        build_table(thin)


def test_an_unseen_class_without_a_group_in_its_split() -> None:
    """Two classes that share their only group cannot go to val and test."""
    rows = [(f"/d/{g}/a.png", 1.0, 1.0, 5.0, 5.0, "duck", f"g{g}") for g in range(9)]
    rows += [("/d/0/a.png", 9.0, 9.0, 5.0, 5.0, label, "g0") for label in ("goose", "stone")]
    table = pd.DataFrame(rows, columns=list(READER_COLUMNS))
    reading = Reading(table, table[["frame", "group"]].drop_duplicates(), ReadReport())
    with pytest.raises(ValueError, match=r"in 1 group\(s\): .*, or unseen_groups \"all\""):
        build_table(reading, novel_val=["goose"], ood_test=["stone"])
    whole = build_table(reading, novel_val=["goose"], ood_test=["stone"], unseen_groups="all")
    assert len(whole) == len(rows)


def test_clutter_without_a_group_to_train_on() -> None:
    """No advice to take it from flights of the validation."""
    ducks = {"duck": 5}
    rows = labelled({"flight 0": ducks | {"goose": 5, "swan": 5, "stone": 5}, "flight 1": ducks, "flight 2": ducks})
    rows = rows.assign(frame="/" + rows["group"], x=0.0, y=0.0, width=9.0, height=9.0)[list(READER_COLUMNS)]
    reading = Reading(rows, rows[["frame", "group"]].drop_duplicates(), ReadReport())
    message = (
        "The split train has no crop of the class 'stone', .*: "
        "try another seed, another group_by or other lists in split_by.$"
    )
    with pytest.raises(ValueError, match=message):
        build_table(reading, novel_val=["goose", "swan"], ood_train=["stone"])


def test_real_split_by_conditions() -> None:
    root = SHARED / "hit_uav"
    if not root.exists():
        pytest.skip("the real data set hit_uav is not on this machine")
    reading = CocoJson(root, group_by=r"^(\d+_\d+_\d+_\d+)").read()
    assert reading.table["group"].nunique() == 89
    digests = set()
    for seed in range(5):
        table = build_table(
            reading,
            known=["Person", "Car", "Bicycle"],
            ood_val=["background"],
            ood_test=["OtherVehicle", "DontCare"],
            background=2,
            unseen_groups="all",
            seed=seed,
        )
        known = table[table["role"] == "known"]
        got = shares(known)[["train", "val", "test"]].to_numpy()
        np.testing.assert_allclose(got, np.tile([0.6, 0.2, 0.2], (3, 1)), atol=0.04)
        assert (known.groupby("group")["split"].nunique() == 1).all()
        assert table["label"].value_counts()[["OtherVehicle", "DontCare"]].tolist() == [12, 7]
        digests.add(tuple(known["split"]))
    assert len(digests) == 5


def test_copies_of_a_frame_in_two_groups_are_refused_unless_allowed(tmp_path: Path) -> None:
    reading = make_reading(tmp_path)
    copies = [(Path(reading.frames["frame"][0]), Path(reading.frames["frame"][1]))]
    copied = Reading(reading.table, reading.frames, ReadReport(), identical=copies)
    with pytest.raises(ValueError, match=r"1 frame\(s\) have the same bytes as a frame of another group"):
        build_table(copied)
    pd.testing.assert_frame_equal(build_table(copied, allow_identical_frames=True), build_table(reading))


@pytest.mark.parametrize("name", ["other", "unknown", " Other "])
def test_classes_named_like_an_answer_are_refused_when_they_are_used(tmp_path: Path, name: str) -> None:
    reading = make_reading(tmp_path)
    labels = sorted(reading.table["label"].unique())
    renamed = Reading(reading.table.replace({"label": {labels[0]: name}}), reading.frames, ReadReport())
    with pytest.raises(ValueError, match=rf"The class '{name}' has the name of an answer .*: rename it"):
        build_table(renamed)
    assert name not in set(build_table(renamed, known=labels[1:])["label"])


def test_build_table_by_the_names_of_groups(tmp_path: Path) -> None:
    reading = make_reading(tmp_path)
    split_by = {"train": [r"flight_0\d"], "val": ["flight_10"], "test": ["flight_11"]}
    options = {"novel_val": ["goose"], "ood_test": ["stone"]}
    table = build_table(reading, **options, split_by=split_by, split_fractions=(1.0,))
    validate_table(table)
    known = table[table["role"] == "known"]
    assert known.groupby("split")["group"].unique().map(len).to_dict() == {"train": 10, "val": 1, "test": 1}
    assert set(known.loc[known["split"] == "val", "group"]) == {"flight_10"}
    assert set(table.loc[table["label"] == "goose", "group"]) == {"flight_10"}
    with pytest.raises(ValueError, match="puts 1 of 12 groups into no split: flight_09"):
        build_table(reading, **options, split_by={**split_by, "train": [r"flight_0[0-8]"]})


def test_a_named_split_without_a_class_is_refused(tmp_path: Path) -> None:
    reading = make_reading(tmp_path)
    rows = reading.table[(reading.table["label"] != "teal") | (reading.table["group"] != "flight_11")]
    thin = Reading(rows.reset_index(drop=True), reading.frames, ReadReport())
    with pytest.raises(ValueError, match=r"The split test has no crop of the class 'teal'.*other lists in split_by"):
        build_table(thin, split_by={"train": [r"flight_0\d"], "val": ["flight_10"], "test": ["flight_11"]})
