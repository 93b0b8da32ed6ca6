"""`score.py`: its parts against the package's own, its judgement against the run's, and the exported folder alone."""

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from dml_lightning.data.crops import CropOptions, centre_crop, cut_frame
from dml_lightning.data.frames import Frame, Radiometry
from dml_lightning.data.geometry import squares
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.export.score import Crops, Embedded, Model, read_boxes, read_crops
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.summary import EnrolledSpecies
from dml_lightning.openset.scores import KINDS, RANK_SUM, nearest_rows
from dml_lightning.pairs.neighbours import nearest_neighbours
from dml_lightning.types import Embeddings, LinearHead, PredictionRule
from tests.data.pixels.mutations import GREY8, tiff_bytes
from tests.export.made_up import Read, model_cutting, model_of, run_with

CENTIKELVIN = Radiometry(0.01, -273.15)
CENTRES = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
EIDER = np.array([4.5, 4.0])
CASES = [
    "softmax",
    "frame",
    "window",
    "sized",
    pytest.param("mobilenetv3_small_050", marks=pytest.mark.slow),
    pytest.param("convnext_atto", marks=pytest.mark.slow),
]
TOLERANCE = 1e-4


def boxes_at_all_edges(random: np.random.Generator) -> NDArray[np.float64]:
    corners = random.uniform((-3, -3), (58, 38), (60, 2))
    return np.concatenate([corners, random.uniform(3.5, 70, (60, 2))], axis=1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "centikelvin"])
@pytest.mark.parametrize("size", [16, 33])
@pytest.mark.parametrize("normalisation", ["crop", "frame"])
def test_crops_are_those_of_the_run(dtype: str, size: int, normalisation: Any) -> None:
    random = np.random.default_rng(0)
    radiometry = CENTIKELVIN if dtype == "centikelvin" else None
    kind = np.dtype("uint16" if radiometry else dtype)
    high, low = (256, 0) if dtype == "uint8" else (29_000, 28_600)
    frame = random.integers(low, high, (40, 60)).astype(kind)
    if dtype == "float32":
        frame = frame / 100 - 270
        frame = frame.astype(np.float32)
    options = CropOptions(size, 0.3, 9, normalisation, radiometry=radiometry)
    unit: Any = "degC" if radiometry or dtype == "float32" else "counts"
    pixels = radiometry.to_celsius(frame) if radiometry else frame
    boxes = boxes_at_all_edges(random)
    patches, statistics = cut_frame(Frame(pixels, unit), boxes, options, "frame")
    found = model_cutting(options, unit).cut(frame, boxes)
    expected = centre_crop(torch.from_numpy(patches), size).numpy()
    assert np.array_equal(found.pixels[:, 0], expected)
    if normalisation == "frame":
        assert found.statistics is not None
        assert np.allclose(found.statistics, statistics, rtol=1e-6)
    else:
        assert found.statistics is None
    assert squares(boxes, options.context, options.min_side)[1].min() >= 9  # small boxes are among them


def test_no_box_gives_no_crop() -> None:
    model = model_cutting(CropOptions(crop_size=16), "counts")
    assert model.cut(np.zeros((40, 60), np.uint8), np.empty((0, 4))).pixels.shape == (0, 1, 16, 16)


