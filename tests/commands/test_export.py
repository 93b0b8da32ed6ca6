"""`dml export`: its errors, what it writes, and a fitted run from the command line to the last decision."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.cli import main
from tests import ROOT


def test_the_folder_holds_what_its_readme_lists(exported: Callable[[str], Path]) -> None:
    folder = exported("frame") / "model"
    names = {path.name for path in folder.iterdir()} - {"__pycache__"}  # which reading leaves
    reader = {"score.py", "dml_geometry.py", "dml_judge.py", "dml_pixels", "dml_scores.py"}
    model = {"encoder.onnx", "encoder.pt2", "arrays.safetensors", "model.json"}
    assert names == reader | model | {"README.md", "recipe.fit.yaml"}
    text = (folder / "README.md").read_text()
    assert [name for name in names if f"`{name}`" not in text] == ["README.md"]
    for name in ("model.json", "README.md"):
        assert str(ROOT).encode() not in (folder / name).read_bytes(), name


def error_of(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        main(["export", *args])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_taken_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path, tmp_path / "file"):
        assert "exists already" in error_of(capsys, "--run=nowhere", f"--out={out}")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_run_must_be_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", f"--out={tmp_path / 'out'}"
    assert "not a run's folder" in error_of(capsys, f"--run={run}", out)
    run.mkdir()
    (run / "recipe.fit.yaml").write_text("model: {}\n")
    assert "has no gallery" in error_of(capsys, f"--run={run}", out)
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    error = error_of(capsys, "--run=nowhere", f"--out={tmp_path / 'out'}")
    assert 'needs onnxscript, which an extra installs: pip install "dml-lightning[export]".' in error


def test_the_check_is_printed(exported: Callable[[str], Path]) -> None:
    lines = [line for line in (exported("softmax") / "printed.txt").read_text().split("\n") if line]
    assert lines[-2].startswith("64 random crops: embeddings within ")
    assert lines[-1].startswith("64 crops of the run's data: embeddings within ")


def output_of(*args: object) -> str:
    """What Python prints with these arguments."""
    done = subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["softmax", "triplet"])
def test_from_a_fit_to_the_same_decisions_as_predict(
    arm: str, runs: dict[str, Path], flights: Path, tmp_path: Path
) -> None:
    run, out = runs[arm], tmp_path / "model"
    main(["predict", f"--run={run}", f"--data={flights}/annotations.json", f"--out={tmp_path}/p.csv"])
    # In a process of its own, since `torch.export` must not come into this one.
    printed = output_of("-m", "dml_lightning", "export", f"--run={run}", f"--out={out}")
    assert "64 crops of the run's data" in printed
    table = pd.read_csv(tmp_path / "p.csv")
    frame = table["frame"][0]
    expected = table[table["frame"] == frame]
    expected.to_csv(tmp_path / "boxes.csv", index=False)
    text = output_of(out / "score.py", flights / frame, "--boxes", tmp_path / "boxes.csv")
    rows = pd.DataFrame(csv.DictReader(io.StringIO(text)))
    for column in [name for name in expected if name.startswith("ood_score_")]:
        scores = rows[column].astype(float).to_numpy()
        assert np.abs(scores - expected[column].to_numpy()).max() < 1e-4
    assert rows["species"].tolist() == expected["species"].fillna("").tolist()
    for column in ("label", "label_prototype", "label_knn", "neighbours", "decision"):
        assert rows[column].tolist() == expected[column].tolist()
