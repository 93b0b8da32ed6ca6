"""An exported folder in a fresh process: it says what the run says, without PyTorch, Lightning or this package."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

CASES = [
    "softmax",
    "frame",
    "window",
    pytest.param("mobilenetv3_small_050", marks=pytest.mark.slow),
    pytest.param("convnext_atto", marks=pytest.mark.slow),
]
TOLERANCE = 1e-4
READER = """
import csv, sys
from pathlib import Path
import numpy as np
import tifffile
folder = Path(sys.argv[1])
sys.path.insert(0, str(folder / "model"))
from score import Model, read_boxes
model = Model(folder / "model")
with (folder / "boxes.csv").open() as file:
    frames = np.array([row["frame"] for row in csv.DictReader(file)])
boxes, said = read_boxes(folder / "boxes.csv"), {}
for path in dict.fromkeys(frames):
    crops = model.cut(tifffile.imread(path), boxes[frames == path])
    vectors, logits = model.embed(crops)
    said.setdefault("vectors", []).append(vectors)
    for rule in model.rules:
        answer = model.judge(vectors, logits, rule)
        said.setdefault(f"decision_{rule}", []).append(answer.pop("decision"))
    for name, array in model.predict(crops).items():
        said.setdefault(name, []).append(array)
np.savez(folder / "said.npz", **{name: np.concatenate(parts) for name, parts in said.items()})
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
PROGRAM = """
import sys
for name in ("dml_lightning", "lightning", "timm"):
    sys.modules[name] = None  # importing it raises
from pathlib import Path
import numpy as np
import torch
folder = Path(sys.argv[1])
crops = np.load(folder / "crops.npy")
program = torch.export.load(folder / "model" / "encoder.pt2").module()
outputs = program(crops=torch.from_numpy(crops))
sys.path.insert(0, str(folder / "model"))
from score import Model
found = [part for part in Model(folder / "model").embed(crops) if part is not None]
for mine, theirs in zip(outputs, found, strict=True):
    assert np.abs(mine.detach().numpy() - theirs).max() < 1e-5
"""


