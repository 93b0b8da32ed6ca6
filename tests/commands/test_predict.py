"""`dml predict`: a finished run and some frames in, one row per box out."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from dml_lightning.cli import main
from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.sources import CocoJson
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.flights.predictions import read_predictions
from dml_lightning.flights.taxonomy import node_counts, read_taxonomy
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.boxes import OWN
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.models import TripletModule
from tests import ROOT
from tests.commands.enrolling import NEW, enroll, table_of
from tests.data.test_positions import UTM_32_NORTH, geotiff

ROLES = ("known", "novel_val", "novel_test", "ood_val", "ood_test", "unseen_groups", "background")
PROXIES = "--model.init_args.loss.init_args.loss.init_args"
UNLABELLED = ["frame,x,y,width,height,label", "frame.tiff,5,6,7,8,"]
BOX = ["frame", "x", "y", "width", "height"]
COLUMNS = (
    *("frame", "x", "y", "width", "height", "group", "annotation", "score", "min_score"),
    *("species", "label", "label_prototype", "label_radius", "label_knn"),
    *("distance", "distance_trained", "neighbours", "neighbour_labels"),
    *("ood_score_A", "threshold_A", "ood_score_B", "threshold_B"),
    *("ood_score_C", "threshold_C"),
    *("p_value", "decision", "rule", "rule_origin", "rule_score", "rule_score_reason"),
    *("species_set", "set_alpha", "set_level", "set_node", "gallery"),
)


@pytest.fixture(scope="module")
def table(runs: dict[str, Path], flights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of the softmax arm on its own data set."""
    out = tmp_path_factory.mktemp("predicted") / "predictions.csv"
    data = flights / "annotations.json"
    return main(["predict", f"--run={runs['softmax']}", f"--data={data}", f"--out={out}"])


def crop_table(run: Path, flights: Path) -> pd.DataFrame:
    """The crop table that a run was trained on, with frames as predictions name them."""
    data = yaml.safe_load((run / "recipe.fit.yaml").read_text())["data"]
    source = CocoJson(flights, annotations="annotations.json")
    chosen = {name: data[name] for name in (*ROLES, "split_fractions")}
    table = ThermalWaterfowlDataModule(source, **chosen).table
    return table.assign(frame=[Path(frame).relative_to(flights).as_posix() for frame in table["frame"]])


def test_every_box_gets_one_row(table: Path, runs: dict[str, Path], flights: Path) -> None:
    rows = pd.read_csv(table)
    boxes = json.loads((flights / "annotations.json").read_text())["annotations"]
    rules = Gallery.load(runs["softmax"] / "gallery").thresholds
    expected = [name for name in COLUMNS if "ood_score_" not in name and "threshold_" not in name] + [
        f"{word}_{rule}" for rule in rules for word in ("ood_score", "threshold")
    ]
    assert sorted(rows.columns.tolist()) == sorted(expected)
    assert [name for name in COLUMNS if name in rows] == list(rows)
    assert len(rows) == len(boxes)
    assert set(rows["decision"]) == {"known", "unknown"}
    assert (rows["species"].fillna("") == rows["label"].where(rows["decision"] == "known", "")).all()
    assert all((flights / frame).is_file() and not Path(frame).is_absolute() for frame in rows["frame"])
    assert set(rows["gallery"]) == {Gallery.load(runs["softmax"] / "gallery").version}
    assert (rows["distance_trained"] == rows["distance"]).all()  # nothing is enrolled
    assert rows["group"].nunique() == 6
    rule = rows["rule"].iloc[0]
    refused = rows[f"ood_score_{rule}"] > rows[f"threshold_{rule}"]
    assert (refused == (rows["decision"] == "unknown")).all()


