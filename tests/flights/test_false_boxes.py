"""False boxes of a detector, against a simulation and loops."""

import numpy as np
import pytest
from numpy.typing import NDArray

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


@pytest.mark.parametrize(("number", "frames", "new"), [(3, 100, 100), (10, 20, 200)])
def test_few_or_short_flights_without_birds_are_held_too(number: int, frames: int, new: int) -> None:
    """Three flights hardly tell how rates scatter; and that of rates matters more in longer flights."""
    rng, inside = np.random.default_rng(1), []
    truth = np.array([[10, 3, 0, 2]] * 4)

    def false(flights: int, length: int) -> NDArray[np.int64]:
        numbers = rng.poisson(length * rng.gamma(4, 0.1, flights))
        return np.array([rng.multinomial(n, [0.3, 0.1, 0.1, 0.5]) for n in numbers])

    for _ in range(100):
        matrix, empty = (
            held_out(rng, 10, 0.02),
            FalseBoxes(false(number, frames).astype(float), np.full(number, frames)),
        )
        answers = np.array([flight(rng, own, 0.02).sum(axis=0) for own in truth]).astype(int) + false(4, new)
        result = Correction(matrix).flights(answers, empty, np.full(4, float(new)))
        inside.append((result.low <= truth) & (truth <= result.high))
    assert np.mean(inside, axis=(0, 1)).min() > 0.86


def test_the_scatter_of_rates_is_that_of_the_simulation() -> None:
    """Variances by moments, on average over tables; and the error of the rates as that of a weighted mean."""
    rng, weights = np.random.default_rng(2), np.array([[1.0, -0.5]])
    frames, found = np.array([50.0, 100.0, 150.0, 400.0, 200.0, 300.0]), []
    for _ in range(3000):
        rates = rng.gamma(10, 0.05, 6)  # of both answers alike: variance 0.025, mean 0.5
        numbers = rng.poisson(frames * rates)
        found.append(FalseBoxes(rng.multinomial(numbers, [0.6, 0.4]).astype(float), frames).scatter(weights))
    single, between = np.mean(found, axis=0)[:, 0]
    assert single == pytest.approx(0.5 * (0.6 + 0.25 * 0.4), rel=0.02)
    assert between == pytest.approx(0.025 * (0.6 - 0.5 * 0.4) ** 2, rel=0.05)
    empty = FalseBoxes(np.array([[9.0, 3.0], [1.0, 4.0]]), np.array([10.0, 30.0]))
    single, between = empty.scatter(weights)
    parts = np.array([10.0, 30.0]) / 40  # of the pooled rate
    error = (parts**2 * (single / [10, 30] + between)).sum()
    sums = empty.variance(weights, np.array([12.0]), np.array([5.0**2 + 7.0**2]))[0]
    assert sums == pytest.approx(12 * single + (5**2 + 7**2) * between + 12**2 * error)


def test_no_false_box_in_few_frames_leaves_some_possible() -> None:
    none = FalseBoxes(np.zeros((5, 2)), np.full(5, 20.0))
    assert none.variance(np.eye(2), np.array([100.0]), np.array([100.0**2])).sum() == pytest.approx(1 + 1)


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
