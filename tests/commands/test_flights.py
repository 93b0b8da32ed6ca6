"""`dml drift` and `count` on a finished run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.cli import main
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.gallery.gallery import Gallery
from tests.commands.enrolling import NEW, enroll, predictions, table_of


@pytest.fixture
def calibrated(run: Path, unseen: pd.DataFrame, tmp_path: Path) -> Path:
    """The run with rule C from four flights."""
    names = Gallery.load(run / "gallery").class_names
    data = table_of(unseen[unseen["label"].isin(names)], tmp_path / "calibration.csv")
    main(["gallery", "recalibrate", f"--run={run}", f"--data={data}"])
    return run


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


def test_counts_add_up_to_the_boxes(
    calibrated: Path, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = predictions(calibrated, flights, tmp_path / "predictions.csv")
    words = ["count", f"--run={calibrated}", f"--predictions={tmp_path}/predictions.csv"]
    counts = main([*words, f"--out={tmp_path}/counts.csv"])
    written = pd.read_csv(tmp_path / "counts.csv")
    assert tuple(written) == ("flight", "label", "named", "corrected", "low", "high")
    assert len(written) == len(counts) == 5 * (table["group"].nunique() + 1)
    sums = counts.groupby("flight")[["named", "corrected"]].sum()
    boxes = table["group"].value_counts()
    for flight, size in boxes.items():
        assert sums.loc[flight, "named"] == size
        assert sums.loc[flight, "corrected"] == pytest.approx(size)
    assert sums.loc["all flights", "corrected"] == pytest.approx(len(table))
    assert ((counts["low"] <= counts["corrected"]) & (counts["corrected"] <= counts["high"])).all()
    known = table[table["decision"] == "known"]
    first = counts[(counts["flight"] == boxes.index[0]) & (counts["label"] == "mallard")]
    assert first["named"].item() == ((known["group"] == boxes.index[0]) & (known["label"] == "mallard")).sum()
    assert "named like a flight that the run was trained or tested on" in capsys.readouterr().out


def test_an_enrolled_species_without_held_out_crops_is_counted_as_named(
    calibrated: Path, flights: Path, boxes: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops = table_of(boxes[boxes["label"] == NEW].head(5), tmp_path / "crops.csv")
    enroll(calibrated, crops, label="swan of another kind")
    table = predictions(calibrated, flights, tmp_path / "predictions.csv")
    words = [f"--run={calibrated}", f"--predictions={tmp_path}/predictions.csv"]
    counts = main(["count", *words])
    assert "swan of another kind was enrolled and has no held-out crops" in capsys.readouterr().out
    rows = counts[counts["label"] == "swan of another kind"]
    assert (rows["named"] == rows["corrected"]).all()
    assert rows["low"].isna().all()
    assert rows["named"].max() > 0
    sums = counts.groupby("flight")["corrected"].sum()
    assert sums["all flights"] == pytest.approx(len(table))


def test_counts_are_not_corrected_by_embeddings_of_another_encoder(
    calibrated: Path, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions(calibrated, flights, tmp_path / "predictions.csv")
    folder = calibrated / "embeddings"
    found = read_evidence(folder / "val.npz")
    assert found.encoder == Gallery.load(calibrated / "gallery").encoder
    replace(found, encoder="of before").save(folder / "test.npz")
    words = ["count", f"--run={calibrated}", f"--predictions={tmp_path}/predictions.csv"]
    main(words)
    assert f"Confusion from {folder / 'val.npz'}" in capsys.readouterr().out
    replace(found, encoder="of before").save(folder / "val.npz")
    shutil.rmtree(calibrated / "digests")  # as a run of 0.1, which has none
    with pytest.raises(SystemExit, match="2"):
        main(words)
    said = capsys.readouterr().err
    assert "test.npz is of the encoder of before, the gallery of" in said
    assert f"dml test --run {calibrated}" in said


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
