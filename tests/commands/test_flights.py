"""`dml drift` and `count` on a finished run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

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
    effort = ("frames", "frames_unused", "min_score")
    assert tuple(written) == ("flight", "label", "named", "corrected", "low", "high", *effort)
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


def flown(folder: Path, flights: dict[str, list[list[float]]], scores: bool = False) -> Path:
    """A COCO set of one frame per flight with boxes (x, y, score), and of one unreadable frame."""
    images, boxes = [], []
    for number, (flight, given) in enumerate(flights.items()):
        (folder / flight).mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(28_000, 28_400, (96, 128)).astype(np.uint16)
        tifffile.imwrite(folder / flight / "0.tiff", pixels)
        images.append({"id": number, "file_name": f"{flight}/0.tiff"})
        for x, y, score in given:
            box = {"id": len(boxes), "image_id": number, "category_id": 1, "bbox": [x, y, 9, 9]}
            boxes.append(box | ({"score": score} if scores else {}))
    images.append({"id": 99, "file_name": "lost/0.tiff"})
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "bird"}]}
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"


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


def test_low_scores_are_left_out_and_counts_say_so(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = {"dawn": [[x, 20, x / 100] for x in range(10, 100, 20)], "noon": [[10, 10, 0.2]]}
    data, out = flown(tmp_path / "set", boxes, scores=True), tmp_path / "p.csv"
    words = ["predict", f"--run={calibrated}", f"--data={data}", f"--out={out}"]
    main(words)
    table = pd.read_csv(out)
    assert table["score"].tolist() == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9, 0.2])
    assert table["min_score"].isna().all()
    main([*words, "--min_score=0.5"])
    table = pd.read_csv(out)
    assert table["score"].tolist() == pytest.approx([0.5, 0.7, 0.9])
    assert (table["min_score"] == 0.5).all()
    counts = main(["count", f"--run={calibrated}", f"--predictions={out}"])
    assert "Boxes with a detector's score of at least 0.5." in capsys.readouterr().out
    assert (counts["min_score"] == 0.5).all()
    assert counts.groupby("flight")["named"].sum()["noon"] == 0
    for wrong, message in (("1.5", "scores lie between 0 and 1"), ("high", "min_score")):
        with pytest.raises(SystemExit, match="2"):
            main([*words, f"--min_score={wrong}"])
        assert message in capsys.readouterr().err


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
