import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dml_lightning.metrics.functional import auroc
from dml_lightning.openset import PrototypeDetector, assumption_report, one_per_group
from dml_lightning.openset.arrays import unnested
from dml_lightning.openset.thresholds import Threshold
from tests.openset.balls import balls

Array = NDArray[np.float64]


def sample(seed: int, n: int = 60, classes: int = 3, dim: int = 4) -> tuple[Array, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(classes), rng.integers(classes, size=n - classes)] * 10
    return 3 * rng.normal(size=(classes, dim))[y // 10] + rng.normal(size=(n, dim)), y


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), quantile=st.sampled_from([0.5, 0.9, 1.0]))
def test_scores_equal_the_definition(seed: int, quantile: float) -> None:
    x, y = sample(seed)
    detector = PrototypeDetector(quantile).fit(x, y)
    classes = sorted(set(y))
    means = [x[y == c].mean(0) for c in classes]
    radii = [np.quantile([math.dist(v, m) for v in x[y == c]], quantile) for c, m in zip(classes, means, strict=True)]
    assert detector.classes.tolist() == classes
    assert detector.radii == pytest.approx(np.array(radii))
    fresh = np.random.default_rng(seed).normal(0, 3, (20, 4))
    for q, s0, s1 in zip(fresh, detector.score(fresh), detector.score(fresh, kind="radius"), strict=True):
        distances = [math.dist(q, m) for m in means]
        assert s0 == pytest.approx(min(distances))
        assert s1 == pytest.approx(min(d - r for d, r in zip(distances, radii, strict=True)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), dtype=st.sampled_from([np.float32, np.float64]))
def test_no_reference_sample_lies_outside_its_ball(seed: int, dtype: type) -> None:
    x, y = sample(seed)
    x = x.astype(dtype)
    detector = PrototypeDetector().fit(x, y)
    assert detector.score(x, kind="radius").max() <= 0  # exactly, not up to rounding
    assert not detector.predict(x).is_ood.any()  # rule A
    assert not detector.calibrate(rule="A", kind="nearest").predict(x).is_ood.any()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), overlap=st.booleans())