@pytest.mark.parametrize(
    ("frame", "box", "message"),
    [
        (np.zeros((4, 6, 3), np.uint8), [0, 0, 2, 2], r"the frame: the array has the shape \(4, 6, 3\)"),
        (np.zeros((4, 6), np.int32), [0, 0, 2, 2], "the frame: the pixels are int32"),
        (np.zeros((4, 6), np.float32), [0, 0, 2, 2], "the frame is in degC, and the model takes counts"),
        (
            np.zeros((4, 6), np.uint8),
            [6, 0, 2, 2],
            r"box 0 with x, y, width, height = \[6.* lies outside the 6x4 px frame",
        ),
        (np.zeros((4, 6), np.uint8), [1, 1, 0, 2], "is empty or lies outside"),
        (np.zeros((4, 6), np.uint8), [1, 1, 1e9, 2], "box 0 .* needs .* px of the frame for its crop, more than 8192"),
        (np.zeros((4, 6), np.int16), [0, 0, 2, 2], "signed counts"),
        (np.full((4, 6), 281.0), [0, 0, 2, 2], "the median of its pixels is 281 degC: they are likely Kelvin"),
        (np.zeros((4, 6), np.complex64), [0, 0, 2, 2], "the pixels are complex64"),
        (np.zeros((4, 6), np.uint8), [np.nan, 1, 2, 2], "is empty or lies outside"),
    ],
)
def test_frames_and_boxes_that_cannot_be_cut(frame: Any, box: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_cutting(CropOptions(crop_size=16), "counts").cut(frame, [box])


def test_a_frame_with_nan_is_refused() -> None:
    frame = np.zeros((4, 6), np.float32)
    frame[1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model_cutting(CropOptions(crop_size=16), "degC").cut(frame, [[0, 0, 2, 2]])


@pytest.mark.parametrize(
    ("crops", "message"),
    [
        (np.zeros((2, 24, 24)), r"crops are \(N, 16, 16\)"),
        (np.zeros((16, 16)), r"got \(16, 16\)"),
        (np.full((2, 16, 16), np.nan), "NaN"),
        (np.zeros((2, 16, 16)), "needs location and scale"),
        (Crops(np.zeros((2, 1, 16, 16), np.float32)), "needs location and scale"),
    ],
)
def test_crops_that_cannot_be_embedded(crops: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_cutting(CropOptions(crop_size=16, normalisation="frame"), "counts").embed(crops)


@pytest.mark.parametrize("side", [None, np.ones((2, 1)), np.array([[3.0, 0.0], [1.0, 1.0]]), np.full((2, 2), np.nan)])
def test_crops_without_their_boxes_are_refused_where_the_model_takes_them(side: Any) -> None:
    model = model_cutting(CropOptions(crop_size=16, side_inputs=("height", "width")), "counts")
    with pytest.raises(ValueError, match="this model takes width, height of each crop's box, which are above 0"):
        model.embed(Crops(np.zeros((2, 1, 16, 16), np.float32), None, side))


@pytest.mark.parametrize("gsd", [None, 0.0, float("nan")])
def test_metres_need_the_distance_of_the_frame(gsd: float | None) -> None:
    model = model_cutting(CropOptions(crop_size=16, side_inputs=("height_m", "width")), "counts")
    frame, box = np.zeros((40, 60), np.uint8), [[1, 2, 8, 4]]
    with pytest.raises(ValueError, match="this model takes height_m: give gsd"):
        model.cut(frame, box, gsd)
    with pytest.raises(ValueError, match="this model takes crops in metres: give gsd"):
        model_cutting(CropOptions(crop_size=16, crop_metres=3.0), "counts").cut(frame, box, gsd)
    side = model.cut(frame, box, 0.25).side
    assert side is not None
    assert side.tolist() == [[8, 1]]


@pytest.mark.parametrize("k", [1, 5, 50])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_neighbours_by_definition(k: int, offset: float) -> None:
    random = np.random.default_rng(0)
    references = (random.normal(size=(40, 6)) + offset).astype(np.float32)
    queries = (random.normal(size=(30, 6)) + offset).astype(np.float32)
    distances = ((queries[:, None].astype(float) - references) ** 2).sum(2)
    assert np.array_equal(nearest_rows(queries, references, k), distances.argsort(1)[:, :k])


def test_equal_references_come_in_the_order_of_the_run() -> None:
    """As stored, that is in the seeded order of the run's own search."""
    random = np.random.default_rng(0)
    references = np.repeat(random.normal(size=(4, 3)), 10, axis=0).astype(np.float32)
    queries = random.normal(size=(20, 3)).astype(np.float32)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).numpy()
    expected = nearest_neighbours(queries, references, 7).rows.numpy()
    assert np.array_equal(order[nearest_rows(queries, references[order], 7)], expected)


def test_boxes_need_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("x,y,width,height\n1,2,3,4\n")
    assert read_boxes(path).tolist() == [[1, 2, 3, 4]]
    path.write_text("x,y,width\n1,2,3\n")
    with pytest.raises(ValueError, match="columns x, y, width, height"):
        read_boxes(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,width,height,x\n1,2,3,4,5\n", "needs the columns x, y, width, height, once each, and has x, y, width"),
        ("x,y,width,height\n1,2,3,4\n1,5,2,3,4\n", "row 3 has the fields 1, 5, 2, 3, 4: .* there are 4 columns"),
        ("x;y;width;height\n1;2;3;4\n", "needs the columns"),
        ("x,y,width,height\n1,2,3\n", "row 2 has the fields 1, 2, 3: x, y, width, height are numbers"),
        ("x,y,width,height\n1,2,nan,4\n", "row 2 has the fields 1, 2, nan, 4"),
        ("frame,x,y,width,height\na,1,2,three,4\n", "row 2 has the fields a, 1, 2, three, 4"),
        ("", "needs the columns"),
    ],
)
def test_a_table_of_boxes_that_may_be_misread_is_refused_by_its_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(ValueError, match=f"boxes.csv {message}"):
        read_boxes(tmp_path / "boxes.csv")


def test_boxes_come_by_the_names_of_their_columns(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("\ufeffheight, y ,note,x,width\n4,2,a,1,3\n\n8,6,,5,7\n", encoding="utf-8")
    assert read_boxes(tmp_path / "boxes.csv").tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_crops_come_from_an_array_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 4), np.complex64))
    with pytest.raises(ValueError, match="holds complex64: crops are real numbers"):
        read_crops(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(tiff_bytes(GREY8))
    with pytest.raises(ValueError, match="is a frame: give its boxes by --boxes"):
        read_crops(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.ones((2, 4, 4)))
    assert read_crops(tmp_path / "c.npy").shape == (2, 4, 4)


def around_centres(labels: list[int], size: int, seed: int) -> Embeddings:
    owners = np.repeat(np.array(labels, np.int64), size)
    vectors = CENTRES[owners] + np.random.default_rng(seed).normal(size=(len(owners), 2))
    rows, noise = torch.arange(len(owners)), torch.from_numpy(np.random.default_rng(seed).normal(size=(len(owners), 2)))
    features = torch.nn.functional.normalize(torch.cat([torch.from_numpy(vectors), noise], dim=1).float())
    return Embeddings(torch.from_numpy(vectors).float(), torch.from_numpy(owners), rows, features=features)


def gallery(named_by: PredictionRule, score: str | None = None) -> Gallery:
    """With one species of a large ball, and one of a ball too small for its surroundings."""
    kinds = {"reference": [0, 1], "known": [0, 1], "novel": [], "ood": [2], "calibration": [0, 1]}
    sets = {name: around_centres(labels, 40, seed) for seed, (name, labels) in enumerate(kinds.items())}
    held_out = sets["calibration"]
    sets["calibration"] = replace(held_out, logits=torch.cos(3 * held_out.vectors.float()))
    groups = {name: np.array(["f"] * len(part)) for name, part in sets.items()}
    head, reject = LinearHead(torch.eye(2), torch.zeros(2)), LinearHead(torch.tensor([[-0.5, 1.0]]), torch.ones(1))
    split = Evidence(sets, ["coot", "teal", "glint"], 2, groups, head=head, reject=reject)
    built = Gallery.build(split, "digest", score=score)
    spread = np.array([[1.0, 0.0], [-1.0, 0.0]])
    enrolled = (
        EnrolledSpecies("eider", (EIDER + spread).astype(np.float32), 3.5),
        EnrolledSpecies("smew", (-EIDER / 2 + spread).astype(np.float32), 0.5),
    )
    return replace(built, prediction_rule=named_by, enrolled=enrolled)


@pytest.mark.parametrize(
    ("named_by", "score"),
    [("prototype", None), ("softmax", None), *(("prototype", kind) for kind in (*KINDS, RANK_SUM))],
)
def test_every_answer_is_the_run_s(named_by: PredictionRule, score: str | None) -> None:
    of = gallery(named_by, score)
    line = np.arange(-9, 14, 0.7)
    places = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2).astype(np.float32)
    logits = np.random.default_rng(0).normal(size=places.shape).astype(np.float32)
    rows = torch.arange(len(places))
    features = np.random.default_rng(1).normal(size=(len(places), 4)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    queries = Embeddings(torch.from_numpy(places), rows, rows, torch.from_numpy(logits), torch.from_numpy(features))
    ours = answer(of, queries, sets=of.set_thresholds())
    model = model_of(run_with(of))
    for rule in of.thresholds:
        theirs = model.judge(Embedded(places, logits, features), rule)
        assert np.array_equal(ours.known[rule], theirs["decision"] == "known")
        assert np.allclose(ours.score[rule], theirs[f"ood_score_{rule}"])
        assert theirs["species"].tolist() == np.where(ours.known[rule], ours.label, "").tolist()
    for name in ("label", "label_prototype", "label_radius", "label_knn"):
        assert np.array_equal(np.array(getattr(ours, name)), theirs[name]), name
    for name in ("distance", "distance_trained", "p_value"):
        assert np.allclose(getattr(ours, name), theirs[name]), name
    assert [json.loads(names) for names in theirs["species_set"]] == ours.species_set
    assert len({len(names) for names in ours.species_set}) > 1


@pytest.mark.parametrize("case", CASES)
def test_scores_and_decisions_are_the_run_s(case: str, read: Read) -> None:
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


def test_the_reject_class_refuses_in_the_folder_by_its_probability(read: Read, exported: Callable[[str], Path]) -> None:
    ours, theirs = read("sized")
    arrays = load_file(exported("sized") / "model" / "arrays.safetensors")
    logits = ours["vectors"].astype(float) @ arrays["score.classifier_weight"].T + arrays["score.classifier_bias"]
    probability = np.exp(logits[:, 3]) / np.exp(logits).sum(axis=1)
    for rule in ("B", "C"):
        assert 1 / (1 + np.exp(-theirs[f"ood_score_{rule}"])) == pytest.approx(probability, rel=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_names_neighbours_and_p_values_are_the_run_s(case: str, read: Read) -> None:
    ours, theirs = read(case)
    for name in ("label", "label_prototype", "label_radius", "label_knn", "neighbours", "species_set"):
        assert (ours[name] == theirs[name]).mean() > 0.99, name  # equal but for near ties
    step = 1 / (int(ours["calibration"]) + 1)  # a calibration crop may change places with itself
    assert np.abs(ours["p_value"] - theirs["p_value"]).max() < 1.01 * step
    assert (ours["p_value"] == theirs["p_value"]).mean() > 0.6


def test_the_cases_hold_every_kind_of_rule_and_answer(read: Read) -> None:
    ours, theirs = read("softmax")
    assert list(ours["rules"]) == ["A", "B", "C", "C_class"]
    for rule in ours["rules"]:
        assert 0 < ours[f"known_{rule}"].mean() <= 1
    assert any((~ours[f"known_{rule}"]).any() for rule in ours["rules"])
    assert (ours["label"] != ours["label_prototype"]).any()
    assert {"swan", "heron"} & set(theirs["label_prototype"])
    assert any("swan/" in names for names in theirs["neighbours"])
    near_new = np.isin(ours["label_prototype"], ["swan", "heron"])
    named_new = np.isin(ours["label"], ["swan", "heron"])
    assert (near_new & ~named_new).any()  # nearest to an enrolled species and outside its ball
    assert named_new.any()
    frame, _ = read("frame")
    assert np.isinf(frame["threshold_C"])
    assert frame["known_C"].all()
    assert str(frame["default_rule"]) == "A"


def run_reader(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "model" / "score.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_the_reader_is_a_command(exported: Callable[[str], Path], read: Read) -> None:
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


def test_damage_is_named(exported: Callable[[str], Path], tmp_path: Path) -> None:
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
    content_of: dict[str, Any] = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content_of, "format": 99}))
    with pytest.raises(ValueError, match=r"format 99, and this score\.py reads 2"):
        Model(folder)
    (folder / "model.json").write_text("{}")
    with pytest.raises(ValueError, match="is damaged"):
        Model(folder)
