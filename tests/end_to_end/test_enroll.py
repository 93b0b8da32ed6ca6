"""`dml enroll`, `gallery`, `drift` and `count` on a finished run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dml_lightning.cli import main
from dml_lightning.data.frames import read_frame
from dml_lightning.data.sources import CocoJson
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.gallery.gallery import Gallery, Species
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.simulate import simulate

NEW = "tundra_swan"


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the triplet arm's run, to be changed."""
    copy = tmp_path / "run"
    shutil.copytree(runs["triplet"], copy, ignore=shutil.ignore_patterns("wandb", "csv"))
    return copy


@pytest.fixture(scope="module")
def boxes(flights: Path) -> pd.DataFrame:
    return CocoJson(flights, annotations="annotations.json").read().table


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Boxes of four flights that no run has seen."""
    out = tmp_path_factory.mktemp("unseen") / "simulated"
    size = {"frames": 4, "width": 480, "height": 384, "workers": 1}
    simulate(out, flights=4, seed=1, progress=False, **size)
    return CocoJson(out, annotations="annotations.json").read().table


def table_of(boxes: pd.DataFrame, path: Path) -> Path:
    """Boxes as a CSV table beside absolute paths of their frames."""
    boxes.to_csv(path, index=False)
    return path


def predictions(run: Path, flights: Path, out: Path) -> pd.DataFrame:
    data = f"--data={flights}/annotations.json"
    return pd.read_csv(main(["predict", f"--run={run}", data, f"--out={out}"]))


def enroll(run: Path, crops: Path, *more: str, label: str = NEW) -> Species:
    return main(["enroll", f"--run={run}", f"--crops={crops}", f"--label={label}", *more])


def test_an_enrolled_species_is_predicted_and_removing_it_restores_every_row(
    run: Path, flights: Path, boxes: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = predictions(run, flights, tmp_path / "before.csv")
    crops = table_of(boxes[boxes["label"] == NEW].head(5), tmp_path / "crops.csv")
    species = enroll(run, crops)
    said = capsys.readouterr().out
    assert f"{NEW}: 5 crops, 5 of them new; radius {species.radius:.4g}." in said
    assert "nearest classes" in said
    enrolled = predictions(run, flights, tmp_path / "enrolled.csv")
    assert NEW in set(enrolled["label"])
    assert enrolled["neighbours"].str.contains(f"{NEW}/0:{NEW}").any()
    same = enrolled["label_prototype"] != NEW  # nearest to a known prototype still
    pd.testing.assert_series_equal(enrolled.loc[same, "label"], before.loc[same, "label"])
    pd.testing.assert_series_equal(enrolled.loc[same, "distance"], before.loc[same, "distance"])
    pd.testing.assert_series_equal(enrolled["distance_trained"], before["distance"], check_names=False)
    assert (enrolled["decision"][before["decision"] == "known"] == "known").all()
    gained = (before["decision"] == "unknown") & (enrolled["decision"] == "known")
    assert set(enrolled.loc[gained, "label"]) == {NEW}  # no crop becomes one of a trained class

    table = main(["gallery", "list", f"--run={run}"])
    assert table["label"].tolist()[-1] == NEW
    assert table["origin"].tolist() == 4 * ["trained"] + ["enrolled"]
    assert table["crops"].tolist()[-1] == 5
    said = capsys.readouterr().out
    assert "\nrule A: radius + epsilon; threshold 0" in said
    assert ", the default" in said
    main(["gallery", "remove", f"--run={run}", f"--label={NEW}"])
    after = predictions(run, flights, tmp_path / "after.csv")
    versions = ["gallery"]
    pd.testing.assert_frame_equal(after.drop(columns=versions), before.drop(columns=versions))
    tables = (before, enrolled, after)
    assert len({name for table in tables for name in table["gallery"].unique()}) == len(tables)


def test_a_folder_of_pictures_and_folders_of_classes(run: Path, boxes: pd.DataFrame, tmp_path: Path) -> None:
    """Whole pictures are crops; of several classes the one that is named like the species is taken."""
    cut = boxes[boxes["label"] == NEW].head(3)
    flat, classes = tmp_path / "flat", tmp_path / "classes"
    for target in (flat, classes / NEW, classes / "debris"):
        target.mkdir(parents=True)
        for number, box in enumerate(cut.to_dict("records")):
            x, y, w, h = (int(box[key]) for key in ("x", "y", "width", "height"))
            pixels = read_frame(Path(box["frame"])).pixels[y : y + h, x : x + w]
            pixels = pixels + len(target.name)  # other pictures in every folder
            Image.fromarray(pixels.astype(np.uint16)).save(target / f"{number}.png")
    assert len(enroll(run, flat, label="flat one").vectors) == 3
    assert len(enroll(run, classes).vectors) == 3
    assert len(enroll(run, classes, "--only=debris", label="rubbish").vectors) == 3
    assert Gallery.load(run / "gallery").names[4:] == ["flat one", NEW, "rubbish"]


def test_a_species_that_lies_on_a_known_class_is_warned_of(
    run: Path, boxes: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops = table_of(boxes[boxes["label"] == "mallard"].head(12), tmp_path / "crops.csv")
    enroll(run, crops, label="almost a mallard")
    assert "Warning: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--crops={tmp}/all.csv", "--label=stranger"], "say with --only which are 'stranger'"),
        (["--crops={tmp}/all.csv", "--label=x", "--only=dodo"], "say with --only which"),
        (["--crops={tmp}/all.csv", "--label=mallard"], "a class that the run was trained on"),
        (["--crops={tmp}/none", "--label=x"], "neither a file nor a folder"),
        (["--crops={tmp}/empty", "--label=x"], "is none of the layouts that can be read"),
    ],
)
def test_crops_that_cannot_be_used_get_one_sentence(
    runs: dict[str, Path],
    boxes: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: list[str],
    message: str,
) -> None:
    few = boxes[boxes["label"].isin(["mallard", "gadwall"])].groupby("label").head(2)
    table_of(few, tmp_path / "all.csv")
    (tmp_path / "empty").mkdir()
    words = [word.format(tmp=tmp_path) for word in wrong]
    with pytest.raises(SystemExit, match="2"):
        main(["enroll", f"--run={runs['triplet']}", *words])
    assert message in capsys.readouterr().err


def test_a_gallery_of_another_encoder_is_refused(
    run: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "gallery")
    shutil.copytree(runs["softmax"] / "gallery", run / "gallery")
    with pytest.raises(SystemExit, match="2"):
        main(["enroll", f"--run={run}", "--crops=x", "--label=y"])
    assert "is of another checkpoint than checkpoints/best.ckpt" in capsys.readouterr().err


def test_a_damaged_gallery_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = next((run / "gallery").glob("0000-*.safetensors"))
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(SystemExit, match="2"):
        main(["gallery", "list", f"--run={run}"])
    assert "is damaged" in capsys.readouterr().err


def test_recalibration_takes_its_threshold_from_checked_crops(
    run: Path, unseen: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = Gallery.load(run / "gallery").class_names
    known = unseen[unseen["label"].isin(names)].groupby("group").head(20)
    other = unseen[unseen["label"] == NEW].head(4)
    data = table_of(pd.concat([known, other]), tmp_path / "checked.csv")
    words = ["gallery", "recalibrate", f"--run={run}", f"--data={data}"]
    changed = main([*words, "--alpha=0.1"])
    said = capsys.readouterr().out
    assert f"{len(known)} crops of known classes; 4 of others are left out." in said
    threshold = changed.detector("C").threshold
    assert (threshold.samples, threshold.alpha) == (len(known), 0.1)
    trained = TrainedRun.load(str(run))
    table = known.reset_index(drop=True)
    parts = trained.embed_table(table, 64, "stop", {})
    vectors = np.concatenate([part.vectors.numpy() for part in parts])
    nearest = np.sort(trained.gallery.rules["A"].distances(vectors).min(1))
    rank = int(np.ceil((len(known) + 1) * 0.9 - 1e-9))
    assert threshold.value == pytest.approx(nearest[rank - 1], abs=1e-5)
    assert Gallery.load(run / "gallery").default_rule == "C"


def test_too_few_checked_crops_are_refused(
    run: Path, unseen: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = Gallery.load(run / "gallery").class_names
    files = sorted((run / "gallery").iterdir())
    data = table_of(unseen[unseen["label"].isin(names)].head(9), tmp_path / "checked.csv")
    words = ["gallery", "recalibrate", f"--run={run}", f"--data={data}"]
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "9 checked crops are too few for alpha = 0.05: check 19, or take --alpha 0.1" in capsys.readouterr().err
    assert sorted((run / "gallery").iterdir()) == files
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--alpha=0"])
    assert "alpha must lie strictly between 0 and 1, got 0" in capsys.readouterr().err
    main([*words, "--alpha=0.1"])
    table_of(unseen[unseen["label"] == NEW], tmp_path / "checked.csv")
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "has no crop of canada_goose" in capsys.readouterr().err


def test_recalibration_on_crops_of_the_training_is_refused(
    run: Path, boxes: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Embedded again, in batches of another size, they are the stored ones but for rounding."""
    gallery = Gallery.load(run / "gallery")
    known = boxes[boxes["label"].isin(gallery.class_names)]
    data = table_of(known, tmp_path / "checked.csv")
    with pytest.raises(SystemExit, match="2"):
        main(["gallery", "recalibrate", f"--run={run}", f"--data={data}", "--batch_size=50"])
    said = f"{len(gallery.reference)} of the {len(known)} crops of {data} were trained on"
    assert said in capsys.readouterr().err
    assert Gallery.load(run / "gallery").version == gallery.version


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
