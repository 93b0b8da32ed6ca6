"""Counts of a flight corrected by a confusion matrix, against simulations with known counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm, pearson3, t

from dml_lightning.flights.confusion import PRIOR, Confusion
from dml_lightning.flights.counts import ONE_FLIGHT, Correction, _Test, most_likely, quantile
from dml_lightning.flights.false_boxes import subtract

NAMES = ["coot", "gadwall", "mallard", "other"]
SHARES = np.array([[0.75, 0.1, 0.05, 0.1], [0.15, 0.7, 0.1, 0.05], [0.05, 0.2, 0.7, 0.05], [0.1, 0.1, 0.05, 0.75]])


def flight(rng: np.random.Generator, truth: NDArray[np.int64], correlation: float) -> NDArray[np.float64]:
    """Answers (R, K) of a flight with these true counts and shares of its own."""
    if correlation == 0:
        return np.array([rng.multinomial(n, p) for n, p in zip(truth, SHARES, strict=True)], float)
    own = [rng.dirichlet(row * (1 / correlation - 1)) for row in SHARES]
    return np.array([rng.multinomial(n, p) for n, p in zip(truth, own, strict=True)], float)


def held_out(rng: np.random.Generator, flights: int, correlation: float) -> Confusion:
    counts = [flight(rng, rng.integers(10, 60, len(SHARES)), correlation) for _ in range(flights)]
    columns = [*NAMES[:-1], "unknown"]
    return Confusion(NAMES, columns, np.array(counts), [str(f) for f in range(flights)])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=4, max_size=4), st.integers(0, 1000))
def test_corrected_counts_are_never_negative_and_add_up(answers: list[int], seed: int) -> None:
    correction = Correction(held_out(np.random.default_rng(seed), 6, 0.05))
    for result in (correction.flights(np.array([answers])), correction.together(np.array([answers, answers]))):
        assert (result.counts >= 0).all()
        assert (result.low <= result.counts + 1e-4).all()
        assert (result.counts <= result.high + 1e-4).all()
    one = correction.flights(np.array([answers]))
    assert one.counts.sum() == pytest.approx(sum(answers))
    assert (one.low >= 0).all()
    assert (one.high <= sum(answers)).all()
    assert np.array_equal(one.low % 1, np.zeros((1, 4)))


def test_the_most_likely_counts_are_those_of_a_search() -> None:
    rng = np.random.default_rng(0)
    answers = rng.multinomial(200, rng.dirichlet(np.ones(4), 5)).astype(float)

    def loss(logits: NDArray[np.float64], own: NDArray[np.float64]) -> float:
        shares = np.exp(logits - logits.max())
        return -float(own @ np.log(shares / shares.sum() @ SHARES))

    found = most_likely(answers, SHARES)
    for own, result in zip(answers, found, strict=True):
        best = min((minimize(loss, start, (own,)) for start in rng.normal(size=(3, 4))), key=lambda each: each.fun)
        assert loss(np.log(np.maximum(result, 1e-30) / 200), own) == pytest.approx(best.fun, abs=1e-3)


@pytest.mark.parametrize("means", [SHARES, [[0.5, 0.4, 0.1], [0.4, 0.5, 0.1], [0.05, 0.05, 0.9]]])
def test_the_most_likely_counts_of_a_single_species_are_all_its_own(means: list[list[float]]) -> None:
    """At a border plain EM creeps, the more so between classes that resemble each other."""
    shares = np.array(means)
    assert np.allclose(most_likely(200 * shares, shares), 200 * np.eye(len(shares)), atol=0.05)


def test_no_count_could_grow_with_a_gain() -> None:
    """The condition of Karush, Kuhn and Tucker: a box more of a class gains at most what each box has."""
    rng = np.random.default_rng(5)
    answers = rng.multinomial(300, rng.dirichlet(np.full(4, 0.4), 50)).astype(float)
    gains = answers / (most_likely(answers, SHARES) @ SHARES) @ SHARES.T
    assert gains.max() <= 1.001


@pytest.mark.parametrize("correlation", [0.0, 0.1])
def test_moments_are_those_of_simulated_flights(correlation: float) -> None:
    """Variance and skewness of the adjusted counts at the true counts: own scatter, and error of the matrix."""
    rng = np.random.default_rng(1)
    truth, draws = np.array([40, 10, 30, 20]), 20_000
    fixed = held_out(rng, 8, correlation)
    sizes = fixed.counts.sum(axis=2)
    correction = Correction(fixed)
    correction.means, correction.correlation = SHARES, correlation
    correction.inverse = np.linalg.inv(SHARES.T)
    deviations = correction.inverse[:, None, :] - np.eye(4)[:, :, None]
    correction.second = np.einsum("sk,rsk->rs", SHARES, deviations**2)
    correction.third = np.einsum("sk,rsk->rs", SHARES, deviations**3)
    object.__setattr__(fixed, "correlation", correlation)
    correction.errors = fixed.errors
    weights = fixed._weights / fixed._weights.sum(axis=0) / sizes

    def scatter(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
        """Answers (draws, R, K)."""
        own = rng.standard_gamma(SHARES * (1 / correlation - 1), (draws, 4, 4)) if correlation else SHARES
        own = np.broadcast_to(own / own.sum(axis=-1, keepdims=True), (draws, 4, 4))
        return rng.multinomial(numbers.astype(int), own)

    answers = scatter(truth.astype(float)).sum(axis=1)
    means = sum(weights[f][:, None] * scatter(sizes[f]) for f in range(len(sizes)))
    simulated = (answers - truth @ (means - SHARES)) @ correction.inverse.T  # to first order in the matrix's error
    test = _Test(correction, subtract(truth @ SHARES[None], None, None), truth[None].astype(float), ONE_FLIGHT)
    variance, third = test.moments(truth[None].astype(float))
    centred = simulated - simulated.mean(axis=0)
    assert np.allclose(variance[0], centred.var(axis=0), rtol=0.05)
    skewness = (centred**3).mean(axis=0) / centred.std(axis=0) ** 3
    assert np.allclose(third[0] / variance[0] ** 1.5, skewness, atol=0.08)


def scanned(correction: Correction, answers: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Slow reference: every whole number of every class is tried, with moments summed class by class."""
    matrix, level = correction.confusion, 0.95
    means, rho, errors = matrix.shares, matrix.correlation, matrix.errors
    inverse, boxes = np.linalg.inv(means.T), int(answers.sum())
    adjusted, likely = inverse @ answers, most_likely(answers[None].astype(float), means)[0]
    freedom = sum((matrix.counts[:, r].sum(axis=1) > 0).sum() - 1 for r in range(len(means))) / 3
    wider = t.ppf((1 + level) / 2, freedom) / norm.ppf((1 + level) / 2)
    low, high = [], []
    for r in range(len(means)):
        accepted = []
        for value in range(boxes + 1):
            others = np.delete(likely + 1e-9, r)  # alike, where all are of this class
            counts = np.insert(others * (boxes - value) / others.sum(), r, value)
            variance = third = 0.0
            for s, n in enumerate(counts):
                mean = means[s] @ inverse[r]
                second, cube = (means[s] @ (inverse[r] - mean) ** power for power in (2, 3))
                own = n * (1 - rho + n * rho)
                variance += second * (own + n**2 * errors.second[s])
                third += cube * (own * (1 - rho + 2 * n * rho) / (1 + rho) - n**3 * errors.third[s])
            ends = pearson3.ppf([(1 - level) / 2, (1 + level) / 2], third / variance**1.5) * wider * variance**0.5
            if ends[0] - 0.5 <= adjusted[r] - value <= ends[1] + 0.5:
                accepted.append(value)
        low.append(min(*accepted, int(likely[r] + 1e-4)))
        high.append(max(*accepted, int(np.ceil(likely[r] - 1e-4))))
    return low, high


