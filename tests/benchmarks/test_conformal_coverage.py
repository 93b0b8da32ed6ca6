"""The benchmark of rule C's promise, with the choice of the score in the loop."""

import numpy as np

from tests.benchmarks.conftest import benchmark


def test_a_score_chosen_on_validation_keeps_the_promise_for_new_flights() -> None:
    script, kinds = benchmark("conformal_coverage"), list[str]()
    rates = script.measure(script.chosen(19, 3, per_flight=True, kinds=kinds), draws=150, correlation=0.5, seed=0)
    at = int(np.abs(script.ALPHAS - 0.1).argmin())  # exactly 10 % are expected of 19 flights
    error = rates[:, at].std() / np.sqrt(len(rates))
    assert error < 0.02
    assert abs(rates[:, at].mean() - 0.1) < 3 * error
    assert len(set(kinds)) > 2  # it was in the loop
