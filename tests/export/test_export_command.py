"""`dml export`: its errors, its own check, and a fitted run from the command line to the last decision."""

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dml_lightning.cli import main
from dml_lightning.commands import export as command
from dml_lightning.data.crops import CropOptions
from dml_lightning.data.frames import Radiometry
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.export import check
from dml_lightning.export.contents import model_arrays, model_content
from dml_lightning.export.score import Model
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.models import SoftmaxModule
from dml_lightning.models.encoder import RawPixels
from dml_lightning.types import SETS, Embeddings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def trained(tmp_path: Path) -> TrainedRun:
    """A run of random embeddings."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    sets = {
        name: Embeddings(torch.randn(60, 4, generator=generator) + labels[:, None], labels, torch.arange(60))
        for name in SETS
    }
    groups = {name: np.array(["flight"] * 60) for name in SETS}
    gallery = Gallery.build(Evidence(sets, ["a", "b", "c"], 3, groups), "0123", alpha=0.1)
    module = SoftmaxModule(RawPixels(2), torch.optim.SGD, 3)
    return TrainedRun(tmp_path / "run", module, CropOptions(crop_size=16), gallery, "cpu")


def model_of(trained: TrainedRun) -> Model:
    """What the exported folder would hold, without a graph."""
    model = Model.__new__(Model)
    model.content, model.arrays = model_content(trained, "counts"), model_arrays(trained)
    model.rules, model.names = model.content["rules"], np.array(model.content["classes"])
    return model


def queries() -> Embeddings:
    vectors = 2 * torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    return Embeddings(vectors, torch.zeros(50, dtype=torch.int64), torch.arange(50))


def test_the_check_passes_what_is_equal(trained: TrainedRun) -> None:
    expected = queries()
    difference = check.deviation(trained, expected, model_of(trained), (expected.vectors.numpy(), None))
    assert difference.crops == 50
    assert difference.score < 1e-12
    assert difference.decisions == 0
    check.require(difference, "crops")


@pytest.mark.parametrize("shift", [2e-4, 0.5, float("nan")])
def test_the_check_finds_other_prototypes(trained: TrainedRun, shift: float) -> None:
    expected, model = queries(), model_of(trained)
    model.arrays["prototypes"] = model.arrays["prototypes"] + shift
    difference = check.deviation(trained, expected, model, (expected.vectors.numpy(), None))
    with pytest.raises(ValueError, match="differs from the run on 50 crops"):
        check.require(difference, "crops")


def test_the_check_finds_another_threshold(trained: TrainedRun) -> None:
    expected, model = queries(), model_of(trained)
    model.rules["B"]["threshold"] /= 2
    difference = check.deviation(trained, expected, model, (expected.vectors.numpy(), None))
    assert difference.decisions > 0
    with pytest.raises(ValueError, match="decisions; nothing was written"):
        check.require(difference, "crops")


def test_nothing_is_left_of_an_export_that_fails(
    trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, *_: Any) -> list[str]:
        (folder / "encoder.onnx").write_text("half")
        raise ValueError("differs")

    monkeypatch.setattr(command, "_fill", fail)
    with pytest.raises(ValueError, match="differs"):
        command.write_folder(trained, tmp_path / "out" / "model", "counts", None)
    assert list((tmp_path / "out").iterdir()) == []


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        main(["export", *words])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_taken_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path, tmp_path / "file"):
        assert "exists already" in said(capsys, "--run=nowhere", f"--out={out}")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_run_must_be_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", f"--out={tmp_path / 'out'}"
    assert "not a run's folder" in said(capsys, f"--run={run}", out)
    run.mkdir()
    (run / "recipe.fit.yaml").write_text("model: {}\n")
    assert "has no gallery" in said(capsys, f"--run={run}", out)
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    error = said(capsys, "--run=nowhere", f"--out={tmp_path / 'out'}")
    assert "dml export needs onnxscript; install with: pip install onnxscript" in error


def test_the_unit_is_that_of_the_frames(trained: TrainedRun, tmp_path: Path) -> None:
    import tifffile

    for name, dtype in (("counts", "uint16"), ("degC", "float32")):
        tifffile.imwrite(tmp_path / f"{name}.tiff", np.full((8, 8), 12, dtype))
        frames = [str(tmp_path / "gone.tiff"), str(tmp_path / f"{name}.tiff")]
        assert command._unit(trained, pd.DataFrame({"frame": frames}), None) == name
    with pytest.raises(ValueError, match="say --unit counts or --unit degC"):
        command._unit(trained, None, None)
    assert command._unit(trained, None, "degC") == "degC"


def test_a_radiometry_means_celsius(trained: TrainedRun) -> None:
    options = CropOptions(crop_size=16, radiometry=Radiometry(0.01, -273.15))
    celsius = TrainedRun(trained.folder, trained.module, options, trained.gallery, "cpu")
    assert command._unit(celsius, None, None) == "degC"
    with pytest.raises(ValueError, match="turns its frames into degC"):
        command._unit(celsius, None, "counts")


def dml(*words: object) -> str:
    """A command in a process of its own, which may import `torch.export`."""
    command = [sys.executable, "-m", "dml_lightning", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["softmax", "triplet"])
def test_from_a_fit_to_the_same_decisions_as_predict(arm: str, tmp_path: Path) -> None:
    flights, out = tmp_path / "flights", tmp_path / "model"
    dml("simulate", f"--out={flights}", "--flights=6", "--frames=4", "--width=480", "--height=384")
    encoder = "--model.init_args.encoder"
    dml(
        "fit",
        *(f"--config={ROOT}/configs/{name}.yaml" for name in ("base", "data/simulated", f"model/{arm}")),
        f"--data.source.init_args.root={flights}",
        f"--data.cache_dir={tmp_path}/cache",
        "--data.batches_per_epoch=4",
        "--data.known=[canada_goose, gadwall, mallard, snow_goose]",
        *("--data.classes_per_batch=4", "--data.samples_per_class=8", "--data.unseen_groups=all"),
        f"{encoder}.backbone_args={{channels: [8, 8, 16, 16], stem_width: 8}}",
        f"{encoder}.embedding_dim=8",
        f"--runs_root={tmp_path}/runs",
        "--trainer.max_epochs=2",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    )
    (run,) = {path.parent for path in (tmp_path / "runs").rglob("recipe.fit.yaml")}
    dml("predict", f"--run={run}", f"--data={flights}/annotations.json", f"--out={tmp_path}/p.csv")
    printed = dml("export", f"--run={run}", f"--out={out}")
    assert "64 crops of the run's data" in printed
    table = pd.read_csv(tmp_path / "p.csv")
    frame = table["frame"][0]
    expected = table[table["frame"] == frame]
    expected.to_csv(tmp_path / "boxes.csv", index=False)
    done = subprocess.run(
        [sys.executable, out / "score.py", frame, "--boxes", tmp_path / "boxes.csv"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = pd.DataFrame(csv.DictReader(io.StringIO(done.stdout)))
    for column in [name for name in expected if name.startswith("ood_score_")]:
        scores = rows[column].astype(float).to_numpy()
        assert np.abs(scores - expected[column].to_numpy()).max() < 1e-4
    for column in ("label", "label_prototype", "label_knn", "neighbours", "decision"):
        assert rows[column].tolist() == expected[column].tolist()
