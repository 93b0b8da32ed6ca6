"""Calibration errors beside torchmetrics and a loop, and the temperature beside a search over a grid."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import multiclass_calibration_error

from dml_lightning.metrics.calibration import (
    calibration_error,
    classwise_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
)

Floats = NDArray[np.float64]


def made(seed: int, size: int = 400, classes: int = 5, sharpness: float = 2.0) -> tuple[Floats, NDArray[np.int64]]:
    """Logits that are too sharp by a factor, and labels drawn from the probabilities without it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (size, classes))
    shares = probabilities(logits)
    labels = (shares.cumsum(axis=1) > rng.uniform(size=(size, 1))).argmax(axis=1)
    return sharpness * logits, labels


def by_hand(confidence: Floats, right: NDArray[np.bool_], bins: int) -> float:
    """Bin by bin: [i / bins, (i + 1) / bins), the last with its upper end."""
    total = 0.0
    for number in range(bins):
        inside = (confidence >= number / bins) & ((confidence < (number + 1) / bins) | (number == bins - 1))
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("seed", range(4))
def test_the_error_is_that_of_torchmetrics_and_of_a_loop(seed: int, bins: int) -> None:
    logits, labels = made(seed)
    shares = probabilities(logits)
    theirs = multiclass_calibration_error(torch.from_numpy(shares), torch.from_numpy(labels), 5, n_bins=bins, norm="l1")
    ours = calibration_error(shares, labels, bins)
    assert ours == pytest.approx(float(theirs), abs=1e-6)
    assert ours == pytest.approx(by_hand(shares.max(1), shares.argmax(1) == labels, bins))
    each = [by_hand(shares[:, number], labels == number, bins) for number in range(5)]
    assert classwise_calibration_error(torch.from_numpy(shares), torch.from_numpy(labels), bins) == pytest.approx(
        np.mean(each)
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), min_size=1, max_size=40))
def test_edges_of_bins_belong_to_the_upper_bin(rows: list[tuple[int, int]]) -> None:
    """Probabilities in thirtieths, of which every second lies on an edge of the 15 bins; 1 is in the last."""
    first = np.array([share for share, _ in rows]) / 30
    shares, labels = np.stack([first, 1 - first], axis=1), np.array([label for _, label in rows])
    theirs = multiclass_calibration_error(torch.from_numpy(shares), torch.from_numpy(labels), 2, n_bins=15, norm="l1")
    edges = np.linspace(0, 1, 16)
    top = shares.max(axis=1)
    places = [min(sum(edge <= value for edge in edges) - 1, 14) for value in top]
    gaps = [
        sum(top[i] - (shares[i].argmax() == labels[i]) for i in range(len(rows)) if places[i] == number)
        for number in range(15)
    ]
    assert calibration_error(shares, labels) == pytest.approx(sum(map(abs, gaps)) / len(rows))
    if (top < 1).all():  # torchmetrics has a sixteenth bin for 1
        assert calibration_error(shares, labels) == pytest.approx(float(theirs), abs=1e-6)


def test_the_likelihood_is_torchs_cross_entropy() -> None:
    logits, labels = made(1)
    expected = cross_entropy(torch.from_numpy(logits / 1.7), torch.from_numpy(labels))
    assert negative_log_likelihood(logits, labels, 1.7) == pytest.approx(float(expected))
    assert np.allclose(probabilities(logits, 1.7), torch.from_numpy(logits / 1.7).softmax(1))


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_best_of_a_grid_and_repairs_what_was_sharpened(sharpness: float) -> None:
    logits, labels = made(2, size=4000, sharpness=sharpness)
    temperature = fit_temperature(torch.from_numpy(logits), torch.from_numpy(labels))
    grid = np.geomspace(0.01, 100, 2001)
    best = min(negative_log_likelihood(logits, labels, each) for each in grid)
    assert negative_log_likelihood(logits, labels, temperature) <= best + 1e-9
    assert temperature == pytest.approx(sharpness, rel=0.1)
    slope = (
        negative_log_likelihood(logits, labels, temperature * 1.001)
        - negative_log_likelihood(logits, labels, temperature / 1.001)
    ) / 0.002
    assert abs(slope) < 1e-3
    fresh, truth = made(3, size=4000, sharpness=sharpness)
    before, after = (calibration_error(probabilities(fresh, each), truth) for each in (1.0, temperature))
    assert after < 0.03
    assert after < before or sharpness == 1.0
    assert (probabilities(fresh, temperature).argmax(1) == fresh.argmax(1)).all()


def test_a_classifier_without_a_mistake_gets_a_low_temperature_and_one_without_a_hit_the_highest() -> None:
    cold = fit_temperature(4 * np.eye(3), np.arange(3))
    assert 0.01 <= cold < 0.2
    assert negative_log_likelihood(4 * np.eye(3), np.arange(3), cold) < 1e-8
    assert fit_temperature(4 * np.eye(3), (np.arange(3) + 1) % 3) == pytest.approx(100, rel=1e-3)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one bin, got 0"):
        calibration_error(np.ones((1, 1)), np.zeros(1, int), bins=0)
    with pytest.raises(ValueError, match=r"probabilities must be \(2, C\), got \(1, 3\)"):
        classwise_calibration_error(np.ones((1, 3)) / 3, np.zeros(2, int))
    for values in ([[2.0, -1.0]], [[float("nan"), 0.5]]):
        with pytest.raises(ValueError, match="give those of a softmax, not logits"):
            calibration_error(np.array(values), np.zeros(1, int))
    for logits in (np.empty((0, 3)), np.array([[np.inf, 0.0]])):
        with pytest.raises(ValueError, match="a temperature needs finite logits"):
            fit_temperature(logits, np.zeros(len(logits), int))


def test_nothing_has_no_error() -> None:
    none, owners = np.empty((0, 3)), np.empty(0, int)
    for value in (calibration_error(none, owners), classwise_calibration_error(none, owners)):
        assert np.isnan(value)
    assert np.isnan(negative_log_likelihood(none, owners))
