"""Intervals over units hold what they promise, in a short form of the benchmark."""

import pytest

from tests.benchmarks.conftest import benchmark


@pytest.mark.parametrize("kind", ["difference over seeds, normal", "difference over flights, normal"])
@pytest.mark.parametrize("units", [5, 10])
def test_the_mean_difference_is_held(kind: str, units: int) -> None:
    """Of 400 intervals; 0.87 is three standard errors below the 0.915 that five flights keep."""
    script = benchmark("interval_coverage")
    assert script.coverage(script.KINDS[kind], units, worlds=400) >= 0.87


def test_the_auroc_is_held() -> None:
    script = benchmark("interval_coverage")
    assert script.coverage(script.auroc_held, 10, worlds=150) >= 0.88