def test_rows_agree_with_the_run_s_own_evaluation(table: Path, runs: dict[str, Path], flights: Path) -> None:
    """Validation crops get the scores, names and p-values that the fit's own embeddings give, box by box."""
    run = runs["softmax"]
    crops = crop_table(run, flights)
    gallery = Gallery.load(run / "gallery")
    known = read_evidence(run / "embeddings" / "val.npz").sets["known"]
    boxes = crops.iloc[known.index.numpy()][BOX].reset_index(drop=True)
    boxes["named"] = [gallery.class_names[i] for i in known.logits.argmax(1).tolist()]
    distances = gallery.prototypes.distances(known.vectors).numpy()
    boxes["nearest"] = distances.min(axis=1)
    adjusted = distances - gallery.prototypes.radii
    boxes["excess"] = adjusted.min(axis=1)
    boxes["in_ball"] = [gallery.class_names[i] for i in adjusted.argmin(axis=1)]
    rows = boxes.merge(pd.read_csv(table), on=BOX, validate="one_to_one")
    assert len(rows) == len(boxes)
    assert np.allclose(rows["distance"], rows["nearest"], atol=1e-5)
    assert np.allclose(rows["ood_score_A"], rows["excess"], atol=1e-5)
    assert (rows["label_radius"] == rows["in_ball"]).mean() > 0.99
    assert np.allclose(rows["ood_score_B"], rows["nearest"], atol=1e-5)
    assert (rows["label"] == rows["named"]).mean() > 0.99  # but for logits that tie to rounding
    if "C" in gallery.thresholds:
        held_out = gallery.thresholds["C"].scores
        above = [(held_out >= score).sum() for score in rows["ood_score_C"]]
        assert np.allclose(rows["p_value"], (1 + np.array(above)) / (len(held_out) + 1), atol=0.02)


def test_neighbours_are_crops_of_the_training_table(table: Path, runs: dict[str, Path], flights: Path) -> None:
    """Each is the row of a training crop with that label, and they are the nearest in their order."""
    run = runs["softmax"]
    crops = crop_table(run, flights)
    reference = Gallery.load(run / "gallery").reference
    evidence = read_evidence(run / "embeddings" / "val.npz").sets["known"]
    boxes = crops.iloc[evidence.index.numpy()][BOX].reset_index(drop=True)
    boxes["place"] = np.arange(len(boxes))
    rows = boxes.merge(pd.read_csv(table), on=BOX).sort_values("place").head(25)
    place = {index: i for i, index in enumerate(reference.index.tolist())}
    for row in rows.to_dict("records"):
        numbers = [int(number) for number in json.loads(row["neighbours"])]
        assert len(numbers) == 5
        assert [crops.loc[number, "label"] for number in numbers] == json.loads(row["neighbour_labels"])
        assert {crops.loc[number, "split"] for number in numbers} == {"train"}
        vector = evidence.vectors[row["place"]].double()
        distances = [float((vector - other.double()).norm()) for other in reference.vectors]
        chosen = [distances[place[number]] for number in numbers]
        assert np.allclose(chosen, sorted(distances)[:5], atol=1e-5)


def test_parquet_holds_what_csv_holds(table: Path, runs: dict[str, Path], flights: Path, tmp_path: Path) -> None:
    data = f"--data={flights}/annotations.json"
    words = [f"--run={runs['softmax']}", data, f"--out={tmp_path}/out.parquet"]
    found = pd.read_parquet(main(["predict", *words, "--batch_size=64"]))
    expected = pd.read_csv(table).assign(set_level="", set_node="").fillna({"species": ""})  # there is no taxonomy
    assert list(found) == list(expected)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "origin"), [("A", "radius + epsilon; refuses "), ("B", "best balanced accuracy on validation that ")]
)
def test_the_rule_that_was_asked_for_decides(
    runs: dict[str, Path], flights: Path, tmp_path: Path, rule: str, origin: str
) -> None:
    words = [f"--run={runs['triplet']}", f"--data={flights}/annotations.json"]
    rows = pd.read_csv(main(["predict", *words, f"--rule={rule}", f"--out={tmp_path}/o.csv"]))
    refused = rows[f"ood_score_{rule}"] > rows[f"threshold_{rule}"]
    assert (refused == (rows["decision"] == "unknown")).all()
    assert (rows["rule"] == rule).all()
    assert rows["rule_origin"].str.startswith(origin).all()
    assert rows["rule_origin"].str.endswith(" % of known validation crops").all()


