"""Corrected counts hold what their intervals promise, in a short form of the benchmark."""

from itertools import product

import numpy as np
import pytest

from tests.benchmarks.conftest import benchmark

SHORT = {(0.65, 20, "skewed"), (0.9, 500, "single"), (0.65, 500, "even")}
CELLS = [
    pytest.param(*cell, marks=[] if cell in SHORT else pytest.mark.long)
    for cell in product((0.65, 0.9), (20, 500), ("even", "skewed", "single"))
]


@pytest.mark.parametrize(("accuracy", "boxes", "mixture"), CELLS)
def test_the_commonest_species_is_held(accuracy: float, boxes: int, mixture: str) -> None:
    """Of 600 intervals 95 % hold; 0.92 is more than three standard errors below."""
    script = benchmark("count_coverage")
    setting = script.Setting(accuracy, 0.1, 10, mixture, boxes)
    found = script.coverage(setting, worlds=60)
    assert found.commonest >= 0.92
    assert found.every >= 0.92
    assert found.summed >= 0.85  # 60 sums, whose ten classes are not independent


def test_worlds_are_what_they_are_said_to_be() -> None:
    script = benchmark("count_coverage")
    worlds = [script.world(script.Setting(0.65, 0.05, 5, "single", 100), seed) for seed in range(30)]
    assert all((world.truth.max(axis=1) == 100).all() for world in worlds)
    assert all((world.answers.sum(axis=1) == 100).all() for world in worlds)
    right = np.sum([world.held_out for world in worlds], axis=(0, 1))
    assert np.diag(right).sum() / right.sum() == pytest.approx(0.65, abs=0.02)
