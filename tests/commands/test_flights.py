"""`dml drift` on a finished run, and what it shares with `dml count`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.cli import main
from dml_lightning.gallery.gallery import Gallery
from tests.commands.enrolling import flown, predictions


def test_drift_has_a_status_and_a_table(
    calibrated: Path, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = predictions(calibrated, flights, tmp_path / "predictions.csv")
    words = ["drift", f"--run={calibrated}", f"--out={tmp_path}/drift.json"]
    found = main([*words, f"--predictions={tmp_path}/predictions.csv"])
    assert [each.flight for each in found] == sorted(table["group"].unique())
    assert json.loads((tmp_path / "drift.json").read_text())[0]["flight"] == found[0].flight
    one = table["group"] == found[5].flight
    table.loc[one, "distance_trained"] *= 20
    table.to_csv(tmp_path / "moved.csv", index=False)
    threshold = table["threshold_C"].iloc[0]
    known = table[one & table["annotation"].isin(Gallery.load(calibrated / "gallery").class_names)]
    for checked in ("true", "false"):  # every box lies beyond the threshold then
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*words, f"--checked={checked}", f"--predictions={tmp_path}/moved.csv"])
        assert ended.value.code == 3
        entries = json.loads((tmp_path / "drift.json").read_text())
        assert {each["flight"] for each in entries if each["drifted"]} == {found[5].flight}
        said = capsys.readouterr().out
        assert "4 calibration flights" in said
        note = f"{found[5].flight}: all but 0 of its boxes lie beyond the threshold"
        assert (note in said) == (checked == "false")
        if checked == "true":  # refused is that of the threshold, though nothing is cut
            moved = (known["distance_trained"] > threshold).mean()
            assert entries[5]["refused"] == pytest.approx(moved)
            assert entries[5]["used"] == entries[5]["boxes"] == len(known)


def test_flights_without_a_bird_are_counted_as_flown(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The middle flight has no box: 0 of each species in its frame; of the last flight no frame is there."""
    data = flown(tmp_path / "set", {"dawn": [[x, 20, 1] for x in range(5, 105, 15)], "noon": [], "dusk": [[30, 30, 1]]})
    out = tmp_path / "p.csv"
    main(["predict", f"--run={calibrated}", f"--data={data}", f"--out={out}"])
    assert "1 of 3 have no box" in capsys.readouterr().out
    words = [f"--run={calibrated}", f"--predictions={out}"]
    counts = main(["count", *words, f"--out={tmp_path}/counts.csv"])
    said = capsys.readouterr().out
    assert "3 frames of 3 flights; 1 more could not be used." in said
    assert "none of the 1 frames of lost could be used: it is left out" in said
    assert counts["flight"].unique().tolist() == ["dawn", "dusk", "noon", "all flights"]
    noon = counts[counts["flight"] == "noon"]
    assert noon["label"].tolist() == counts[counts["flight"] == "dawn"]["label"].tolist()
    assert (noon[["named", "corrected", "low", "high"]] == 0).all(axis=None)
    assert counts.groupby("flight")["named"].sum().to_dict() == {"dawn": 7, "dusk": 1, "noon": 0, "all flights": 8}
    assert counts.groupby("flight")["frames"].first().to_dict() == {"dawn": 1, "dusk": 1, "noon": 1, "all flights": 3}
    assert counts.groupby("flight")["frames_unused"].first()["all flights"] == 1
    with pytest.raises(SystemExit) as ended:  # noise is no bird
        main(["drift", *words, f"--out={tmp_path}/drift.json"])
    assert ended.value.code == 3
    entries = json.loads((tmp_path / "drift.json").read_text())
    assert [each["flight"] for each in entries] == ["dawn", "dusk", "noon"]
    assert entries[2]["boxes"] == 0
    assert entries[2]["note"] == "no box to compare in its 1 frames"


def test_a_data_set_without_any_bird_is_counted(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = flown(tmp_path / "set", {"dawn": [], "noon": []})
    for kind in ("csv", "parquet"):
        out = tmp_path / f"p.{kind}"
        main(["predict", f"--run={calibrated}", f"--data={data}", f"--out={out}", f"--pictures={tmp_path}/drawn"])
        words = [f"--run={calibrated}", f"--predictions={out}"]
        counts = main(["count", *words])
        assert set(counts["flight"]) == {"dawn", "noon", "all flights"}
        assert (counts[["named", "corrected", "low", "high"]] == 0).all(axis=None)
        assert [each.boxes for each in main(["drift", *words])] == [0, 0]
    (tmp_path / "p.frames.csv").unlink()
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["count", *words])
    assert "has no rows" in capsys.readouterr().err


def test_a_table_without_its_frames_says_what_it_lacks(
    calibrated: Path, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = predictions(calibrated, flights, tmp_path / "predictions.csv")
    (tmp_path / "predictions.frames.csv").unlink()
    counts = main(["count", f"--run={calibrated}", f"--predictions={tmp_path}/predictions.csv"])
    assert "flights without a box are missing here" in capsys.readouterr().out
    assert set(counts["flight"]) == {*table["group"], "all flights"}
    assert counts["frames"].isna().all()
    with pytest.raises(SystemExit, match="2"):
        main(["drift", f"--run={calibrated}", f"--predictions={tmp_path}/predictions.csv", f"--out={tmp_path}/d.xlsx"])
    assert "name the .json file to write" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["drift", "count"])
def test_predictions_that_do_not_belong_are_refused(
    calibrated: Path, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    table = predictions(calibrated, flights, tmp_path / "predictions.csv")
    wrong = {
        "other.csv": (table.assign(threshold_C=table["threshold_C"] + 0.1), "predict again"),
        "name.csv": (table.assign(label="dodo"), "names 'dodo', which the gallery lacks"),
        "rules.csv": (
            table.assign(rule=np.where(np.arange(len(table)) % 2, "A: x", "C: y")),
            "by several rules, A and C",
        ),
        "lacks.csv": (table.drop(columns="group"), "lacks group"),
        "older.csv": (
            table.assign(gallery="0123-0"),
            f"older.csv was made with the gallery 0123-0, which is {table['gallery'][0]} since",
        ),
        "empty.csv": (table.head(0), "has no rows"),
        "case.csv": (table.assign(decision="Known"), "case.csv row 2 has the decision 'Known': it must be known or"),
        "blank.csv": (table.assign(group=[*table["group"][:-1], ""]), f"row {len(table) + 1} has the group ''"),
        "negative.csv": (table.assign(distance_trained=-1.0), "row 2 has the distance_trained -1.0"),
        "infinite.csv": (table.assign(distance_trained=np.inf), "a finite number of at least 0"),
        "word.csv": (table.assign(distance_trained="far"), "row 2 has the distance_trained 'far'"),
        "twice.csv": (pd.concat([table, table[3:5]]), f"row {len(table) + 2} is the same as an earlier one (2 such"),
        "p.frames.csv": (table, "is the table of frames: give that of the boxes"),
    }
    for name, (content, message) in wrong.items():
        content.to_csv(tmp_path / name, index=False)
        with pytest.raises(SystemExit, match="2"):
            main([command, f"--run={calibrated}", f"--predictions={tmp_path}/{name}"])
        assert message in capsys.readouterr().err
    for words, message in [
        ([f"--predictions={tmp_path}/none.csv"], "that dml predict wrote"),
        ([f"--predictions={tmp_path}/other.csv", "--level=1"], "strictly between 0 and 1"),
    ]:
        with pytest.raises(SystemExit, match="2"):
            main([command, f"--run={calibrated}", *words])
        assert message in capsys.readouterr().err