def test_one_picture_per_frame(runs: dict[str, Path], flights: Path, tmp_path: Path) -> None:
    words = [f"--run={runs['triplet']}", f"--data={flights}/annotations.json"]
    out = main(["predict", *words, f"--out={tmp_path}/o.csv", f"--pictures={tmp_path}/drawn"])
    frames = pd.read_csv(out)["frame"].map(Path).unique()
    names = {f"{frame.parent.name}_{frame.stem}.png" for frame in frames}
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == names


def test_boxes_are_put_on_a_map(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    geotiff(tmp_path / "a.tif", UTM_32_NORTH, 500_000, 0, (0.5, 0.5))
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((30, 40), np.float32))
    (tmp_path / "boxes.csv").write_text("frame,x,y,width,height\na.tif,10,10,8,8\nb.tif,10,10,8,8\n")
    words = ["predict", f"--run={runs['triplet']}", f"--data={tmp_path}/boxes.csv", f"--out={tmp_path}/p.csv"]
    main([*words, f"--map={tmp_path}/p.geojson", "--write=coco"])
    said = capsys.readouterr().out
    assert f"1 boxes in {tmp_path}/p.geojson; 1 frames cannot be placed." in said
    assert "Not on the map: " in said
    (feature,) = json.loads((tmp_path / "p.geojson").read_text())["features"]
    row = pd.read_csv(tmp_path / "p.csv").iloc[0]
    assert feature["properties"]["resembles"] == row["label"]
    assert (tmp_path / "p.coco" / "annotations.json").is_file()
    (tmp_path / "p.csv").unlink()
    for wrong, message in (("--map=p.shp", "name the .geojson or .gpkg"), ("--write=coco", "may hold corrections")):
        with pytest.raises(SystemExit, match="2"):
            main([*words, wrong])
        assert message in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


