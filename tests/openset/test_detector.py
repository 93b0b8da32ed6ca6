"""What all detectors share."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dml_lightning.openset import (
    Detector,
    EnergyDetector,
    MahalanobisDetector,
    MaxLogitDetector,
    MaxSoftmaxDetector,
    RelativeMahalanobisDetector,
    ViMDetector,
)
from dml_lightning.openset.thresholds import COST

Array = NDArray[np.float64]
WEIGHT, BIAS = np.random.default_rng(0).normal(size=(3, 6)), np.array([0.5, -0.2, 0.1])
MAKERS: list[Callable[[], Detector]] = [
    MahalanobisDetector,
    lambda: MahalanobisDetector(normalize=True),
    RelativeMahalanobisDetector,
    lambda: RelativeMahalanobisDetector(normalize=True),
    lambda: MaxSoftmaxDetector(WEIGHT, BIAS),
    lambda: MaxLogitDetector(torch.from_numpy(WEIGHT), torch.from_numpy(BIAS)),
    lambda: EnergyDetector(WEIGHT, BIAS, temperature=2.0),
    lambda: ViMDetector(WEIGHT, BIAS),
    lambda: ViMDetector(WEIGHT, BIAS, principal=2),
]
every_detector = pytest.mark.parametrize("make", MAKERS)


def sample(seed: int, n: int = 300) -> tuple[Array, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    return 2 * WEIGHT[y] + rng.normal(size=(n, 6)), y


def strangers(n: int = 300) -> Array:
    return 0.2 * np.random.default_rng(9).normal(size=(n, 6)) - 4 * WEIGHT.sum(0)


@every_detector
def test_a_detector_survives_pickling(make: Callable[[], Detector]) -> None:
    x, _ = sample(1)
    detector = make().fit(*sample(1)).calibrate(sample(2)[0], alpha=0.1, groups=np.arange(300) // 30)
    copy = pickle.loads(pickle.dumps(detector))
    message, expected = copy.predict(x), detector.predict(x)
    assert message.rule == expected.rule
    assert message.rule.startswith("C: split conformal, alpha=0.1, n=300 crops of 10 flights; ")
    for name in ("score", "is_ood", "p_value"):
        assert np.array_equal(getattr(message, name), getattr(expected, name))
    assert copy.threshold is not None
    assert copy.threshold.groups == 10


@every_detector
def test_rule_c_refuses_as_its_p_values_say(make: Callable[[], Detector]) -> None:
    detector = make().fit(*sample(3)).calibrate(sample(4)[0], alpha=0.1)
    said = detector.predict(sample(5)[0])
    assert (said.is_ood == (said.p_value <= 0.1)).all()
    assert 0.04 < said.is_ood.mean() < 0.2
    assert said.is_ood.tolist() == detector.predict(torch.from_numpy(sample(5)[0])).is_ood.tolist()


@every_detector
def test_rule_b(make: Callable[[], Detector]) -> None:
    x, _ = sample(6)
    detector = make().fit(*sample(3)).calibrate(x, rule="B", ood=strangers())
    refused = detector.predict(x), detector.predict(strangers())
    scores = [np.append(detector.score(x), np.inf), detector.score(strangers())]
    cuts = [t for t in scores[0] if (scores[0][:-1] > t).mean() <= COST]
    best = max(((scores[0][:-1] <= t).mean() + (scores[1] > t).mean()) / 2 for t in cuts)
    assert (1 - refused[0].is_ood.mean() + refused[1].is_ood.mean()) / 2 >= best - 1e-12
    assert refused[0].is_ood.mean() <= COST
    assert np.isnan(refused[0].p_value).all()


@every_detector
def test_answers_come_in_kind_whatever_the_precision(make: Callable[[], Detector]) -> None:
    x, y = sample(7)
    detector = make().fit(x, y)
    array = detector.score(x.astype(np.float32))
    tensor = detector.score(torch.from_numpy(x).float().requires_grad_())
    assert isinstance(array, np.ndarray)
    assert isinstance(tensor, torch.Tensor)
    assert (array.dtype, tensor.dtype, tensor.requires_grad) == (np.float64, torch.float64, False)
    assert np.array_equal(array, tensor.numpy())
    assert array == pytest.approx(detector.score(x), rel=1e-3, abs=1e-4)
    assert detector.score(x[:0]).shape == (0,)
    assert make().fit(torch.from_numpy(x), torch.from_numpy(y)).score(x) == pytest.approx(detector.score(x))


@every_detector
def test_rows_are_scored_a_few_at_a_time(make: Callable[[], Detector], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sample(8)
    detector = make().fit(x, y)
    whole, inner = detector.score(x), detector._score
    seen: list[int] = []
    monkeypatch.setattr(detector, "_elements", 70 * x.shape[1])

    def score(vectors: torch.Tensor) -> torch.Tensor:
        seen.append(len(vectors))
        return inner(vectors)

    monkeypatch.setattr(detector, "_score", score)
    assert detector.score(x) == pytest.approx(whole, rel=1e-12, abs=1e-12)
    assert seen == [70, 70, 70, 70, 20]


@every_detector
def test_later_changes_of_the_reference_do_not_reach_the_detector(make: Callable[[], Detector]) -> None:
    x, y = sample(9)
    detector = make().fit(x, y)
    kept, before = x.copy(), detector.score(x)
    x[:] = 0
    assert np.array_equal(detector.score(kept), before)


@every_detector
def test_errors(make: Callable[[], Detector]) -> None:
    x, y = sample(10)
    detector = make().fit(x, y)
    with pytest.raises(ValueError, match="no threshold yet: call calibrate first"):
        detector.predict(x)
    with pytest.raises(ValueError, match="rule B needs known and OOD"):
        detector.calibrate(x, rule="B")
    with pytest.raises(ValueError, match='rule "B" or "C"'):
        detector.calibrate(x, rule="A")
    with pytest.raises(ValueError, match="row 1 holds NaN"):
        detector.score(np.array([[0.0] * 6, [np.nan] * 6]))
    with pytest.raises(ValueError, match=r"shape \(N, D\)"):
        detector.score(x[0])
    with pytest.raises(ValueError, match="dimensions"):
        detector.score(x[:, :4])


def test_a_detector_needs_its_three_parts() -> None:
    incomplete: Any = type("Incomplete", (Detector,), {})
    with pytest.raises(TypeError, match="abstract"):
        incomplete()
