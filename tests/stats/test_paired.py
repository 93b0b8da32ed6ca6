"""Paired tests and intervals, each against its own definition."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dml_lightning.stats.paired import DRAWS, EXACT, holm, sign_flip_p, smallest_p, t_interval, units_needed


def test_t_interval_is_scipys() -> None:
    values = np.random.default_rng(0).normal(size=(7, 3))
    low, high = t_interval(values, level=0.9)
    for column in range(3):
        expected = stats.ttest_1samp(values[:, column], 0).confidence_interval(0.9)
        assert (low[column], high[column]) == pytest.approx((expected.low, expected.high))


def slow_p(differences: list[float]) -> float:
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((-1, 1), repeat=len(differences))
    ]
    return sum(s >= abs(sum(differences)) - 1e-9 for s in sums) / len(sums)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=8))
def test_sign_flips_count_every_pattern(tenths: list[int]) -> None:
    differences = [t / 10 for t in tenths]  # with ties, zeros and rounding
    p = sign_flip_p(np.array(differences)[:, None])
    assert p == pytest.approx([slow_p(differences)])
    assert p[0] >= smallest_p(len(differences))


def test_sign_flips_equal_scipys_permutation_test() -> None:
    differences = np.random.default_rng(1).normal(0.4, 1, (EXACT, 1))
    expected = stats.permutation_test((differences[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(differences) == pytest.approx([expected.pvalue])


def test_many_columns_are_tested_as_each_alone() -> None:
    differences = np.random.default_rng(2).normal(0.3, 1, (12, 700))  # in more than one block
    alone = [sign_flip_p(differences[:, [column]])[0] for column in range(0, 700, 99)]
    assert sign_flip_p(differences)[::99].tolist() == alone


def test_beyond_the_exact_range_patterns_are_drawn() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1, (EXACT + 1, 1))
    p = sign_flip_p(differences)[0]
    expected = stats.permutation_test(
        (differences[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert p == pytest.approx(expected, abs=5 * (expected / DRAWS) ** 0.5)
    assert p == sign_flip_p(differences)[0] != sign_flip_p(differences, seed=1)[0]
    assert sign_flip_p(np.ones((40, 1)))[0] == smallest_p(40) == 1 / (DRAWS + 1)  # never 0


def test_the_floor_is_reached_and_says_how_many_units_it_takes() -> None:
    for n in range(2, EXACT + 1):
        assert sign_flip_p(np.arange(1.0, n + 1)[:, None])[0] == smallest_p(n) == 2 / 2**n
    for m in range(1, 40):
        n = units_needed(0.05, m)
        assert smallest_p(n) <= 0.05 / m < smallest_p(n - 1)
    assert [units_needed(comparisons=m) for m in (1, 2, 3, 6, 7)] == [6, 7, 7, 8, 9]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    adjusted = holm(np.array(p_values))
    for alpha in (0.05, 0.2, *adjusted.tolist()):
        rejected = set()
        for step, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if min(1.0, p_values[i] * (len(p_values) - step)) > alpha:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected


def test_holm_of_a_known_example() -> None:
    assert holm(np.array([0.03, 0.01, 0.04])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([[0.5], [0.01]])).tolist() == [[0.5], [0.01]]  # each row a family
    assert holm(np.empty(0)).shape == (0,)
