"""Lookalikes: plausible sizes, and warmth that is theirs and not a bird's."""

from itertools import combinations

import numpy as np
import pytest

from dml_lightning.simulate.flight import Flight
from dml_lightning.simulate.lookalikes import lookalike_parts
from dml_lightning.simulate.species import LOOKALIKES
from tests.simulate.drawn import cold, extent, flight, seen, warm


@pytest.mark.parametrize("name", LOOKALIKES[:-1])
def test_lookalikes_have_plausible_sizes_and_both_polarities_where_they_should(name: str) -> None:
    rng = np.random.default_rng(3)
    sizes, sums = [], []
    for number in range(30):
        own = flight(number)
        parts = lookalike_parts(name, own, rng)
        sizes.append(max(extent(parts, "x"), extent(parts, "y")))
        sums.append((np.prod(seen(parts, 0.02), axis=0)).sum())
    assert 0.05 < np.median(sizes) < 1.2
    assert max(sizes) < 3.0
    assert max(sums) > 0
    assert (min(sums) > 0) == (name == "person")  # who dresses warmly is warmer than the ground


def test_glint_is_hot_by_day_and_cold_without_sun() -> None:
    rng = np.random.default_rng(0)
    by_day = [part.kelvin for _ in range(20) for part in lookalike_parts("glint", flight(sun=1.0), rng)]
    at_night = [part.kelvin for _ in range(20) for part in lookalike_parts("glint", flight(sun=0.0), rng)]
    assert 0.4 * 6.0 <= min(by_day) <= max(by_day) <= 25.0
    assert -10.0 <= min(at_night) <= max(at_night) <= -0.4 * 3.0


@pytest.mark.parametrize("own", [cold(), warm()], ids=["cold", "warm"])
def test_what_has_no_body_heat_mostly_has_the_sign_of_plumage(own: Flight) -> None:
    """Three quarters of the logs and stones, so that polarity alone tells no bird from debris."""
    rng = np.random.default_rng(0)
    signs = [np.sign(lookalike_parts("debris", own, rng)[0].kelvin) for _ in range(400)]
    assert np.mean(np.array(signs) == np.sign(own.plumage)) == pytest.approx(0.75, abs=0.07)


def test_mammals_come_as_muskrat_raccoon_and_deer() -> None:
    """Body lengths of 0.30, 0.60 and 1.25 m within 10 % (one sd), the small ones most often; faces are warmest."""
    rng, own = np.random.default_rng(0), warm()
    drawn = [lookalike_parts("mammal", own, rng) for _ in range(300)]
    lengths = np.array([2 * parts[1].a for parts in drawn])
    nearest = np.abs(np.log(lengths[:, None] / [0.30, 0.60, 1.25])).argmin(1)
    np.testing.assert_allclose(np.bincount(nearest) / 300, [0.55, 0.25, 0.20], atol=0.09)
    for kind, length in enumerate((0.30, 0.60, 1.25)):
        assert np.mean(lengths[nearest == kind]) == pytest.approx(length, rel=0.05)
    assert all(parts[-1].kelvin == max(part.kelvin for part in parts) for parts in drawn)


def test_no_name_is_drawn_like_another() -> None:
    drawn = [lookalike_parts(name, warm(), np.random.default_rng(0)) for name in LOOKALIKES[:-1]]
    assert all(one != other for one, other in combinations(drawn, 2))
