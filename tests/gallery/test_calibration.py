"""Calibration crops of a gallery: what counts of them, and what comes back from their arrays."""

from dataclasses import replace

import numpy as np
import pytest

from dml_lightning.gallery.calibration import Calibration
from dml_lightning.openset.conformal import one_per_group


@pytest.fixture
def crops() -> Calibration:
    """Forty crops of four flights, and their distances to three classes."""
    rng = np.random.default_rng(0)
    distances, logits = rng.uniform(size=(40, 3)), rng.normal(size=(40, 3)).astype(np.float32)
    return Calibration(distances, rng.integers(0, 3, 40), np.repeat([0, 1, 2, 3], 10), logits)


def test_a_score_is_the_distance_to_the_nearest_class(crops: Calibration) -> None:
    assert crops.scores.tolist() == [min(row) for row in crops.distances.tolist()]


def test_all_crops_count_or_one_of_each_flight(crops: Calibration) -> None:
    assert crops.rows(0.2).tolist() == list(range(40))
    assert replace(crops, per_flight=True).rows(0.19).tolist() == list(range(40))  # needs five flights
    single = replace(crops, per_flight=True).rows(0.2)
    assert crops.flights[single].tolist() == [0, 1, 2, 3]
    assert single.tolist() == one_per_group(crops.flights).tolist()  # the same draw whenever it is asked for


@pytest.mark.parametrize("per_flight", [True, False])
@pytest.mark.parametrize("classifies", [True, False])
def test_its_arrays_are_the_crops(crops: Calibration, per_flight: bool, classifies: bool) -> None:
    before = replace(crops, per_flight=per_flight, logits=crops.logits if classifies else None)
    after = Calibration.from_state(before.state())
    assert after.per_flight is per_flight
    assert (after.logits is None) == (not classifies)
    assert after.state().keys() == before.state().keys()
    assert all(np.array_equal(after.state()[name], array) for name, array in before.state().items())
