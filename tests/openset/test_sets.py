"""Sets of species: against p-values one by one, against crepes, and what they hold in simulations."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dml_lightning.openset.judge import gaps, species_sets
from dml_lightning.openset.sets import SetThresholds, set_thresholds


def crops(
    rng: np.random.Generator, flights: int, size: int, classes: int = 3, between: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Gaps (n, C), classes and flights of crops around the corners of a simplex; a flight's crops share an offset."""
    labels, owners = rng.integers(0, classes, flights * size), np.repeat(np.arange(flights), size)
    vectors = 1.5 * np.eye(classes)[labels] + rng.normal(size=(len(labels), classes))
    vectors += between * rng.normal(size=(flights, classes))[owners]
    distances = np.linalg.norm(vectors[:, None] - 1.5 * np.eye(classes), axis=2)
    return gaps(distances), labels, owners


def members(behind: NDArray[np.float64], thresholds: SetThresholds) -> NDArray[np.bool_]:
    return species_sets(behind, thresholds.values, np.empty((len(behind), 0)))


@pytest.mark.parametrize("sizes", [(40, 30, 25), (40, 12, 9), (60, 3, 2), (5, 4, 3)])
def test_a_class_is_in_the_set_if_its_p_value_is_above_alpha(sizes: tuple[int, ...]) -> None:
    """Counted crop by crop within its category: its own crops, or those of all classes that share a threshold."""
    alpha, rng = 0.07, np.random.default_rng(sum(sizes))  # 14 crops are needed
    labels = np.repeat(np.arange(3), sizes)
    behind = gaps(rng.exponential(size=(len(labels), 3)))
    thresholds = set_thresholds(behind, labels, np.arange(len(labels)), alpha)
    own = {(40, 30, 25): {0, 1, 2}, (40, 12, 9): {0}, (60, 3, 2): set(), (5, 4, 3): set()}[sizes]
    assert set(np.flatnonzero(thresholds.own)) == own
    fresh = gaps(rng.exponential(size=(50, 3)))
    for row, inside in zip(fresh, members(fresh, thresholds), strict=True):
        for number in range(3):
            peers = [number] if number in own else [other for other in range(3) if other not in own]
            scores = [behind[i, labels[i]] for i in range(len(labels)) if labels[i] in peers]
            p = (1 + sum(score >= row[number] for score in scores)) / (len(scores) + 1)
            assert inside[number] == (p > alpha)
            assert thresholds.samples[number] == len(scores)
    assert members(fresh, thresholds)[np.arange(50), fresh.argmin(1)].all()
    assert np.isinf(thresholds.values).all() == (sum(sizes) < 14)


def test_classes_with_the_fewest_crops_join_until_there_are_enough() -> None:
    labels = np.repeat([0, 1, 2, 3], [50, 20, 3, 5])
    behind = gaps(np.random.default_rng(0).exponential(size=(78, 4)))
    thresholds = set_thresholds(behind, labels, np.arange(78), 0.05)
    assert thresholds.own.tolist() == [True, False, False, False]
    assert thresholds.samples.tolist() == [50, 28, 28, 28]
    assert len(set(thresholds.values[1:].tolist())) == 1
    text = "a threshold per class for a (50 or more crops); one for b, c, d together (28 crops)"
    assert thresholds.origin(["a", "b", "c", "d"]) == text


@pytest.mark.parametrize("mondrian", [True, False])
def test_sets_are_those_of_crepes(mondrian: bool) -> None:
    """Alpha is such that no p-value equals it: crepes keeps a class at p = alpha, which costs nothing to leave out."""
    crepes = pytest.importorskip("crepes", reason="crepes is not installed")
    rng, alpha = np.random.default_rng(4), 0.073
    behind, labels, owners = crops(rng, 1, 150 if mondrian else 30)
    labels = labels if mondrian else np.where(labels == 0, 0, labels)
    fresh, _, _ = crops(rng, 1, 200)
    thresholds = set_thresholds(behind, labels, owners, alpha if mondrian else 0.03)
    assert thresholds.own.all() == mondrian
    classifier, own = crepes.ConformalClassifier(), behind[np.arange(len(labels)), labels]
    if mondrian:
        expected = np.stack(
            [
                crepes.ConformalClassifier()
                .fit(own[labels == number])
                .predict_set(fresh[:, [number]], confidence=1 - alpha, smoothing=False)[:, 0]
                for number in range(3)
            ],
            axis=1,
        )
    else:
        expected = classifier.fit(own).predict_set(fresh, confidence=0.97, smoothing=False)
    assert np.array_equal(members(fresh, thresholds), expected.astype(bool))


def test_every_class_keeps_the_promise_with_a_threshold_of_its_own() -> None:
    """On average over 400 calibrations: the shares are known to 0.4 points. One threshold for all misses a class."""
    rng, alpha, held, pooled = np.random.default_rng(5), 0.1, [], []
    for _ in range(400):
        behind, labels, owners = crops(rng, 1, 120)
        behind = behind * np.array([1.0, 1.0, 2.5])  # the third class is harder
        fresh, truth, _ = crops(rng, 1, 120)
        fresh = fresh * np.array([1.0, 1.0, 2.5])
        rows = np.arange(len(truth))
        own = members(fresh, set_thresholds(behind, labels, owners, alpha))[rows, truth]
        held.append([own[truth == number].mean() for number in range(3)])
        together = np.quantile(behind[np.arange(120), labels], 1 - alpha, method="higher")
        pooled.append((fresh[rows, truth] <= together)[truth == 2].mean())
    assert (np.mean(held, axis=0) >= 1 - alpha - 0.01).all()
    assert np.mean(pooled) < 1 - alpha - 0.02


def test_one_crop_per_flight_keeps_the_promise_for_crops_of_new_flights() -> None:
    """All crops of eleven flights hold less than was asked for; one of each flight and class holds it."""
    rng, alpha = np.random.default_rng(6), 0.1
    single, every = [], []
    for _ in range(300):
        behind, labels, owners = crops(rng, 11, 40, between=2.0)
        fresh, truth, _ = crops(rng, 40, 3, between=2.0)
        rows = np.arange(len(truth))
        for per_flight, results in ((True, single), (False, every)):
            thresholds = set_thresholds(behind, labels, owners, alpha, per_flight)
            assert thresholds.samples.tolist() == ([11, 11, 11] if per_flight else np.bincount(labels).tolist())
            results.append(members(fresh, thresholds)[rows, truth].mean())
    assert np.mean(single) >= 1 - alpha - 0.01
    assert np.mean(every) < 1 - alpha - 0.01


def test_few_flights_share_a_threshold_and_count_each_flight_once() -> None:
    behind, labels, owners = crops(np.random.default_rng(7), 12, 10)
    labels = np.where(owners < 5, labels % 2, labels)  # class 2 is seen in seven flights
    thresholds = set_thresholds(behind, labels, owners, 0.1, per_flight=True)  # nine are needed
    assert thresholds.own.tolist() == [False, True, False] or thresholds.own.tolist() == [True, False, False]
    assert thresholds.samples[2] == 12
    assert "together (12 flights)" in thresholds.origin(["a", "b", "c"])


@pytest.mark.parametrize("alpha", [0.0, 1.0, float("nan")])
def test_alpha_is_a_share(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must lie strictly between 0 and 1"):
        set_thresholds(np.zeros((4, 2)), np.array([0, 1, 0, 1]), np.arange(4), alpha)
