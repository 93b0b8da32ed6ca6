import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from dml_lightning.openset import Detector, KNNDetector


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 9))
def test_scores_equal_scikit_learn(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    z, x = rng.normal(size=(30, 5)), rng.normal(size=(12, 5))
    expected = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(x)[0][:, -1]
    assert KNNDetector(k).fit(z, np.zeros(30, int)).score(x) == pytest.approx(expected)


def test_calibration_and_pickling() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    x = 5.0 * np.eye(3)[y] + rng.normal(size=(300, 3))
    detector = KNNDetector(3).fit(x[:100], y[:100])
    detector.calibrate(x[100:200], alpha=0.1)
    assert detector.threshold is not None
    assert 0.02 < detector.threshold.refuses(detector.score(x[200:])).mean() < 0.2
    copy = pickle.loads(pickle.dumps(detector))
    assert np.array_equal(copy.score(x), detector.score(x))
    assert copy.threshold.value == detector.threshold.value
    by_b = detector.calibrate(x[100:200], rule="B", ood=x[:50] + 20).threshold
    assert by_b is not None
    assert by_b.refuses(detector.score(x + 20)).all()


def test_it_decides_as_every_detector_does() -> None:
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(120, 4)), rng.normal(size=(40, 4)) * 2
    detector = KNNDetector(3).fit(x[:60], np.zeros(60, int))
    assert isinstance(detector, Detector)
    with pytest.raises(ValueError, match="this KNNDetector has no threshold yet"):
        detector.predict(z)
    said = detector.calibrate(x[60:], alpha=0.1).predict(z)
    held_out = detector.score(x[60:])
    assert np.array_equal(said.score, detector.score(z))
    assert np.array_equal(said.is_ood, said.score > np.sort(held_out)[54])  # ceil(61 * 0.9) = 55
    above = (held_out >= said.score[:, None]).sum(axis=1)
    assert np.allclose(said.p_value, (1 + above) / 61)
    assert 0 < said.is_ood.mean() < 1
    assert said.rule == "C: split conformal, alpha=0.1, n=60"


def test_answers_come_in_kind_and_later_changes_do_not_reach_the_references() -> None:
    z, y = torch.randn(20, 4), torch.zeros(20, dtype=torch.int64)
    detector = KNNDetector(1).fit(z, y)
    kept = z.clone()
    z.zero_()
    score = detector.score(kept)
    assert isinstance(score, torch.Tensor)
    assert score.eq(0).all()
    assert isinstance(detector.score(kept.numpy()), np.ndarray)


def test_errors() -> None:
    x, y = np.zeros((3, 2)), np.zeros(3, int)
    with pytest.raises(ValueError, match="at least 1"):
        KNNDetector(0)
    with pytest.raises(ValueError, match="as many references, got 3"):
        KNNDetector(5).fit(x, y)
    with pytest.raises(ValueError, match="call fit first"):
        KNNDetector(1).score(x)
    with pytest.raises(ValueError, match="dimensions"):
        KNNDetector(1).fit(x, y).score(x[:, :1])
