"""`dml enroll` and `gallery` on a finished run."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dml_lightning.cli import main
from dml_lightning.data.frames import read_frame
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.trained import TrainedRun
from tests.commands.enrolling import NEW, enroll, predictions, table_of


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
    assert enrolled["neighbours"].str.contains(f'"{NEW}/0"').any()
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
    assert "\nrule A: distance beyond the nearest ball of a class; radius + epsilon; refuses " in said
    assert "\nRules B and C refuse by the " in said
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
    shutil.rmtree(run / "digests")  # as a run of 0.1, which has none
    with pytest.raises(SystemExit, match="2"):
        main(["enroll", f"--run={run}", f"--crops={run}", "--label=y"])
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
    threshold = changed.threshold("C")
    assert (threshold.samples, threshold.alpha) == (len(known), 0.1)
    trained = TrainedRun.load(str(run))
    table = known.reset_index(drop=True)
    parts = trained.embed_table(table, 64, "stop", {})
    vectors = np.concatenate([part.vectors.numpy() for part in parts])
    nearest = np.sort(trained.gallery.prototypes.distances(vectors).min(1))
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
    assert sorted((run / "gallery").iterdir()) == files
    changed = main([*words, "--alpha=0.1", "--per_flight=true"])
    assert (changed.threshold("C").samples, changed.threshold("C").too_few_flights) == (9, True)
    assert "too few flights for one crop of each, so all crops count" in capsys.readouterr().out
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