def fresh(program: str, *words: object, cwd: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", program, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def read(exported: Callable[[str], Path]) -> Callable[[str], tuple[dict[str, Any], dict[str, Any]]]:
    """What the run said and what the folder says, once per case."""
    known: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def get(case: str) -> tuple[dict[str, Any], dict[str, Any]]:
        if case not in known:
            folder = exported(case)
            modules = fresh(READER, folder, cwd=folder).split()
            assert not {"torch", "lightning", "dml_lightning", "timm", "pandas"} & set(modules)
            assert {"onnxruntime", "score"} <= set(modules)
            with np.load(folder / "expected.npz") as ours, np.load(folder / "said.npz") as theirs:
                known[case] = dict(ours), dict(theirs)
        return known[case]

    return get


@pytest.mark.parametrize("case", CASES)
def test_scores_and_decisions_are_the_run_s(case: str, read: Any) -> None:
    ours, theirs = read(case)
    assert np.abs(ours["vectors"] - theirs["vectors"]).max() < 1e-5
    for name in ("distance", "distance_trained"):
        assert np.abs(ours[name] - theirs[name]).max() < TOLERANCE
    for rule in ours["rules"]:
        score, known = ours[f"score_{rule}"], ours[f"known_{rule}"]
        assert np.abs(score - theirs[f"ood_score_{rule}"]).max() < TOLERANCE
        clear = np.abs(score - ours[f"threshold_{rule}"]) > TOLERANCE
        assert clear.mean() > 0.9
        assert (known == (theirs[f"decision_{rule}"] == "known"))[clear].all()
    chosen = theirs[f"decision_{ours['default_rule']}"]
    assert (theirs["decision"] == chosen).all()


@pytest.mark.parametrize("case", CASES)
def test_names_neighbours_and_p_values_are_the_run_s(case: str, read: Any) -> None:
    ours, theirs = read(case)
    for name in ("label", "label_prototype", "label_radius", "label_knn", "neighbours"):
        assert (ours[name] == theirs[name]).mean() > 0.99, name  # equal but for near ties
    step = 1 / (int(ours["calibration"]) + 1)  # a calibration crop may change places with itself
    assert np.abs(ours["p_value"] - theirs["p_value"]).max() < 1.01 * step
    assert (ours["p_value"] == theirs["p_value"]).mean() > 0.6


def test_the_cases_hold_every_kind_of_rule_and_answer(read: Any) -> None:
    ours, theirs = read("softmax")
    assert list(ours["rules"]) == ["A", "B", "C", "C_class"]
    for rule in ours["rules"]:
        assert 0 < ours[f"known_{rule}"].mean() <= 1
    assert any((~ours[f"known_{rule}"]).any() for rule in ours["rules"])
    assert (ours["label"] != ours["label_prototype"]).any()
    assert {"swan", "heron"} & set(theirs["label_prototype"])
    assert any("swan/" in words for words in theirs["neighbours"])
    near_new = np.isin(ours["label_prototype"], ["swan", "heron"])
    named_new = np.isin(ours["label"], ["swan", "heron"])
    assert (near_new & ~named_new).any()  # nearest to an enrolled species and outside its ball
    assert named_new.any()
    frame, _ = read("frame")
    assert np.isinf(frame["threshold_C"])
    assert frame["known_C"].all()
    assert str(frame["default_rule"]) == "A"


@pytest.mark.parametrize("case", ["softmax", "window"])
def test_the_pytorch_program_loads_without_this_package(case: str, exported: Callable[[str], Path]) -> None:
    folder = exported(case)
    size = json.loads((folder / "model" / "model.json").read_text())["crop"]["crop_size"]
    crops = np.random.default_rng(0).normal(12, 2, (5, 1, size, size)).astype(np.float32)
    np.save(folder / "crops.npy", crops)
    fresh(PROGRAM, folder, cwd=folder)


def run_reader(folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(folder / "model" / "score.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_the_reader_is_a_command(exported: Callable[[str], Path], read: Any) -> None:
    folder = exported("softmax")
    _, theirs = read("softmax")
    table = pd.read_csv(folder / "boxes.csv")
    first = table[table["frame"] == table["frame"][0]]
    first.to_csv(folder / "first.csv", index=False)
    done = run_reader(folder, first["frame"].iloc[0], "--boxes", "first.csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["decision"] for row in rows] == theirs["decision"][: len(first)].tolist()
    assert [row["label"] for row in rows] == theirs["label"][: len(first)].tolist()
    np.save(folder / "none.npy", np.empty((0, 16, 16), np.uint16))
    assert run_reader(folder, "none.npy", "--rule", "B").stdout.count("\n") == 1  # names alone
    wrong = run_reader(folder, "none.npy", "--rule", "D")
    assert wrong.returncode == 1
    assert wrong.stderr == "score.py: there is no rule 'D'; there are A, B, C, C_class.\n"


def test_model_json_says_where_thresholds_come_from(exported: Callable[[str], Path]) -> None:
    words = json.loads((exported("softmax") / "model" / "model.json").read_text())
    assert words["classes"] == ["goose", "gull", "teal"]
    assert [species["label"] for species in words["enrolled"]] == ["swan", "heron"]
    rule = words["rules"]["C"]
    assert (rule["alpha"], rule["calibration_flights"], rule["kind"]) == (0.1, 1, "nearest")
    assert rule["calibration_crops"] > 20
    assert words["rules"]["C_class"]["kind"] == "class"
    assert words["crop"]["unit"] == "counts"
    assert len(words["checks"]) == 2
    infinite = json.loads((exported("frame") / "model" / "model.json").read_text())
    assert infinite["rules"]["C"]["threshold"] is None
    assert infinite["crop"]["radiometry"] == {"gain": 0.01, "offset": -273.15}


def test_the_graph_is_one_file_with_names(exported: Callable[[str], Path]) -> None:
    folder = exported("frame") / "model"
    proto = onnx.load(folder / "encoder.onnx")
    assert [shape_of(value) for value in proto.graph.input] == [("crops", ["N", 1, 16, 16]), ("statistics", ["N", 2])]
    assert [shape_of(value) for value in proto.graph.output] == [("embedding", ["N", 16])]
    assert "degC" in proto.doc_string
    assert {path.name for path in folder.iterdir()} == {
        *("encoder.onnx", "encoder.pt2", "arrays.safetensors", "model.json"),
        *("score.py", "dml_geometry.py", "dml_judge.py", "dml_pixels", "README.md", "recipe.fit.yaml"),
    }
    root = str(Path(__file__).resolve().parents[2]).encode()
    for name in ("encoder.onnx", "encoder.pt2", "model.json", "README.md"):
        assert root not in (folder / name).read_bytes(), name


def shape_of(value: Any) -> tuple[str, list[Any]]:
    dims = value.type.tensor_type.shape.dim
    return value.name, [dim.dim_param or dim.dim_value for dim in dims]


def test_the_readme_of_the_folder_states_rules_and_geometry(exported: Callable[[str], Path]) -> None:
    text = (exported("softmax") / "model" / "README.md").read_text()
    for sentence in ("max(1.5 × the box's longer side, 8 px)", "n=", "swan, heron", "crops (N, 1, 16, 16)"):
        assert sentence in text
    frame = (exported("frame") / "model" / "README.md").read_text()
    assert "none: refuses nothing" in frame
    assert "degC = 0.01 × counts + -273.15" in frame


def test_the_check_is_printed(exported: Callable[[str], Path]) -> None:
    lines = [line for line in (exported("softmax") / "printed.txt").read_text().split("\n") if line]
    assert lines[-2].startswith("64 random crops: embeddings within ")
    assert lines[-1].startswith("64 crops of the run's data: embeddings within ")


def test_damage_is_named(exported: Callable[[str], Path], tmp_path: Path) -> None:
    import shutil

    from dml_lightning.export.score import Model

    folder = tmp_path / "model"
    with pytest.raises(ValueError, match="no exported model"):
        Model(tmp_path)
    shutil.copytree(exported("softmax") / "model", folder)
    with pytest.raises(ValueError, match="onnxruntime has no MadeUpProvider here"):
        Model(folder, providers=["MadeUpProvider"])
    content = (folder / "arrays.safetensors").read_bytes()
    (folder / "arrays.safetensors").write_bytes(content[:-1] + b"?")
    with pytest.raises(ValueError, match=r"not the file that model\.json was written with"):
        Model(folder)
    (folder / "arrays.safetensors").unlink()
    with pytest.raises(ValueError, match="is missing: copy the whole folder"):
        Model(folder)
    words: dict[str, Any] = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**words, "format": 99}))
    with pytest.raises(ValueError, match=r"format 99, and this score\.py reads 1"):
        Model(folder)
    (folder / "model.json").write_text("{}")
    with pytest.raises(ValueError, match="is damaged"):
        Model(folder)