def test_theorem_the_radius_score_separates_and_disjoint_balls_name_the_class(seed: int, overlap: bool) -> None:
    rng = np.random.default_rng(seed)
    radii = rng.uniform(0.2, 4, 4)
    gap = 0.5 if overlap else 10.0
    centres = np.c_[np.arange(4) * gap, rng.normal(size=(4, 2))]
    detector = balls(centres=centres.tolist(), radii=radii.tolist())
    owner = rng.integers(4, size=200)
    direction = rng.normal(size=(200, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = radii[owner] * rng.uniform(0, 0.999, 200)
    known = centres[owner] + direction * length[:, None]
    anywhere = rng.uniform(-10, 40, (500, 3))
    distances = np.linalg.norm(anywhere[:, None] - centres, axis=2)
    ood = anywhere[(distances > 1.001 * radii).all(1)]
    report = assumption_report(detector, known, owner, ood)
    assert report.separation_holds
    s1 = detector.score(known, kind="radius").max(), detector.score(ood, kind="radius").min()
    assert s1[0] <= 0 < s1[1]
    if report.pairs_disjoint == 1.0:
        assert detector.predict(known).radius_label.tolist() == owner.tolist()
    assert overlap or report.pairs_disjoint == 1.0


def test_counterexample_the_nearest_score_does_not_separate_when_radii_differ() -> None:
    detector = balls(centres=[[0.0, 0.0], [10.0, 0.0]], radii=[1.0, 4.0])
    known, ood = np.array([[13.5, 0.0]]), np.array([[0.0, 1.5]])
    assert assumption_report(detector, known, np.array([1]), ood).separation_holds
    nearest, radius = ((detector.score(known, kind), detector.score(ood, kind)) for kind in ("nearest", "radius"))
    assert (nearest[0][0], nearest[1][0]) == (3.5, 1.5)
    assert auroc(*nearest) == 0.0
    assert (radius[0][0], radius[1][0]) == (-0.5, 0.5)
    assert auroc(*radius) == 1.0


def test_the_nearest_prototype_need_not_be_the_true_class() -> None:
    detector = balls(centres=[[0.0], [6.0]], radii=[1.0, 4.0])
    said = detector.predict(np.array([[2.0]]))  # in the second ball, nearer to the first prototype
    assert said.nearest_label.tolist() == [0]
    assert said.radius_label.tolist() == [1]
    assert said.nearest_distance.tolist() == [2.0]
    assert said.score.tolist() == [0.0]
    assert not said.is_ood[0]


def test_rule_a_thresholds() -> None:
    detector = balls(centres=[[0.0], [9.0]], radii=[1.0, 3.0])
    x = np.array([[-2.0], [-3.5]])  # 2 and 3.5 from the nearest prototype, 1 and 2.5 from its ball
    assert detector.predict(x).is_ood.tolist() == [True, True]
    assert detector.calibrate(rule="A", epsilon=1.5).predict(x).is_ood.tolist() == [False, True]
    nearest = detector.calibrate(rule="A", kind="nearest").predict(x)
    assert nearest.is_ood.tolist() == [False, True]
    assert nearest.rule == "A: radius + epsilon, nearest"
    assert np.isnan(nearest.p_value).all()


def test_rule_b_maximises_balanced_accuracy() -> None:
    x, y = sample(1)
    known, _ = sample(1, n=40)
    ood = np.random.default_rng(0).normal(0, 8, (50, 4))
    detector = PrototypeDetector().fit(x, y).calibrate(known, rule="B", kind="nearest", ood=ood)
    s, o = detector.score(known), detector.score(ood)
    best = max(((s <= t).mean() + (o > t).mean()) / 2 for t in np.r_[s, o])
    said = ~detector.predict(known).is_ood, detector.predict(ood).is_ood
    assert (said[0].mean() + said[1].mean()) / 2 == pytest.approx(best)
    assert "B" in detector.predict(ood).rule


def test_rule_c_refuses_as_its_p_values_say() -> None:
    x, y = sample(2, n=400)
    alpha = 0.1
    detector = PrototypeDetector().fit(x[:100], y[:100])
    detector.calibrate(x[100:200], alpha=alpha, groups=np.arange(100) // 20)
    said = detector.predict(x[200:])
    assert (said.is_ood == (said.p_value <= alpha)).all()
    assert 0 < said.is_ood.mean() < 0.25
    assert said.rule.startswith("C: split conformal, alpha=0.1, n=100 crops of 5 flights; ")
    assert said.rule.endswith(", radius")
    assert detector.threshold.groups == 5


def test_per_class_refuses_only_what_every_class_refuses() -> None:
    x, y = sample(3, n=900)
    detector = PrototypeDetector().fit(x[:100], y[:100])
    detector.calibrate(x[100:500], y[100:500], alpha=0.1, per_class=True)
    assert detector.threshold.per_class is not None
    fresh, truth = x[500:], y[500:]
    distances = detector.distances(fresh)
    refused = (distances > detector.threshold.per_class.values).all(1)
    said = detector.predict(fresh)
    assert (said.is_ood == refused).all()
    assert (said.is_ood == (said.p_value <= 0.1)).all()
    for c, label in enumerate(detector.classes):
        calibration = np.sort(detector.distances(x[100:500][y[100:500] == label])[:, c])
        rank = math.ceil((len(calibration) + 1) * 0.9)
        assert detector.threshold.per_class.values[c] == calibration[rank - 1]
        assert said.is_ood[truth == label].mean() <= 0.2
    assert said.rule.endswith("per class")


def test_too_few_samples_of_a_class_refuse_nothing_and_say_so() -> None:
    x, y = sample(4)
    detector = PrototypeDetector().fit(x, y)
    with pytest.warns(UserWarning, match="too few for alpha = 0.1: at least 9"):
        detector.calibrate(x[:3], y[:3], alpha=0.1, per_class=True)
    assert not detector.predict(1e6 * np.ones((2, 4))).is_ood.any()


@pytest.mark.parametrize("how", ["A", "B", "C", "per class"])
def test_state_survives_npz_and_pickle(tmp_path: Path, how: str) -> None:
    x, y = sample(5, n=200)
    detector = PrototypeDetector(0.9).fit(x, y)
    if how == "per class":
        detector.calibrate(x, y, alpha=0.2, per_class=True)
    else:
        rule: Any = how
        detector.calibrate(x, rule=rule, kind="nearest", ood=x + 5, epsilon=0.1)
    state = detector.state() | {f"threshold.{name}": value for name, value in detector.threshold.state().items()}
    assert all(isinstance(value, np.ndarray) and value.dtype != object for value in state.values())
    np.savez(tmp_path / "detector.npz", **state)  # type: ignore[arg-type]
    with np.load(tmp_path / "detector.npz", allow_pickle=False) as file:
        loaded = PrototypeDetector.from_state(file)
        loaded.threshold = Threshold.from_state(unnested("threshold", file))
    for copy in (loaded, pickle.loads(pickle.dumps(detector))):
        said, expected = copy.predict(x + 1), detector.predict(x + 1)
        assert said.rule == expected.rule
        for name in ("score", "is_ood", "p_value", "nearest_label", "radius_label"):
            assert np.array_equal(getattr(said, name), getattr(expected, name), equal_nan=True)


def test_answers_come_in_kind_and_are_not_normalised() -> None:
    x, y = sample(6)
    detector = PrototypeDetector().fit(torch.from_numpy(x).float(), torch.from_numpy(y))
    as_tensor = detector.score(torch.from_numpy(x).float())
    assert isinstance(as_tensor, torch.Tensor)
    as_array = detector.score(x.astype(np.float32))
    assert isinstance(as_array, np.ndarray)
    assert as_tensor.numpy() == pytest.approx(as_array)
    doubled = PrototypeDetector().fit(2 * x, y).score(2 * x)
    assert doubled == pytest.approx(2 * PrototypeDetector().fit(x, y).score(x))


def test_a_class_of_one_sample_has_radius_zero() -> None:
    detector = PrototypeDetector().fit(np.array([[1.0, 2.0]]), np.array([7]))
    assert detector.radii.tolist() == [0.0]
    assert detector.predict(np.array([[1.0, 2.0], [1.0, 2.1]])).is_ood.tolist() == [False, True]


def test_one_per_group() -> None:
    groups = np.array(["b"] * 50 + ["a"] * 3 + ["c"])
    rows = one_per_group(groups, seed=1)
    assert groups[rows].tolist() == ["a", "b", "c"]
    drawn = {int(one_per_group(groups, seed=s)[0]) for s in range(60)}
    assert drawn == {50, 51, 52}  # any of the flight's crops


def test_errors() -> None:
    x, y = sample(7)
    detector = PrototypeDetector()
    with pytest.raises(ValueError, match="call fit first"):
        detector.score(x)
    detector.fit(x, y)
    with pytest.raises(ValueError, match="radius_quantile"):
        PrototypeDetector(1.5)
    with pytest.raises(ValueError, match='"nearest" or "radius"'):
        detector.score(x, kind="far")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 dimensions and references 4"):
        detector.score(x[:, :2])
    with pytest.raises(ValueError, match="held-out known samples"):
        detector.calibrate(rule="C")
    with pytest.raises(ValueError, match="rule B needs known and OOD"):
        detector.calibrate(x, rule="B")
    with pytest.raises(ValueError, match='rule "B" or "C"'):
        detector.calibrate(x, rule="D")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="per_class"):
        detector.calibrate(x, y, rule="B", per_class=True)
    with pytest.raises(ValueError, match="per_class"):
        detector.calibrate(x, per_class=True)
    with pytest.raises(ValueError, match="label 5 has no prototype"):
        detector.calibrate(x, np.full(len(x), 5), per_class=True)
    with pytest.raises(ValueError, match="alpha"):
        detector.calibrate(x, alpha=1.0)


def test_a_detector_without_prototypes_says_so() -> None:
    x, y = sample(0)
    detector = PrototypeDetector()
    for question in (
        lambda: detector.distances(x),
        lambda: detector.columns(y),
        lambda: assumption_report(detector, x, y, x),
    ):
        with pytest.raises(ValueError, match="has no prototypes yet: call fit first"):
            question()
