"""Every logged number of a finished run, computed again from its embeddings by other means."""

import json
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.neighbors import NearestCentroid, NearestNeighbors

from dml_lightning.cli import main

Sets = Mapping[str, tuple[NDArray[Any], NDArray[Any]]]


@pytest.fixture(params=["softmax", "triplet"])
def run(request: pytest.FixtureRequest, runs: dict[str, Path]) -> Path:
    return runs[request.param]


@pytest.fixture
def logged(run: Path) -> dict[str, float]:
    values: dict[str, float] = json.loads((run / "metrics" / "val.json").read_text())
    return values


@pytest.fixture
def names(run: Path) -> list[str]:
    with np.load(run / "embeddings" / "val.npz") as file:
        return list(file["class_names"])


@pytest.fixture
def sets(run: Path) -> Sets:
    with np.load(run / "embeddings" / "val.npz") as file:
        vectors, labels, of = file["vectors"].astype(np.float64), file["labels"], file["roles"]
    return {name: (vectors[of == name], labels[of == name]) for name in np.unique(of)}


def distances(vectors: NDArray[Any]) -> NDArray[Any]:
    return np.linalg.norm(vectors[:, None] - vectors[None], axis=2)


def test_accuracies(sets: Sets, logged: dict[str, float]) -> None:
    (x, y), (reference, owners) = sets["known"], sets["reference"]
    neighbours = NearestNeighbors(n_neighbors=5).fit(reference).kneighbors(x, return_distance=False)
    predictions = {
        # among equally common classes `most_common` puts the one met first, the nearest
        "knn": np.array([Counter(owners[row]).most_common(1)[0][0] for row in neighbours]),
        "prototype": NearestCentroid().fit(reference, owners).predict(x),
    }
    for rule, predicted in predictions.items():
        assert logged[f"val/accuracy_{rule}"] == pytest.approx((predicted == y).mean(), abs=1e-6)
        expected = balanced_accuracy_score(y, predicted)
        assert logged[f"val/balanced_accuracy_{rule}"] == pytest.approx(expected, abs=1e-6)


def test_probabilities_and_their_temperature(run: Path, logged: dict[str, float]) -> None:
    """Fitted on validation, and taken to the test as it is; an arm without probabilities has none of these numbers."""
    if not (run / "metrics" / "test.json").is_file():
        main(["test", "--run", str(run), "--verbose=false"])
    tested = json.loads((run / "metrics" / "test.json").read_text())
    if "softmax" not in str(run):
        assert not [name for name in {**logged, **tested} if "nll" in name or "temperature" in name]
        return
    warm = logged["val/temperature"]
    assert tested["test/temperature"] == pytest.approx(warm, rel=1e-6)
    for stage, values in (("val", logged), ("test", tested)):
        with np.load(run / "embeddings" / f"{stage}.npz") as file:
            known = file["roles"] == "known"
            logits, labels = file["logits"][known].astype(np.float64), file["labels"][known]
            assert float(file["temperature"]) == pytest.approx(warm, rel=1e-6)
        loss = {t: -log_softmax(logits / t, axis=1)[np.arange(len(labels)), labels].mean() for t in (1.0, warm)}
        assert values[f"{stage}/nll"] == pytest.approx(loss[1.0], rel=1e-5)
        assert values[f"{stage}/nll_scaled"] == pytest.approx(loss[warm], rel=1e-5)
        assert {f"{stage}/calibration_error_scaled", f"{stage}/classwise_calibration_error"} <= set(values)
    assert logged["val/nll_scaled"] <= logged["val/nll"]


@pytest.mark.parametrize("prefix", ["", "novel_"])
def test_distances(sets: Sets, logged: dict[str, float], prefix: str) -> None:
    x, y = sets[prefix.rstrip("_") or "known"]
    d, same = distances(x), y[:, None] == y[None]
    intra, inter = d[same & ~np.eye(len(y), dtype=bool)].mean(), d[~same].mean()
    assert logged[f"val/{prefix}intra_distance"] == pytest.approx(intra, abs=1e-5)
    assert logged[f"val/{prefix}inter_distance"] == pytest.approx(inter, abs=1e-5)
    assert logged[f"val/{prefix}inter_intra_ratio"] == pytest.approx(inter / intra, rel=1e-4)


