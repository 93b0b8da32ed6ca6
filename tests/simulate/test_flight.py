"""Conditions of flights: scale on the ground, contrast, and how flights differ."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from dml_lightning.simulate.flight import draw_flight, ground_sample_distance
from dml_lightning.simulate.species import SPECIES
from tests.simulate.drawn import flight, warm


@pytest.mark.parametrize(("lens", "expected"), [(13.5, (2.7, 5.3, 8.0, 10.7)), (9.1, (4.0, 7.9, 11.9, 15.8))])
def test_ground_sample_distance_is_the_published_one(lens: float, expected: tuple[float, ...]) -> None:
    distances = [100 * ground_sample_distance(altitude, lens) for altitude in (30, 60, 90, 120)]
    np.testing.assert_allclose(distances, expected, atol=0.051)  # cm, printed with one decimal


def test_every_contrast_follows_the_gain() -> None:
    one = warm()
    half = replace(one, gain=0.5)
    for bird in SPECIES.values():
        for leak, dark in zip(bird.leak, bird.dark, strict=True):
            assert half.apparent(leak, dark) == pytest.approx(0.5 * one.apparent(leak, dark))


def test_flights_differ_and_take_turns() -> None:
    flights = [flight(number, seed=4) for number in range(12)]
    assert Counter(own.cold_birds for own in flights) == {True: 6, False: 6}
    assert Counter(own.habitat for own in flights) == dict.fromkeys(("water", "marsh", "field"), 4)
    for name in ("water", "gain", "altitude", "blur", "fixed_pattern", "vignetting"):
        assert len({getattr(own, name) for own in flights}) == 12
    assert all(abs(own.altitude / 60 - 1) <= 0.07 for own in flights)
    assert all(0.6 <= own.blur <= 0.9 for own in flights)
    assert all(2.6 <= own.water <= 18.5 for own in flights)


def test_apparent_temperature_adds_plumage_bare_skin_and_sunlight() -> None:
    own = flight(gain=0.5, plumage=-4.0, leak=12.0, sun=2.0)
    assert own.apparent(0.0, 0.5) == pytest.approx(-2.0)  # perfect insulation of middling plumage
    assert own.apparent(1.0, 0.5) == pytest.approx(4.0)  # bare skin
    assert own.apparent(0.25, 1.0) == pytest.approx(0.0)
    assert own.apparent(0.0, 1.0) - own.apparent(0.0, 0.0) == pytest.approx(1.0)  # black minus white


def test_a_flight_depends_on_its_own_number_and_seed_alone() -> None:
    assert flight(3, seed=2) == flight(3, seed=2)
    assert flight(3, seed=2) != flight(3, seed=1)
    low, high = (draw_flight(3, 2, altitude, 13.5, 640, 512) for altitude in (30.0, 60.0))
    assert low.gsd == pytest.approx(high.gsd / 2)
    assert replace(low, gsd=high.gsd, altitude=high.altitude) == high


def test_cold_plumage_without_sun_is_below_the_surface_and_warm_plumage_above() -> None:
    for own in (flight(number, seed) for seed in range(4) for number in range(12)):
        assert (own.plumage < 0) == own.cold_birds
        assert not (own.cold_birds and own.sun)
        assert own.apparent(1.0, 0.5) > 0  # bare skin is warm under any sky
