"""False boxes of a detector, against a simulation and loops."""

import numpy as np
import pytest

from dml_lightning.flights.counts import Correction
from dml_lightning.flights.false_boxes import FalseBoxes, subtract
from tests.flights.test_counts import flight, held_out


def test_false_boxes_against_a_simulation() -> None:
    """Their expected number is taken out, and intervals grow by their scatter between flights."""
    rng = np.random.default_rng(0)
    answered = np.array([0.3, 0.1, 0.1, 0.5])  # to a false box
    inside = []
    for _ in range(60):
        matrix = held_out(rng, 8, 0.02)
        frames = rng.integers(20, 60, 12).astype(float)
        numbers = rng.poisson(frames * rng.gamma(4, 0.1, 12))  # 0.4 a frame, which scatters by half
        empty = FalseBoxes(np.array([rng.multinomial(n, answered) for n in numbers], float), frames)
        truth = np.array([[60, 10, 0, 5]] * 4)
        false = np.array([rng.multinomial(rng.poisson(40 * rng.gamma(4, 0.1)), answered) for _ in truth])
        answers = np.array([flight(rng, own, 0.02).sum(axis=0) for own in truth]).astype(int) + false
        result = Correction(matrix).flights(answers, empty, np.full(4, 40.0))
        inside.append((result.low <= truth) & (truth <= result.high))
    assert np.mean(inside) > 0.93
    without = Correction(matrix).flights(answers)
    assert (without.counts[:, 0] > result.counts[:, 0]).all()
    rates = empty.rates
    assert rates == pytest.approx(empty.counts.sum(axis=0) / frames.sum())
    expected = ((empty.counts @ [1, 2, 0, 0] - frames * (rates @ [1, 2, 0, 0])) ** 2 / frames).sum() / 11
    assert empty.variances(np.array([[1.0, 2.0, 0.0, 0.0]]))[0] == pytest.approx(expected)


def test_nothing_is_subtracted_without_false_boxes() -> None:
    answers = np.array([[3, 4], [0, 1]])
    result = subtract(answers, None, None)
    assert np.array_equal(result.remaining, answers)
    assert (result.variance(np.ones((3, 2))) == 0).all()
    assert np.array_equal(result.summed().remaining, [[3, 5]])


def test_more_false_boxes_than_boxes_leave_none() -> None:
    empty = FalseBoxes(np.array([[20.0, 0.0], [20.0, 0.0]]), np.array([10.0, 10.0]))
    result = subtract(np.array([[3, 4]]), empty, np.array([2.0]))
    assert result.remaining.tolist() == [[-1.0, 4.0]]
    assert result.positive.tolist() == [[0.0, 4.0]]
    assert result.boxes.tolist() == [7.0]