def test_a_failure_leaves_no_table(
    runs: dict[str, Path], flights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails after the first batches are written; what was there before stays."""
    calls = []

    def failing(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("in the midst")
        return answer(*arguments)

    monkeypatch.setattr("dml_lightning.gallery.boxes.ROWS", 16)
    monkeypatch.setattr("dml_lightning.gallery.boxes.answer", failing)
    words = [f"--run={runs['triplet']}", f"--data={flights}/annotations.json", "--batch_size=16"]
    for name in ("out.csv", "out.parquet"):
        calls.clear()
        (tmp_path / name).write_text("before")
        with pytest.raises(RuntimeError, match="in the midst"):
            main(["predict", *words, f"--out={tmp_path}/{name}"])
        assert (tmp_path / name).read_text() == "before"
        assert len(calls) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.parquet"]


def test_boxes_of_a_detector_need_no_label(runs: dict[str, Path], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(28_000, 28_400, (60, 80)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "frame.tiff", pixels)
    for lines in (["frame,x,y,width,height", "frame.tiff,5,6,7,8"], UNLABELLED):
        (tmp_path / "boxes.csv").write_text("\n".join(lines))
        words = [f"--run={runs['triplet']}", f"--data={tmp_path}/boxes.csv"]
        out = main(["predict", *words, f"--out={tmp_path}/out.csv"])
        assert len(pd.read_csv(out)) == 1


def test_further_columns_of_a_table_are_carried_through(runs: dict[str, Path], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(28_000, 28_400, (60, 80)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "frame.tiff", pixels)
    head = "id,frame,x,y,width,height,observer,label,decision,twice,twice,threshold_A"
    lines = [head, "007,frame.tiff,5,6,7,8,NA,,sure,1,2,9", "008,frame.tiff,15,6,7,8", "009,frame.tiff,25,6,0,8,lost"]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    for ending in ("csv", "parquet"):
        out = tmp_path / f"out.{ending}"
        main(["predict", f"--run={runs['triplet']}", f"--data={tmp_path}/boxes.csv", f"--out={out}"])
        rows = pd.read_csv(out, dtype=str, keep_default_na=False) if ending == "csv" else pd.read_parquet(out)
        assert rows[["id", "observer"]].to_numpy().tolist() == [["007", "NA"], ["008", ""]]
        assert list(rows)[-3:] == ["gallery", "id", "observer"]
        assert set(rows["decision"]) <= {"known", "unknown"}
        assert read_predictions(out, Gallery.load(runs["triplet"] / "gallery")).flights == [tmp_path.name]


def test_the_help_lists_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    told = capsys.readouterr().out
    assert [name for name in OWN if not re.search(rf"\b{name}\b", told.partition("Columns:")[2])] == []
    assert "\n\nColumns: frame (path below the folder of the data)," in told


def test_flights_of_a_table_are_those_of_the_predictions(runs: dict[str, Path], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(28_000, 28_400, (60, 80)).astype(np.uint16)
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tiff", pixels)
    recipe = yaml.safe_load((ROOT / "configs/data/csv.yaml").read_text())
    column = recipe["data"]["source"]["init_args"]["group_column"]
    for header in (column, f" {column}"):
        lines = [f"frame,x,y,width,height,{header}", "a.tiff,5,6,7,8,dawn", "b.tiff,5,6,7,8,noon"]
        (tmp_path / "boxes.csv").write_text("\n".join(lines))
        words = [f"--run={runs['triplet']}", f"--data={tmp_path}/boxes.csv"]
        out = main(["predict", *words, f"--out={tmp_path}/out.csv"])
        assert pd.read_csv(out)["group"].tolist() == ["dawn", "noon"]


@pytest.mark.parametrize("arm", ["softmax", "triplet"])
def test_other_ways_of_naming_the_data_give_the_same_rows(
    runs: dict[str, Path], flights: Path, tmp_path: Path, arm: str
) -> None:
    init = {"root": str(flights), "annotations": "annotations.json"}
    source = {"class_path": "dml_lightning.data.sources.CocoJson", "init_args": init}
    config = tmp_path / "frames.yaml"
    config.write_text(yaml.safe_dump({"data": {"source": source, "crop_size": 64}}))
    results = [
        pd.read_csv(main(["predict", f"--run={runs[arm]}", f"--data={data}", f"--out={tmp_path}/{n}.csv"]))
        for n, data in enumerate([config, flights / "annotations.json"])
    ]
    pd.testing.assert_frame_equal(*results)


def test_a_run_with_a_loss_of_pytorch_metric_learning_predicts(words: list[str], flights: Path, tmp_path: Path) -> None:
    """Its proxies are in the checkpoint, and its classes have untyped arguments."""
    config = f"--config={ROOT}/configs/model/pml_proxy_anchor.yaml"
    sizes = [f"{PROXIES}.{size}" for size in ("num_classes=4", "embedding_size=8")]
    short = ["--trainer.max_epochs=1", "--name=proxies"]
    run = main(["fit", *words, config, *sizes, *short])
    data = f"--data={flights}/annotations.json"
    out = main(["predict", f"--run={run}", data, f"--out={tmp_path}/out.csv"])
    assert len(pd.read_csv(out)) > 100
    module = TripletModule.load_from_checkpoint(run / "checkpoints" / "best.ckpt")
    assert module.loss.loss.proxies.shape == (4, 8)


def test_a_bad_frame_is_named_and_the_others_are_kept(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(28_000, 28_400, (60, 80)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "good.tiff", pixels)
    tifffile.imwrite(tmp_path / "bad.tiff", pixels)
    whole = (tmp_path / "bad.tiff").read_bytes()
    (tmp_path / "bad.tiff").write_bytes(whole[: len(whole) // 2])
    lines = ["frame,x,y,width,height,label", "good.tiff,5,6,7,8,duck", "bad.tiff,5,6,7,8,duck"]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    words = ["predict", f"--run={runs['triplet']}", f"--data={tmp_path}/boxes.csv"]
    out = tmp_path / "out.csv"
    main([*words, f"--out={out}"])
    assert pd.read_csv(out)["frame"].map(lambda p: Path(p).name).tolist() == ["good.tiff"]
    assert "bad.tiff" in capsys.readouterr().out
    out.unlink()
    (tmp_path / "boxes.csv").write_text("\n".join([lines[0], lines[2]]))
    with pytest.raises(SystemExit, match="2"):
        main([*words, f"--out={out}", f"--pictures={tmp_path}/drawn"])
    assert "no frame of the data set can be read, the first being" in capsys.readouterr().err
    assert not out.exists()
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    with pytest.raises(SystemExit, match="2"):
        main([*words, f"--out={out}", "--on_bad_frame=stop"])
    assert "bad.tiff" in capsys.readouterr().err
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--run=/nowhere", "--data=x.csv"], "not a run's folder"),
        (["--data=/nowhere.csv"], "neither a file nor a folder"),
        (["--data={tmp}/strange.xyz"], "is none of the layouts that can be read: expected a data config"),
        (["--data={tmp}/empty.yaml"], "neither `data: source:`"),
        (["--data={tmp}/list.yaml"], "holds a list"),
        (["--data={tmp}/broken.yaml"], "is no valid YAML"),
        (["--data={tmp}/source.yaml"], "source.yaml: Parser key"),
        (["--data={tmp}/empty.csv"], "empty.csv has no column"),
        (["--data={tmp}/latin.csv"], "latin.csv is no CSV text in UTF-8"),
        (["--data={flights}/annotations.json", "--batch_size=0"], "batch_size is 0"),
        (["--data={flights}/annotations.json", "--out={tmp}"], "name the .csv or .parquet file"),
        (["--data={flights}/annotations.json", "--neighbours=0"], "must be at least 1"),
        (["--data={flights}/annotations.json", "--rule=Z"], "there is no rule 'Z'"),
        (["--data={flights}/annotations.json", "--out={tmp}/out.xlsx"], "name the .csv or"),
        (["--data={flights}/annotations.json", "--device=abacus"], "--device abacus cannot be used"),
    ],
)
def test_wrong_input_gets_one_sentence(
    runs: dict[str, Path],
    flights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: list[str],
    message: str,
) -> None:
    for name in ("strange.xyz", "empty.yaml", "empty.csv"):
        (tmp_path / name).write_text("")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    (tmp_path / "source.yaml").write_text("data: {source: {class_path: Nothing}}\n")
    (tmp_path / "latin.csv").write_bytes("frame,label\na.tif,Küken\n".encode("latin-1"))
    words = [word.format(tmp=tmp_path, flights=flights) for word in wrong]
    if not words[0].startswith("--run"):
        words.insert(0, f"--run={runs['triplet']}")
    with pytest.raises(SystemExit, match="2"):
        main(["predict", *words])
    assert message in capsys.readouterr().err


@pytest.fixture
def old_run() -> Path:
    """A finished run that is there without training."""
    return ROOT / "tests" / "old_files" / "run_of_0_1"


def test_a_map_without_a_place_costs_nothing_else(
    old_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "frame.tiff", np.random.default_rng(0).integers(90, 110, (60, 80), np.uint16))
    (tmp_path / "boxes.csv").write_text("frame,x,y,width,height\nframe.tiff,20,20,9,9\n")
    words = ["predict", f"--run={old_run}", f"--data={tmp_path}/boxes.csv", f"--out={tmp_path}/p.csv"]
    with pytest.raises(SystemExit, match="2"):
        main([*words, f"--map={tmp_path}/p.geojson", "--write=coco"])
    assert "no box can be put on a map" in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "p.csv")) == 1
    assert (tmp_path / "p.coco" / "annotations.json").is_file()
    assert not (tmp_path / "p.geojson").exists()


def test_the_table_of_boxes_is_not_named_like_that_of_frames(
    old_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict", f"--run={old_run}", "--data=x", f"--out={tmp_path}/night.frames.csv"])
    assert ".frames.csv ends the table of frames beside that of the boxes" in capsys.readouterr().err


def test_an_unreadable_frame_without_a_box_is_not_counted_as_seen(old_run: Path, tmp_path: Path) -> None:
    for name in ("good", "empty", "cut"):
        tifffile.imwrite(tmp_path / f"{name}.tiff", np.random.default_rng(0).integers(90, 110, (60, 80), np.uint16))
    cut = tmp_path / "cut.tiff"
    cut.write_bytes(cut.read_bytes()[:1000])
    (tmp_path / "boxes.csv").write_text("frame,x,y,width,height\ngood.tiff,20,20,9,9\nempty.tiff,,,,\ncut.tiff,,,,\n")
    main(["predict", f"--run={old_run}", f"--data={tmp_path}/boxes.csv", f"--out={tmp_path}/p.csv", "--write=coco"])
    frames = pd.read_csv(tmp_path / "p.frames.csv").set_index("frame")
    assert frames["used"].rename(lambda name: Path(name).stem).to_dict() == {"good": True, "empty": True, "cut": False}
    assert "truncated" in frames["reason"]["cut.tiff"]


@pytest.fixture
def calibrated(run: Path, unseen: pd.DataFrame, tmp_path: Path) -> Path:
    """The run with calibration crops from four flights."""
    names = Gallery.load(run / "gallery").class_names
    data = table_of(unseen[unseen["label"].isin(names)], tmp_path / "calibration.csv")
    main(["gallery", "recalibrate", f"--run={run}", f"--data={data}"])
    return run


def test_boxes_get_sets_of_species_and_their_lowest_node(
    calibrated: Path, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the taxonomy of the simulated flights; the embeddings of the run's own crops are there to compare with."""
    out, taxonomy = tmp_path / "predictions.csv", flights / "taxonomy.csv"
    words = ["predict", f"--run={calibrated}", f"--data={flights}/annotations.json", f"--out={out}"]
    capsys.readouterr()
    main([*words, "--set_alpha=0.1", f"--taxonomy={taxonomy}"])
    gallery = Gallery.load(calibrated / "gallery")
    sets, tree = gallery.set_thresholds(0.1), read_taxonomy(taxonomy, gallery.names)
    rows = pd.read_csv(out)
    names = [json.loads(each) for each in rows["species_set"]]
    assert (rows["set_alpha"] == 0.1).all()
    assert all(row[0] == label for row, label in zip(names, rows["label"], strict=True))
    assert len({len(row) for row in names}) > 1
    assert [tree.lowest(row) for row in names] == list(zip(rows["set_level"], rows["set_node"], strict=True))
    crops = crop_table(calibrated, flights)
    known = read_evidence(calibrated / "embeddings" / "val.npz").sets["known"]
    expected = answer(gallery, known, sets=sets).species_set
    keys = rows.set_index(BOX)["species_set"]
    for crop, own in zip(crops.iloc[known.index.numpy()][BOX].itertuples(index=False), expected, strict=True):
        assert json.loads(keys.loc[tuple(crop)]) == own
    counts = pd.read_csv(tmp_path / "predictions.nodes.csv", keep_default_na=False)
    assert counts["boxes"].sum() == len(rows)
    assert counts["boxes"][counts["node"] == "unknown"].sum() == (rows["decision"] == "unknown").sum()
    pd.testing.assert_frame_equal(counts, node_counts(rows), check_dtype=False)
    printed = " ".join(capsys.readouterr().out.split())
    promise = (
        "Sets of species hold that of a known box with probability 0.9, before refusal, and with rule C accept it too"
    )
    assert f"{promise} with 0.85 or more: {sets.origin(gallery.class_names)}." in printed
    single = ((rows["set_level"] == "species") & (rows["decision"] == "known")).sum()
    assert f"By lowest node in {tmp_path}/predictions.nodes.csv: {single} species, " in printed
    assert read_predictions(out, gallery).table["set_node"].tolist() == rows["set_node"].tolist()


def test_sets_are_there_without_a_taxonomy(
    calibrated: Path, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "predictions.parquet"
    (tmp_path / "predictions.nodes.csv").write_text("of an earlier call with a taxonomy")
    main(["predict", f"--run={calibrated}", f"--data={flights}/annotations.json", f"--out={out}"])
    rows = pd.read_parquet(out)
    assert set(rows["set_alpha"]) == {0.05}
    assert all(json.loads(each) for each in rows["species_set"])
    assert set(rows["set_node"]) == set(rows["set_level"]) == {""}
    assert not (tmp_path / "predictions.nodes.csv").exists()
    assert "hold that of a known box with probability 0.95" in capsys.readouterr().out


def test_a_gallery_without_calibration_crops_by_class_says_what_to_do(
    old_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence and empty columns, or the sentence as an error where sets were asked for."""
    tifffile.imwrite(tmp_path / "frame.tiff", np.random.default_rng(0).integers(90, 110, (60, 80), np.uint16))
    (tmp_path / "boxes.csv").write_text("frame,x,y,width,height\nframe.tiff,20,20,9,9\n")
    (tmp_path / "taxonomy.csv").write_text("species,genus\n")
    words = ["predict", f"--run={old_run}", f"--data={tmp_path}/boxes.csv", f"--out={tmp_path}/p.csv"]
    sentence = (
        "this gallery keeps no calibration crops by class, so there are no sets of species: dml validate --run RUN"
    )
    for option in ("--set_alpha=0.1", f"--taxonomy={tmp_path}/taxonomy.csv"):
        with pytest.raises(SystemExit, match="2"):
            main([*words, option])
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()
    main(words)
    assert f"No sets of species: {sentence}" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "p.csv")
    assert rows[["species_set", "set_alpha", "set_level", "set_node"]].isna().all(axis=None)


def test_the_taxonomy_is_not_written_over(old_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for taxonomy in ("p.csv", "p.nodes.csv"):
        (tmp_path / taxonomy).write_text("species,genus\n")
        with pytest.raises(SystemExit, match="2"):
            main(
                [
                    "predict",
                    f"--run={old_run}",
                    "--data=x",
                    f"--out={tmp_path}/p.csv",
                    f"--taxonomy={tmp_path}/{taxonomy}",
                ]
            )
        assert f"--out {tmp_path}/{taxonomy}" in capsys.readouterr().err
        assert (tmp_path / taxonomy).read_text() == "species,genus\n"


def test_a_taxonomy_without_an_enrolled_species_is_refused(
    calibrated: Path, unseen: pd.DataFrame, flights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enroll(calibrated, table_of(unseen[unseen["label"] == NEW].head(5), tmp_path / "new.csv"))
    kept = [line for line in (flights / "taxonomy.csv").read_text().splitlines() if not line.startswith(NEW)]
    (tmp_path / "taxonomy.csv").write_text("\n".join(kept))
    words = [f"--run={calibrated}", f"--data={flights}/annotations.json", f"--out={tmp_path}/p.csv"]
    with pytest.raises(SystemExit, match="2"):
        main(["predict", *words, f"--taxonomy={tmp_path}/taxonomy.csv"])
    assert f"lacks {NEW}, which the run names: add each with its genus, group, family" in capsys.readouterr().err
