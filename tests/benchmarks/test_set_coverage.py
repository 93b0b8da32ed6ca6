"""The benchmark of sets of species, on made-up birds."""

import numpy as np
import pytest

from dml_lightning.flights.taxonomy import Taxonomy
from dml_lightning.openset.judge import gaps
from tests.benchmarks.conftest import benchmark

NAMES = ["coot", "gadwall", "mallard", "teal"]
TAXONOMY = Taxonomy(
    ("genus", "group"),
    {
        "coot": ("Fulica", "rail"),
        "gadwall": ("Mareca", "dabbling duck"),
        "mallard": ("Anas", "dabbling duck"),
        "teal": ("Anas", "dabbling duck"),
    },
)


@pytest.mark.parametrize("per_flight", [True, False])
def test_every_level_holds_at_least_what_was_promised(per_flight: bool) -> None:
    """36 flights whose birds share an offset; a third of them is counted. The nodes above hold the more the wider."""
    rng, script = np.random.default_rng(3), benchmark("set_coverage")
    labels, flights = rng.integers(0, 4, 36 * 30), np.repeat(np.arange(36), 30)
    vectors = 2 * np.eye(4)[labels] + rng.normal(size=(len(labels), 4)) + 0.3 * rng.normal(size=(36, 4))[flights]
    distances = np.linalg.norm(vectors[:, None] - 2 * np.eye(4), axis=2)
    birds = script.Birds(gaps(distances), distances.min(axis=1), labels, flights)
    cells = script.measure(birds, NAMES, TAXONOMY, draws=40, alpha=0.1, seed=0, per_flight=per_flight)
    held = {level: float(values[0].removesuffix(" %")) for level, values in cells.items()}
    assert held["species"] >= 90 - 1.5
    assert held["species"] <= held["genus"] <= held["group"]
    assert held["group"] > held["species"]
    assert held["with rule C"] >= 80 - 1.5
    assert held["hardest species"] >= 90 - 4
    sizes = [float(cells[level][1]) for level in ("species", "genus", "group")]
    assert sizes == sorted(sizes, reverse=True)