@pytest.mark.parametrize("answers", [[30, 20, 10, 20], [60, 2, 3, 1], [0, 0, 0, 9], [5, 0, 1, 0]])
def test_intervals_are_those_of_a_scan(answers: list[int]) -> None:
    correction = Correction(held_out(np.random.default_rng(5), 7, 0.08))
    result = correction.flights(np.array([answers]))
    low, high = scanned(correction, np.array(answers))
    assert result.low[0].tolist() == low
    assert result.high[0].tolist() == high


def test_quantiles_are_those_of_pearson() -> None:
    skewness = np.array([-1.234, 0.0, 0.3217, 2.9])
    for probability in (0.025, 0.975):
        assert np.allclose(quantile(skewness, probability), pearson3.ppf(probability, skewness), atol=1e-4)


def test_many_boxes_find_the_counts_that_explain_the_answers() -> None:
    truth = np.array([50_000, 20_000, 10_000, 20_000])
    assert np.allclose(most_likely(np.rint(truth @ SHARES)[None], SHARES), truth, atol=5)


def test_two_classes_that_are_answered_alike_share_what_is_left_open() -> None:
    """Maximum likelihood could give either everything; the interval says that it may be so, and no more than that."""
    counts = np.array([[[50, 50, 0], [50, 50, 0], [0, 0, 100]]] * 6, float)
    matrix = Confusion(["a", "b", "other"], ["a", "b", "unknown"], counts, list("123456"))
    correction = Correction(matrix)
    result = correction.flights(np.array([[60, 40, 30]]))
    assert np.allclose(result.counts, [[50, 50, 30]], atol=1)
    assert result.low[0, 0] <= 3
    assert 97 <= result.high[0, 0] <= 112
    assert correction.alike == [["a", "b"]]
    assert Correction(held_out(np.random.default_rng(0), 6, 0.0)).alike == []


