"""Predictions from a file: classes with awkward names, and galleries that have changed since."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.flights.confusion import held_out_confusion
from dml_lightning.flights.counting import count_flights
from dml_lightning.flights.predictions import read_predictions
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.summary import EnrolledSpecies
from dml_lightning.types import Embeddings
from tests.flights.as_arrays import deciding, split_of

NAMES = ["01", "NA", "3.0"]


def crops(labels: list[int], size: int, seed: int) -> Embeddings:
    owners = np.repeat(np.array(labels, np.int64), size)
    vectors = 5 * np.eye(3)[owners] + np.random.default_rng(seed).normal(size=(len(owners), 3))
    rows = torch.arange(len(owners))
    return Embeddings(torch.from_numpy(vectors).float(), torch.from_numpy(owners), rows)


def evidence(names: list[str]) -> Evidence:
    kinds = {"reference": [0, 1], "known": [0, 1], "novel": [], "ood": [2], "calibration": []}
    sets = {name: crops(labels, 20, seed) for seed, (name, labels) in enumerate(kinds.items())}
    groups = {name: np.array(["7", "8"] * (len(part) // 2)) for name, part in sets.items()}
    return Evidence(sets, names, 2, groups)


def predictions(gallery: Gallery) -> pd.DataFrame:
    words = ["01", "NA", "NA", "01"]
    return pd.DataFrame(
        {
            "group": ["010", "010", "20", "20"],
            "annotation": ["", "NA", "NA", "3.0"],
            **{f"label{end}": words for end in ("", "_prototype", "_radius", "_knn")},
            "distance_trained": 1.0,
            "threshold_B": gallery.threshold("B").value,
            "decision": ["known", "known", "known", "unknown"],
            "rule": "B: best",
            "gallery": gallery.version,
        }
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_classes_may_be_called_like_numbers(tmp_path: Path, kind: str) -> None:
    held_out = evidence(NAMES)
    gallery = Gallery.build(held_out, "0123")
    table, path = predictions(gallery), tmp_path / f"p.{kind}"
    if kind == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    read = read_predictions(path, gallery)
    expected = table.assign(rule="B")  # version 0.1 wrote how it was chosen behind it
    pd.testing.assert_frame_equal(read.table, expected, check_dtype=False)
    counts = count_flights(read, held_out_confusion(deciding(gallery), split_of(held_out), "B"))
    first = counts[counts["flight"] == "010"].set_index("label")["named"]
    assert first.to_dict() == {"01": 1, "NA": 1, "other": 0}
    assert counts[counts["flight"] == "20"]["named"].tolist() == [0, 1, 1]
    only = table[table["label"] == "01"]  # whole columns of numbers
    only.to_csv(tmp_path / "only.csv", index=False)
    assert read_predictions(tmp_path / "only.csv", gallery).table["label_knn"].tolist() == ["01", "01"]


def test_predictions_of_a_gallery_that_has_changed_are_refused(tmp_path: Path) -> None:
    gallery = Gallery.build(evidence(NAMES), "0123")
    path = tmp_path / "p.csv"
    predictions(gallery).to_csv(path, index=False)
    read_predictions(path, gallery)
    changed = replace(gallery, record=gallery.record + 1)
    with pytest.raises(ValueError, match=f"made with the gallery {gallery.version}, which is {changed.version}"):
        read_predictions(path, changed)


def test_predictions_are_those_of_the_table_of_frames_beside_them(tmp_path: Path) -> None:
    gallery = Gallery.build(evidence(NAMES), "0123")
    path = tmp_path / "p.csv"
    table = predictions(gallery).assign(frame=["a", "a", "b", "b"], x=range(4), rule="B")
    frames = pd.DataFrame({"frame": ["a", "b"], "group": ["010", "20"], "boxes": 2, "used": True, "reason": ""})
    frames = frames.assign(min_score=np.nan, rule="B", gallery=gallery.version)
    frames.to_csv(tmp_path / "p.frames.csv", index=False)
    table.to_csv(path, index=False)
    assert read_predictions(path, gallery).flights == ["010", "20"]
    table[1:].to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"has 1 boxes of a and p\.frames\.csv 2"):
        read_predictions(path, gallery)


@pytest.mark.parametrize("name", ["other", "unknown"])
def test_classes_called_like_the_rest_are_refused(name: str) -> None:
    held_out = evidence([name, "NA", "glint"])
    with pytest.raises(ValueError, match=f"a class is called '{name}', which stands for boxes of no"):
        held_out_confusion(deciding(Gallery.build(held_out, "0123")), split_of(held_out), "B")
    fine = evidence(["coot", "NA", name])  # what is no class of the gallery may be called so
    matrix = held_out_confusion(deciding(Gallery.build(fine, "0123")), split_of(fine), "B")
    assert matrix.counts[:, -1].sum() == 20
    species = EnrolledSpecies(name, np.ones((1, 3), np.float32), 1.0)
    enrolled = replace(Gallery.build(fine, "0123"), enrolled=(species,))
    with pytest.raises(ValueError, match="give it another name"):
        held_out_confusion(deciding(enrolled), split_of(fine), "B")
