"""Scores by NumPy alone, beside the detectors and by definition."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dml_lightning.openset import KNNDetector, MahalanobisDetector, PrototypeDetector, RejectDetector
from dml_lightning.openset.scores import KINDS, RANK_SUM, Crops, kinds, nearest_rows, rank, ranked, score, text
from tests import ROOT

Array = NDArray[np.float32]


def unit(rows: NDArray[np.float64]) -> Array:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def sample(seed: int, count: int = 60) -> tuple[Array, Array, NDArray[np.int64]]:
    """Embeddings (count, 6), features (count, 9) and labels of three classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    vectors = rng.normal(size=(count, 6)) + 3 * np.eye(6)[labels]
    return vectors.astype(np.float32), unit(rng.normal(size=(count, 9)) + 2 * np.eye(9)[labels]), labels


def classifier() -> tuple[Array, Array]:
    """Weight (4, 6) and bias (4,) of three classes and a reject class."""
    rng = np.random.default_rng(9)
    return rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=4).astype(np.float32)


@pytest.fixture(scope="module")
def detectors() -> dict[str, object]:
    """The detector that each kind of score is the same as."""
    vectors, features, labels = sample(0)
    prototypes, (weight, bias) = PrototypeDetector().fit(vectors, labels), classifier()
    return {
        "nearest": lambda v, f: prototypes.score(v, kind="nearest"),
        "radius": lambda v, f: prototypes.score(v, kind="radius"),
        "knn1": lambda v, f: KNNDetector(1).fit(vectors, labels).score(v),
        "knn5": lambda v, f: KNNDetector(5).fit(vectors, labels).score(v),
        "knn1_features": lambda v, f: KNNDetector(1).fit(features, labels).score(f),
        "knn5_features": lambda v, f: KNNDetector(5).fit(features, labels).score(f),
        "mahalanobis": lambda v, f: MahalanobisDetector(normalize=True).fit(features, labels).score(f),
        "reject": lambda v, f: RejectDetector(weight[:3], bias[:3], weight[3:], bias[3:]).score(v),
    }


def made(seed: int) -> tuple[Crops, dict[str, NDArray[Any]]]:
    """Crops, and what the scores were fitted on."""
    vectors, features, labels = sample(0)
    prototypes, gaussian = PrototypeDetector().fit(vectors, labels), MahalanobisDetector().fit(features, labels)
    arrays: dict[str, NDArray[Any]] = {"radii": prototypes.radii, "vectors": vectors, "features": features}
    arrays |= {"centre": gaussian.centre, "whitening": gaussian.whitening, "means": gaussian.means}
    arrays |= dict(zip(("classifier_weight", "classifier_bias"), classifier(), strict=True))
    own, of_backbone, _ = sample(seed, 40)
    return Crops(prototypes.distances(own), own, of_backbone), arrays


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_that_of_its_detector(kind: str, detectors: dict[str, object]) -> None:
    crops, arrays = made(1)
    expected = detectors[kind](crops.vectors, crops.features)  # type: ignore[operator]
    assert score(kind, crops, arrays) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert len(set(expected.tolist())) == 40


def test_fewer_references_than_neighbours_give_the_farthest() -> None:
    crops = Crops(np.zeros((1, 1)), np.array([[0.0]]))
    arrays = {"vectors": np.array([[1.0], [-4.0]])}
    assert (score("knn1", crops, arrays)[0], score("knn5", crops, arrays)[0]) == (1.0, 4.0)


def test_the_score_of_the_reject_class_orders_as_its_probability_and_has_no_ties() -> None:
    crops, arrays = made(1)
    logits = crops.vectors @ arrays["classifier_weight"].T + arrays["classifier_bias"]
    probability = np.exp(logits[:, 3]) / np.exp(logits).sum(axis=1)
    odds = score("reject", crops, arrays)
    assert odds == pytest.approx(np.log(probability / (1 - probability)), abs=1e-4)
    far = score("reject", crops._replace(vectors=1000 * crops.vectors), arrays)
    assert np.isfinite(far).all()
    assert len(set(far.tolist())) == 40


def test_the_rank_sum_is_its_definition_and_of_each_crop_alone() -> None:
    crops, arrays = made(1)
    known, _ = made(2)
    with_ranks = arrays | ranked({kind: score(kind, known, arrays) for kind in KINDS})
    assert kinds(arrays) == list(KINDS)
    assert kinds(with_ranks) == [*KINDS, RANK_SUM]
    expected = np.zeros(40)
    for kind in KINDS:
        places = [place_of(s, sorted(score(kind, known, arrays).tolist())) for s in score(kind, crops, arrays).tolist()]
        expected += (np.array(places) + 0.5) / 40
    every = score(RANK_SUM, crops, with_ranks)
    assert every == pytest.approx(expected)
    alone = [score(RANK_SUM, Crops(*(part[i : i + 1] for part in crops)), with_ranks)[0] for i in range(40)]
    assert alone == pytest.approx(every.tolist(), rel=1e-12)
    assert "sum of ranks" in text(RANK_SUM)


def place_of(own: float, ordered: list[float]) -> float:
    """Position of a score among different ones: whole at each of them, linear between two."""
    below = [other for other in ordered if other <= own]
    if not below or below == ordered:
        return 0 if not below else len(ordered) - 1
    low, high = below[-1], ordered[len(below)]
    return len(below) - 1 + (own - low) / (high - low)


def test_scores_of_features_need_features() -> None:
    _, arrays = made(1)
    bare = {name: arrays[name] for name in ("radii", "vectors")}
    assert kinds(bare) == ["nearest", "radius", "knn1", "knn5"]


def test_ranks_count_ties_half() -> None:
    known = np.array([1.0, 1.0, 2.0, 4.0])
    expected = [0.25, 0.25, 0.4375, 0.625, 0.875, 0.875]
    assert rank(known, np.array([0.0, 1.0, 1.5, 2.0, 4.0, 9.0])).tolist() == expected


@pytest.mark.parametrize("k", [1, 5, 60])
def test_neighbours_by_definition_in_several_blocks(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dml_lightning.openset.scores.ELEMENTS", 1000)
    references, queries = sample(0)[0], sample(3)[0]
    distances = ((queries[:, None].astype(float) - references) ** 2).sum(2)
    assert np.array_equal(nearest_rows(queries, references, k), distances.argsort(1)[:, :k])


def test_the_file_needs_numpy_alone() -> None:
    text_of = (ROOT / "dml_lightning" / "openset" / "scores.py").read_text()
    modules = {line.split()[1].split(".")[0] for line in text_of.splitlines() if line.startswith(("import ", "from "))}
    assert modules == {"collections", "typing", "numpy"}
