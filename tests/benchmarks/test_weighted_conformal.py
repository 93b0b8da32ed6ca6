"""The benchmark of weighted conformal, on made-up birds whose flights show different parts of the space."""

import numpy as np

from tests.benchmarks.conftest import benchmark


def test_weights_bring_the_share_refused_nearer_to_the_promise_and_flights_nearer_to_each_other() -> None:
    """Scores spread more on one side of the space, where some flights have most of their birds."""
    rng, script = np.random.default_rng(0), benchmark("weighted_conformal")
    flights = np.repeat(np.arange(20), 60)
    vectors = rng.normal(size=(len(flights), 3)) + 0.8 * rng.normal(size=(20, 1))[flights] * np.array([1.0, 0, 0])
    scores = np.abs(rng.normal(size=len(flights))) * np.exp(0.7 * vectors[:, 0])
    results = script.refused(script.Birds(vectors, scores, flights), calibration=8, draws=2, alpha=0.1, seed=0)
    assert results.shape == (2 * script.COUNTED, 4)
    plain, weighted = results[:, 0], results[:, 1]
    assert plain.std() > 1.5 * weighted.std()
    assert abs(weighted.mean() - 0.1) < 0.04
    assert (results[:, 2] < 8 * 60).all()
    assert results[:, 3].mean() < 0.1  # it does not hold by refusing nothing
    lines = list(script.cells(results, 0.1))
    assert lines[0][:2] == ("plain", f"{100 * plain.mean():.1f} %")
    assert lines[1][1:4] == tuple(
        f"{100 * v:.1f} %" for v in (weighted.mean(), weighted.std(), (weighted > 0.2).mean())
    )
