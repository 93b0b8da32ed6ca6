"""The exported reader beside the run on a grid that balls of enrolled species and classes cross."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.export.contents import model_arrays, rule_content
from dml_lightning.export.score import Model
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import EnrolledSpecies, Gallery
from dml_lightning.types import Embeddings, PredictionRule

CENTRES = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
EIDER = np.array([4.5, 4.0])


def crops(labels: list[int], size: int, seed: int) -> Embeddings:
    owners = np.repeat(np.array(labels, np.int64), size)
    vectors = CENTRES[owners] + np.random.default_rng(seed).normal(size=(len(owners), 2))
    rows = torch.arange(len(owners))
    return Embeddings(torch.from_numpy(vectors).float(), torch.from_numpy(owners), rows)


def gallery(named_by: PredictionRule) -> Gallery:
    """With one species of a large ball, and one of a ball too small for its surroundings."""
    kinds = {"reference": [0, 1], "known": [0, 1], "novel": [], "ood": [2], "calibration": [0, 1]}
    sets = {name: crops(labels, 40, seed) for seed, (name, labels) in enumerate(kinds.items())}
    groups = {name: np.array(["f"] * len(part)) for name, part in sets.items()}
    built = Gallery.build(Evidence(sets, ["coot", "teal", "glint"], 2, groups), "digest")
    spread = np.array([[1.0, 0.0], [-1.0, 0.0]])
    enrolled = (
        EnrolledSpecies("eider", (EIDER + spread).astype(np.float32), 3.5),
        EnrolledSpecies("smew", (-EIDER / 2 + spread).astype(np.float32), 0.5),
    )
    return replace(built, prediction_rule=named_by, enrolled=enrolled)


def reader(of: Gallery) -> Model:
    """What `score.py` makes of the exported files, but for the graph."""
    trained: Any = SimpleNamespace(gallery=of, module=SimpleNamespace(linear_head=lambda: None))
    model = Model.__new__(Model)
    model.content = {"classes": of.class_names, "prediction_rule": of.prediction_rule, "default_rule": of.default_rule}
    model.arrays = model_arrays(trained)
    model.rules = {name: rule_content(rule) for name, rule in of.thresholds.items()}
    model.names = np.array(of.names)
    return model


@pytest.mark.parametrize("named_by", ["prototype", "softmax"])
def test_every_answer_is_the_run_s(named_by: PredictionRule) -> None:
    of = gallery(named_by)
    line = np.arange(-9, 14, 0.7)
    places = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2).astype(np.float32)
    logits = np.random.default_rng(0).normal(size=places.shape).astype(np.float32)
    rows = torch.arange(len(places))
    ours = answer(of, Embeddings(torch.from_numpy(places), rows, rows, torch.from_numpy(logits)))
    model = reader(of)
    for rule in of.thresholds:
        theirs = model.judge(places, logits, rule)
        assert np.array_equal(ours.known[rule], theirs["decision"] == "known")
        assert np.allclose(ours.score[rule], theirs[f"ood_score_{rule}"])
    for name in ("label", "label_prototype", "label_radius", "label_knn"):
        assert np.array_equal(np.array(getattr(ours, name)), theirs[name]), name
    for name in ("distance", "distance_trained", "p_value"):
        assert np.allclose(getattr(ours, name), theirs[name]), name
