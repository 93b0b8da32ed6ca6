"""`dml predict`: a finished run and some frames in, one row per box out."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from dml_lightning.cli import main
from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.sources import CocoJson
from dml_lightning.openset.gallery import Gallery

ROOT = Path(__file__).resolve().parents[2]
PROXIES = "--model.init_args.loss.init_args.loss.init_args"
UNLABELLED = ["frame,x,y,width,height,label", "frame.tiff,5,6,7,8,"]
BOX = ["frame", "x", "y", "width", "height"]
COLUMNS = (
    *("frame", "x", "y", "width", "height", "annotation", "label", "label_prototype", "label_knn"),
    *("distance", "ood_score", "threshold", "decision", "rule"),
)


@pytest.fixture(scope="module")
def table(runs: dict[str, Path], flights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of the softmax arm on its own data set."""
    out = tmp_path_factory.mktemp("predicted") / "predictions.csv"
    data = flights / "annotations.json"
    return main(["predict", f"--run={runs['softmax']}", f"--data={data}", f"--out={out}"])


def test_every_box_gets_one_row(table: Path, flights: Path) -> None:
    rows = pd.read_csv(table)
    boxes = json.loads((flights / "annotations.json").read_text())["annotations"]
    assert tuple(rows) == COLUMNS
    assert len(rows) == len(boxes)
    assert set(rows["decision"]) <= {"known", "unknown"}
    assert ((rows["ood_score"] > rows["threshold"]) == (rows["decision"] == "unknown")).all()


def test_rows_agree_with_the_run_s_own_evaluation(
    table: Path, runs: dict[str, Path], flights: Path
) -> None:
    """The validation crops get the scores that the fit computed from its cache, box by box."""
    data = yaml.safe_load((runs["softmax"] / "recipe.fit.yaml").read_text())["data"]
    roles = (
        "known",
        "novel_val",
        "novel_test",
        "ood_val",
        "ood_test",
        "unseen_groups",
        "background",
    )
    source = CocoJson(flights, annotations="annotations.json")
    crops = ThermalWaterfowlDataModule(source, **{name: data[name] for name in roles}).table
    gallery = Gallery.load(runs["softmax"] / "gallery.npz")
    with np.load(runs["softmax"] / "embeddings" / "val.npz") as file:
        known = file["roles"] == "known"
        scores = gallery.detector.score(file["vectors"][known], kind="nearest")
        boxes = crops.iloc[file["index"][known]][BOX].assign(expected=scores)
    rows = boxes.merge(pd.read_csv(table), on=BOX, validate="one_to_one")
    assert len(rows) == len(boxes)
    assert np.allclose(rows["ood_score"], rows["expected"], atol=1e-5)


def test_boxes_of_a_detector_need_no_label(runs: dict[str, Path], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(28_000, 28_400, (60, 80)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "frame.tiff", pixels)
    for lines in (["frame,x,y,width,height", "frame.tiff,5,6,7,8"], UNLABELLED):
        (tmp_path / "boxes.csv").write_text("\n".join(lines))
        words = [f"--run={runs['triplet']}", f"--data={tmp_path}/boxes.csv"]
        out = main(["predict", *words, f"--out={tmp_path}/out.csv"])
        assert len(pd.read_csv(out)) == 1


@pytest.mark.parametrize("arm", ["softmax", "triplet"])
def test_other_ways_of_naming_the_data_give_the_same_rows(
    runs: dict[str, Path], flights: Path, tmp_path: Path, arm: str
) -> None:
    init = {"root": str(flights), "annotations": "annotations.json"}
    source = {"class_path": "dml_lightning.data.sources.CocoJson", "init_args": init}
    config = tmp_path / "frames.yaml"
    config.write_text(yaml.safe_dump({"data": {"source": source, "crop_size": 64}}))
    results = [
        pd.read_csv(
            main(["predict", f"--run={runs[arm]}", f"--data={data}", f"--out={tmp_path}/{n}.csv"])
        )
        for n, data in enumerate([config, flights / "annotations.json"])
    ]
    pd.testing.assert_frame_equal(*results)


def test_a_run_with_a_loss_of_pytorch_metric_learning_predicts(
    words: list[str], flights: Path, tmp_path: Path
) -> None:
    """Its proxies are in the checkpoint, and its classes have untyped arguments."""
    config = f"--config={ROOT}/configs/model/pml_proxy_anchor.yaml"
    sizes = [f"{PROXIES}.{size}" for size in ("num_classes=4", "embedding_size=8")]
    short = ["--trainer.max_epochs=1", "--name=proxies"]
    run = main(["fit", *words, config, *sizes, *short])
    data = f"--data={flights}/annotations.json"
    out = main(["predict", f"--run={run}", data, f"--out={tmp_path}/out.csv"])
    assert len(pd.read_csv(out)) > 100


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
        (["--data={tmp}/strange.xyz"], "expected a .yaml config"),
        (["--data={tmp}/empty.yaml"], "neither `data: source:`"),
        (["--data={tmp}/list.yaml"], "holds a list"),
        (["--data={tmp}/broken.yaml"], "is not YAML"),
        (["--data={flights}/annotations.json", "--batch_size=0"], "batch_size is 0"),
        (["--data={flights}/annotations.json", "--out={tmp}"], "is a folder"),
        (
            ["--data={flights}/annotations.json", "--device=abacus"],
            "--device abacus cannot be used",
        ),
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
    for name in ("strange.xyz", "empty.yaml"):
        (tmp_path / name).write_text("")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    words = [word.format(tmp=tmp_path, flights=flights) for word in wrong]
    if not words[0].startswith("--run"):
        words.insert(0, f"--run={runs['triplet']}")
    with pytest.raises(SystemExit, match="2"):
        main(["predict", *words])
    assert message in capsys.readouterr().err
