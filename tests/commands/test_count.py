"""`dml count` on a finished run."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.cli import main
from dml_lightning.evaluation.evidence import read_evidence
from tests.commands.enrolling import NEW, enroll, flown, predictions, table_of


def test_counts_add_up_to_the_boxes(
    calibrated: Path, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = predictions(calibrated, flights, tmp_path / "predictions.csv")
    words = ["count", f"--run={calibrated}", f"--predictions={tmp_path}/predictions.csv"]
    counts = main([*words, f"--out={tmp_path}/counts.csv"])
    written = pd.read_csv(tmp_path / "counts.csv")
    effort = ("limits", "frames", "frames_unused", "min_score")
    assert tuple(written) == ("flight", "label", "named", "corrected", "low", "high", *effort)
    assert len(written) == len(counts) == 5 * (table["group"].nunique() + 1)
    sheet = pd.read_csv(tmp_path / "counts.wide.csv")
    assert {str(kind) for kind in written[["named", "low", "high", "frames"]].dtypes} == {"int64"}
    assert not re.search(r"\d(e-|\.\d{5})", (tmp_path / "counts.csv").read_text())  # more than a count can tell
    assert sheet["flight"].tolist() == counts["flight"].drop_duplicates().tolist()
    for row in written.to_dict("records"):
        own = sheet[sheet["flight"] == row["flight"]]
        for name in ("named", "corrected", "low", "high"):
            assert own[f"{row['label']} {name}"].item() == row[name]
        assert own["frames"].item() == row["frames"]
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
    text = capsys.readouterr().out
    assert "false boxes of the detector are not taken out" in text
    assert "held-out flight(s)" not in text
    assert set(counts["limits"]) == {"interval"}
    assert (counts[["low", "high"]] % 1 == 0).all(axis=None)


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


def test_the_matrix_is_that_of_the_test_alone(
    calibrated: Path, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flights of the validation chose the checkpoint, so their matrix is too good."""
    predictions(calibrated, flights, tmp_path / "predictions.csv")
    tested = calibrated / "embeddings" / "test.npz"
    evidence = read_evidence(tested)
    words = ["count", f"--run={calibrated}", f"--predictions={tmp_path}/predictions.csv"]
    replace(evidence, encoder="of before").save(tested)
    for message in ("test.npz is of the encoder of before, the gallery of", "no test embeddings to take a confusion"):
        capsys.readouterr()
        with pytest.raises(SystemExit, match="2"):
            main(words)
        error = capsys.readouterr().err
        assert message in error
        assert f"dml test --run {calibrated}" in error
        tested.unlink(missing_ok=True)


def test_four_held_out_flights_give_a_range(
    calibrated: Path, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions(calibrated, flights, tmp_path / "predictions.csv")
    tested = calibrated / "embeddings" / "test.npz"
    evidence = read_evidence(tested)
    groups = {name: np.array([f"t{i % 4}" for i in range(len(part))]) for name, part in evidence.sets.items()}
    replace(evidence, groups=groups).save(tested)
    counts = main(["count", f"--run={calibrated}", f"--predictions={tmp_path}/predictions.csv"])
    assert set(counts["limits"]) == {"range"}
    assert ((counts["low"] <= counts["corrected"]) & (counts["corrected"] <= counts["high"])).all()
    text = capsys.readouterr().out
    assert "Warning: 4 held-out flight(s) of species: low and high are the range of the counts" in text, text[-900:]


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


def test_false_boxes_are_taken_out(calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three false boxes a frame on flights without birds: that many of each flight's are false."""
    places = [[x, 20, 0.9] for x in range(10, 100, 20)]
    clutter = flown(tmp_path / "empty", dict.fromkeys("abcde", places[:3]))
    night = flown(tmp_path / "set", {"dawn": places, "noon": []})
    predict = ["predict", f"--run={calibrated}"]
    for data, name in ((clutter, "empty"), (night, "night")):
        main([*predict, f"--data={data}", f"--out={tmp_path}/{name}.csv"])
    words = ["count", f"--run={calibrated}", f"--predictions={tmp_path}/night.csv"]
    counts = main([*words, f"--false_boxes={tmp_path}/empty.csv"])
    assert "false boxes of the detector are not taken out" not in capsys.readouterr().out
    boxes = counts.groupby("flight")[["named", "corrected"]].sum()
    assert boxes["named"].to_dict() == {"dawn": 5, "noon": 0, "all flights": 5}
    assert boxes["corrected"].to_dict() == pytest.approx(boxes["named"].to_dict())
    false = counts[counts["label"] == "false boxes"].set_index("flight")
    assert 0 < false["corrected"]["dawn"] <= 3.01
    assert false["low"].isna().all()
    for name, message in (("night", "holds dawn, which is to be counted"), ("one", "is of 1 flight: how false boxes")):
        if name == "one":
            main([*predict, f"--data={flown(tmp_path / 'one', {'f': places})}", f"--out={tmp_path}/one.csv"])
        with pytest.raises(SystemExit, match="2"):
            main([*words, f"--false_boxes={tmp_path}/{name}.csv"])
        assert message in capsys.readouterr().err
    main([*predict, f"--data={clutter}", f"--out={tmp_path}/rule.csv", "--rule=A"])
    (tmp_path / "empty.frames.csv").unlink()
    for name, message in (("rule", "was made by rule A"), ("empty", "have no table of frames beside them")):
        with pytest.raises(SystemExit, match="2"):
            main([*words, f"--false_boxes={tmp_path}/{name}.csv"])
        assert message in capsys.readouterr().err


def test_a_flight_called_like_the_sum_is_refused(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = flown(tmp_path / "set", {"all flights": [[10, 20, 0.9]]})
    main(["predict", f"--run={calibrated}", f"--data={data}", f"--out={tmp_path}/p.csv"])
    with pytest.raises(SystemExit, match="2"):
        main(["count", f"--run={calibrated}", f"--predictions={tmp_path}/p.csv"])
    assert "a flight is called 'all flights', which stands for the sum" in capsys.readouterr().err
