"""`dml predict`: a finished run and some frames in, one row per box out."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from dml_lightning.cli import main
from dml_lightning.openset.gallery import Gallery

ROOT = Path(__file__).resolve().parents[2]
PROXIES = "--model.init_args.loss.init_args.loss.init_args"
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
    """The validation crops get the labels and scores that the fit computed from its cache."""
    rows = pd.read_csv(table).set_index(["frame", "x", "y", "width", "height"])
    gallery = Gallery.load(runs["softmax"] / "gallery.npz")
    with np.load(runs["softmax"] / "embeddings" / "val.npz") as file:
        known = file["sets"] == "known"
        scores = gallery.detector.score(file["vectors"][known], kind="nearest")
        names = file["class_names"][file["labels"][known]]
    found = rows[rows["annotation"].isin(gallery.class_names)]
    for name, score in zip(names, scores, strict=True):
        candidates = found.loc[found["annotation"] == name, "ood_score"].to_numpy()
        assert np.abs(candidates - score).min() < 1e-4


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
    ],
)
def test_wrong_input_gets_one_sentence(
    runs: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: list[str],
    message: str,
) -> None:
    for name in ("strange.xyz", "empty.yaml"):
        (tmp_path / name).write_text("")
    words = [word.replace("{tmp}", str(tmp_path)) for word in wrong]
    if len(words) == 1:
        words.insert(0, f"--run={runs['triplet']}")
    with pytest.raises(SystemExit, match="2"):
        main(["predict", *words])
    assert message in capsys.readouterr().err