def test_triplets(sets: Sets, logged: dict[str, float]) -> None:
    x, y = sets["known"]
    d = distances(x)
    gaps = [  # d(a, n) - d(a, p) of every valid triplet
        d[a, n] - d[a, p]
        for a in range(len(y))
        for p in np.flatnonzero((y == y[a]) & (np.arange(len(y)) != a))
        for n in np.flatnonzero(y != y[a])
    ]
    values = np.array(gaps)
    assert logged["val/active_triplet_fraction"] == pytest.approx((values < 0.2).mean(), abs=1e-4)
    assert logged["val/hard_triplet_fraction"] == pytest.approx((values < 0).mean(), abs=1e-4)
    assert logged["val/mean_gap"] == pytest.approx(values.mean() - 0.2, abs=1e-5)
    assert logged["val/worst_anchor_gap"] == pytest.approx(values.min() - 0.2, abs=1e-5)


@pytest.mark.parametrize("suffix", ["", "_other_groups"])
@pytest.mark.parametrize("prefix", ["", "novel_"])
def test_retrieval(run: Path, sets: Sets, logged: dict[str, float], prefix: str, suffix: str) -> None:
    name = prefix.rstrip("_") or "known"
    x, y = sets[name]
    with np.load(run / "embeddings" / "val.npz") as file:
        flights = file["groups"][file["roles"] == name]
    left_out = flights[:, None] == flights if suffix else np.eye(len(y), dtype=bool)
    d = np.where(left_out, np.inf, distances(x))
    first, average = [], []
    for i, row in enumerate(d):
        relevant = ((y == y[i]) & ~left_out[i]).sum()
        if relevant:
            hits = y[np.argsort(row)[:relevant]] == y[i]
            precision = np.cumsum(hits) / np.arange(1, relevant + 1)
            first.append(y[row.argmin()] == y[i])
            average.append((precision * hits).sum() / relevant)
    for key, values in {"recall_at_1": first, "map_at_r": average}.items():
        logged_value = logged.get(f"val/{prefix}{key}{suffix}")
        assert logged_value == (pytest.approx(np.mean(values), abs=1e-5) if values else None)
    if suffix:
        assert logged[f"val/{prefix}left_out{suffix}"] == len(y) - len(first)


def test_ood_scores(run: Path, sets: Sets, logged: dict[str, float], names: list[str]) -> None:
    reference, owners = sets["reference"]
    prototypes = np.stack([reference[owners == c].mean(0) for c in np.unique(owners)])
    own = np.linalg.norm(reference - prototypes[owners], axis=1)
    radii = np.array([own[owners == c].max() for c in np.unique(owners)])
    far = yaml.safe_load((run / "recipe.fit.yaml").read_text())["data"]["far_ood"]
    labels = np.array(names)[sets["ood"][1]]
    for kind, suffix in (("nearest", ""), ("radius", "_radius")):
        known, ood = (
            (np.linalg.norm(sets[name][0][:, None] - prototypes, axis=2) - (radii if kind == "radius" else 0)).min(
                axis=1
            )
            for name in ("known", "ood")
        )
        parts = {"": labels != "", "_near": ~np.isin(labels, far), "_far": np.isin(labels, far)}
        parts |= {f"_{name}": labels == name for name in np.unique(labels)}
        for part, rows in parts.items():
            truth = np.r_[np.zeros(len(known)), np.ones(rows.sum())]
            expected = roc_auc_score(truth, np.r_[known, ood[rows]])
            assert logged[f"val/ood_auroc{suffix}{part}"] == pytest.approx(expected, abs=1e-3)
            # the threshold that refuses 95 % of the OOD crops, and the one that keeps 95 % of the known
            refusing = np.sort(ood[rows])[rows.sum() - int(np.ceil(0.95 * rows.sum()))]
            keeping = np.sort(known)[int(np.ceil(0.95 * len(known))) - 1]
            rates = {"ood": (known >= refusing).mean(), "known": (ood[rows] <= keeping).mean()}
            for positive, rate in rates.items():
                key = f"val/ood_fpr95_{positive}_positive{suffix}{part}"
                assert logged[key] == pytest.approx(rate, abs=1e-6), key


def test_training_fractions_add_up(run: Path) -> None:
    history = pd.read_csv(run / "csv" / "fit" / "metrics.csv").dropna(subset=["train/loss"])
    parts = [history[f"train/{name}_triplet_fraction"] for name in ("hard", "semihard", "easy")]
    assert np.allclose(sum(parts), 1, atol=1e-6)
    assert np.allclose(parts[0] + parts[1], history["train/active_triplet_fraction"], atol=1e-6)
    assert all(a < b for a, b in pairwise(history["step"]))