def test_a_flight_without_boxes_counts_nothing() -> None:
    correction = Correction(held_out(np.random.default_rng(0), 6, 0.0))
    for answers in (np.zeros((1, 4), int), np.zeros((2, 4), int), np.array([[0] * 4, [3] * 4])):
        result = correction.flights(answers)
        assert (result.counts[0] == 0).all()
        assert (result.low[0] == 0).all()
        assert (result.high[0] == 0).all()


def test_errors_of_flights_level_out_and_those_of_the_matrix_do_not() -> None:
    correction = Correction(held_out(np.random.default_rng(0), 6, 0.05))
    answers = np.array([[30, 20, 10, 20]] * 400)
    one, whole = correction.flights(answers[:1]), correction.together(answers)
    single, summed = one.high[0] - one.low[0], whole.high[0] - whole.low[0]
    assert (summed < 0.8 * 400 * single).all()
    assert (summed > 20 * single).all()  # 20 is the square root of 400
    assert np.allclose(whole.counts, 400 * one.counts, rtol=1e-6)
    again = correction.together(answers, each=correction.flights(answers))
    assert all(np.array_equal(getattr(again, name), getattr(whole, name)) for name in ("counts", "low", "high"))


def test_few_flights_give_the_range_of_single_matrices() -> None:
    rng = np.random.default_rng(3)
    counts = held_out(rng, 4, 0.1).counts.copy()
    counts[0, 1] = 0  # a class that the first flight lacks takes the mean of all
    matrix = Confusion(NAMES, [*NAMES[:-1], "unknown"], counts, list("abcd"))
    correction = Correction(matrix)
    assert correction.limits == "range"
    answers = np.array([[30, 20, 10, 20]])
    result = correction.flights(answers)
    alone = [most_likely(answers.astype(float), means) for means in matrix.shares_by_flight]
    assert np.allclose(matrix.shares_by_flight[0][1], matrix.shares[1])
    assert np.allclose(result.low, np.min([result.counts, *alone], axis=0))
    assert np.allclose(result.high, np.max([result.counts, *alone], axis=0))
    assert Correction(held_out(rng, 5, 0.1)).limits == "interval"


def test_shares_weigh_flights_by_what_they_tell() -> None:
    matrix = held_out(np.random.default_rng(1), 7, 0.1)
    sizes, rho = matrix.counts.sum(axis=2), matrix.correlation
    for row in range(4):
        weights = sizes[:, row] / (1 + (sizes[:, row] - 1) * rho)
        each = matrix.counts[:, row] / sizes[:, row, None]
        expected = (weights @ each + PRIOR / 4) / (weights.sum() + PRIOR)
        assert np.allclose(matrix.shares[row], expected)
        variance = ((weights / weights.sum()) ** 2 * (1 + (sizes[:, row] - 1) * rho) / sizes[:, row]).sum()
        assert matrix.errors.second[row] == pytest.approx(variance)


@pytest.mark.parametrize("correlation", [0.0, 0.05, 0.2])
def test_the_correlation_is_that_of_the_simulation(correlation: float) -> None:
    result = [held_out(np.random.default_rng(seed), 12, correlation).correlation for seed in range(60)]
    assert np.mean(result) == pytest.approx(correlation, abs=0.005 + 0.08 * correlation)


@pytest.mark.parametrize("flights", [6, 12])
def test_the_correlation_scatters_no_more_than_its_degrees_of_freedom_say(flights: int) -> None:
    found = [held_out(np.random.default_rng([flights, seed]), flights, 0.1) for seed in range(150)]
    values = np.array([matrix.correlation for matrix in found])
    assert 1 < 2 * values.mean() ** 2 / values.var() / found[0].freedom < 3


def test_one_flight_has_no_correlation_to_measure() -> None:
    single = held_out(np.random.default_rng(0), 1, 0.2)
    assert np.isnan(single.correlation)
    assert np.isfinite(single.shares).all()
    assert Correction(single).limits == "range"


def test_flights_of_other_things_make_no_interval_for_species() -> None:
    """Eight flights, of which one shows species: how flights differ in these is not known."""
    counts = held_out(np.random.default_rng(0), 8, 0.1).counts.copy()
    counts[1:, :3] = 0
    matrix = Confusion(NAMES, [*NAMES[:-1], "unknown"], counts, list("abcdefgh"))
    assert (matrix.units, np.isfinite(matrix.correlation)) == (1, True)
    assert Correction(matrix).limits == "range"
