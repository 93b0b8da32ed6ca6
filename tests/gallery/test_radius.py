"""The radius of a class of a few crops."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dml_lightning.gallery.radius import QUANTILE, STRENGTH, RadiusPrior
from dml_lightning.openset.prototypes import PrototypeDetector

DIM = 128


def classes(rng: np.random.Generator, number: int, size: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Gaussian classes far apart, in DIM dimensions."""
    centres = rng.normal(0, 20, (number, DIM))
    labels = np.repeat(np.arange(number), size)
    return centres[labels] + rng.normal(0, 1, (len(labels), DIM)), labels


@pytest.fixture(scope="module")
def prior() -> RadiusPrior:
    """From eight known classes, prototypes of 200 crops and 60 held-out crops of each."""
    rng = np.random.default_rng(0)
    vectors, labels = classes(rng, 8, 260)
    held_out = np.tile(np.arange(260) >= 200, 8)
    detector = PrototypeDetector().fit(vectors[~held_out], labels[~held_out])
    return RadiusPrior.fit(detector, vectors[held_out], labels[held_out])


@pytest.mark.parametrize(("k", "outside_maximum"), [(1, 1.0), (5, 0.96), (10, 0.54), (20, 0.16)])
def test_fresh_crops_lie_in_the_shrunk_radius_and_not_in_the_largest_of_k(
    prior: RadiusPrior, k: int, outside_maximum: float
) -> None:
    rng = np.random.default_rng(k)
    shrunk, maximum = [], []
    for _ in range(200):
        crops, fresh = rng.normal(0, 1, (k, DIM)), rng.normal(0, 1, (100, DIM))
        mean = crops.mean(axis=0)
        distances = np.linalg.norm(fresh - mean, axis=1)
        shrunk.append((distances > prior.radius(crops)).mean())
        maximum.append((distances > np.linalg.norm(crops - mean, axis=1).max()).mean())
    assert np.mean(shrunk) == pytest.approx(1 - QUANTILE, abs=0.025)
    assert np.mean(maximum) == pytest.approx(outside_maximum, abs=0.06)


def test_against_the_formula_in_a_loop(prior: RadiusPrior) -> None:
    crops = np.random.default_rng(1).normal(0, 3, (4, DIM))
    mean = sum(crops) / 4
    squares = sum(float(np.dot(crop - mean, crop - mean)) for crop in crops)
    variance = (squares + STRENGTH * prior.variance) / (3 + STRENGTH)
    assert prior.radius(crops) == pytest.approx(prior.ratio * (variance * (1 + 1 / 4)) ** 0.5)


def test_many_crops_speak_for_themselves(prior: RadiusPrior) -> None:
    """A class twice as wide gets its own radius once there are enough crops, and some of it before."""
    rng = np.random.default_rng(2)
    wide = rng.normal(0, 2, (2000, DIM))
    few, many = prior.radius(wide[:5]), prior.radius(wide)
    assert prior.radius(np.zeros((1, DIM))) < few < many
    assert (np.linalg.norm(wide, axis=1) > many).mean() == pytest.approx(1 - QUANTILE, abs=0.02)


def test_prior_is_measured_class_by_class() -> None:
    """Its variance is the mean over classes, however many crops each has; its ratio has no unit."""
    rng = np.random.default_rng(3)
    detector = PrototypeDetector().fit(np.array([[0.0, 0.0], [100.0, 0.0]]), [0, 1])
    tight, wide = rng.normal(0, 1, (300, 2)), rng.normal([100, 0], 3, (30, 2))
    vectors, labels = np.concatenate([tight, wide]), np.repeat([0, 1], [300, 30])
    result = RadiusPrior.fit(detector, vectors, labels)
    own = [(tight**2).sum(1), ((wide - [100, 0]) ** 2).sum(1)]
    assert result.variance == pytest.approx((own[0].mean() + own[1].mean()) / 2)
    units = np.concatenate([np.sqrt(each / each.mean()) for each in own])
    assert result.ratio == pytest.approx(np.quantile(units, QUANTILE))
    scaled = RadiusPrior.fit(PrototypeDetector().fit(np.array([[0.0, 0.0], [700.0, 0.0]]), [0, 1]), 7 * vectors, labels)
    assert scaled.ratio == pytest.approx(result.ratio)
    assert scaled.radius(7 * wide) == pytest.approx(7 * result.radius(wide))


def test_no_crop_and_strangers_are_refused() -> None:
    detector = PrototypeDetector().fit(np.eye(2), [0, 1])
    with pytest.raises(ValueError, match="needs held-out crops"):
        RadiusPrior.fit(detector, np.empty((0, 2)), np.empty(0, int))
    with pytest.raises(ValueError, match="label 4 has no prototype"):
        RadiusPrior.fit(detector, np.eye(2), [0, 4])
