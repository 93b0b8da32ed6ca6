"""The judgement of boxes, against a loop over them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.openset.judge import DecisionRule, conformal_p_values, judge, score, vote

RADII, ENROLLED_RADII = np.array([1.0, 3.0]), np.array([2.0, 0.5])
RULES = {
    "A": DecisionRule(0.0, RADII),
    "B": DecisionRule(2.5),
    "C": DecisionRule(np.inf),
    "D": DecisionRule(1.0, np.array([0.0, 4.0])),
}
CALIBRATION = np.array([0.5, 1.0, 1.0, 2.0])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 2), st.booleans())
def test_every_box_is_judged_by_the_definition(seed: int, species: int, classifier: bool) -> None:
    rng = np.random.default_rng(seed)
    trained, enrolled = rng.uniform(0, 6, (20, 2)), rng.uniform(0, 6, (20, species))
    classes = rng.integers(2, size=20) if classifier else None
    balls = ENROLLED_RADII[:species]
    found = judge(trained, enrolled, RADII, balls, RULES, CALIBRATION, classes)
    for row in range(20):
        distances = [*trained[row], *enrolled[row]]
        nearest = int(np.argmin(distances))
        beyond = distances[nearest] - balls[nearest - 2] if nearest >= 2 else np.inf
        named = int(trained[row].argmin()) if classes is None else classes[row]
        assert found.name[row] == (nearest if beyond <= 0 else named)
        assert found.nearest[row] == nearest
        assert found.adjusted[row] == np.argmin(np.array(distances) - [*RADII, *balls])
        assert found.distance[row] == min(distances)
        assert found.distance_trained[row] == trained[row].min()
        for name, rule in RULES.items():
            own = min(trained[row] - (0 if rule.balls is None else rule.balls))
            assert found.known[name][row] == (own <= rule.threshold or beyond <= 0)
            expected = min(own, rule.threshold + beyond) if np.isfinite(rule.threshold) else own
            assert found.score[name][row] == pytest.approx(expected)
        above = sum(held_out >= trained[row].min() for held_out in CALIBRATION)
        assert found.p_value[row] == pytest.approx((1 + above) / 5)


def test_without_a_calibration_there_are_no_p_values() -> None:
    found = judge(np.ones((3, 2)), np.empty((3, 0)), RADII, np.empty(0), {"A": RULES["A"]})
    assert np.isnan(found.p_value).all()
    assert found.name.tolist() == [0, 0, 0]


def test_a_score_is_the_least_distance_less_the_ball() -> None:
    distances = np.array([[1.0, 3.5], [4.0, 9.0]])
    assert score(distances, DecisionRule(0.0)).tolist() == [1, 4]
    assert score(distances, DecisionRule(0.0, np.array([0.0, 3.0]))).tolist() == [0.5, 4]


def test_p_values_count_ties_as_beyond() -> None:
    assert conformal_p_values(CALIBRATION, np.array([0.0, 1.0, 2.0, 2.1])).tolist() == [1, 0.8, 0.4, 0.2]
    assert conformal_p_values(np.empty(0), np.array([1.0])).tolist() == [1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=8))
def test_of_equally_common_labels_the_nearest_wins(rows: list[list[int]]) -> None:
    expected = [max(row, key=lambda label: (row.count(label), -row.index(label))) for row in rows]
    assert vote(np.array(rows)).tolist() == expected
