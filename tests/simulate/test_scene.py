"""Backgrounds against measured spectra and spread, and animals where they belong."""

from collections import Counter

import numpy as np
import pytest

from dml_lightning.simulate.scene import WATER_SHARE, Animal, draw_animals, draw_background, power_law
from dml_lightning.simulate.species import SPECIES
from tests.simulate.drawn import flight


@pytest.mark.parametrize("slope", [1.8, 3.2])
def test_textures_follow_their_power_law(slope: float) -> None:
    field = power_law(256, 256, slope, np.random.default_rng(0))
    assert field.std() == pytest.approx(1.0, abs=1e-3)
    assert abs(field.mean()) < 1e-3
    power = np.abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    rings = [(f, f * 1.3) for f in np.geomspace(0.02, 0.35, 10)]
    means = [power[(frequency >= low) & (frequency < high)].mean() for low, high in rings]
    fitted = np.polyfit(np.log([low for low, _ in rings]), np.log(means), 1)[0]
    assert fitted == pytest.approx(-slope, abs=0.2)


def test_water_varies_as_measured() -> None:
    """Sd 0.41 K on a pond at texture 1."""
    own = flight(habitat="water", texture=1.0, land_offset=0.0)
    spread = []
    for number in range(6):
        surface, water = draw_background(own, np.random.default_rng(number))
        spread.append(surface[water].std())
        assert surface.mean() == pytest.approx(own.water, abs=0.5)
    assert np.mean(spread) == pytest.approx(0.41, abs=0.12)


def crowd(water: bool | None, birds: int = 20, lookalikes: int = 5, frames: int = 6) -> list[list[Animal]]:
    """Animals of some frames on water, on land, or (None) on a left half of water."""
    own = flight()
    wet = np.full((512, 640), bool(water))
    if water is None:
        wet[:, :320] = True
    return [draw_animals(own, n, birds, lookalikes, wet, np.random.default_rng(n)) for n in range(frames)]


def test_animals_keep_apart_and_stay_in_the_frame() -> None:
    for animals in crowd(None):
        places = np.array([(animal.x, animal.y) for animal in animals])
        gaps = np.linalg.norm(places[:, None] - places, axis=2)[np.triu_indices(len(places), 1)]
        smallest = min(bird.length[1] for bird in SPECIES.values()) / flight().gsd
        assert gaps.min() > 0.5 * smallest
        assert (places >= 1).all()
        assert (places < (639, 511)).all()


def test_birds_swim_on_water_and_stand_on_land() -> None:
    on_water, on_land = (Counter((a.name, a.posture) for each in crowd(wet) for a in each) for wet in (True, False))
    assert {posture for name, posture in on_land if name in SPECIES} <= {"standing", "flying"}
    swimmers = {name for name, posture in on_water if posture == "swimming"}
    assert len(swimmers) > 8
    assert "sandhill_crane" not in swimmers
    assert {posture for name, posture in on_water if name == "sandhill_crane"} <= {"standing", "flying"}
    assert {posture for name, posture in on_land if name not in SPECIES} == {"none"}


def test_only_swimming_birds_are_reflected() -> None:
    animals = [animal for wet in (True, False) for each in crowd(wet) for animal in each]
    for animal in animals:
        mirrored = [part for part in animal.parts if not part.solid]
        assert len(mirrored) == (animal.posture == "swimming")


def test_glint_is_on_water_and_people_on_land() -> None:
    """Within 20 tries each on a frame that is half water, which fail together once in a million."""
    left: dict[str, list[bool]] = {"glint": [], "person": []}
    for animal in (animal for each in crowd(None, birds=0) for animal in each):
        if animal.name in left:
            left[animal.name].append(animal.x < 320)
    assert left == {"glint": [True] * 6, "person": [False] * 6}


def test_numbers_of_birds_and_lookalikes_are_those_asked_for() -> None:
    for animals in crowd(True, birds=8, lookalikes=3):
        birds = sum(animal.name in SPECIES for animal in animals)
        assert 4 <= birds <= 10  # 6 to 10 are drawn; few find no free place
        assert len(animals) - birds == 3
    assert crowd(True, birds=0, lookalikes=0) == [[]] * 6


@pytest.mark.parametrize("habitat", ["water", "marsh", "field"])
def test_a_habitat_has_its_share_of_water(habitat: str) -> None:
    """The flight's own habitat in most frames, another in the others."""
    own, rng = flight(habitat=habitat, width=160, height=128), np.random.default_rng(0)
    shares = np.array([draw_background(own, rng)[1].mean() for _ in range(100)])
    near = np.abs(shares[:, None] - list(WATER_SHARE.values())).argmin(1)
    assert np.mean(near == list(WATER_SHARE).index(habitat)) == pytest.approx(0.6, abs=0.2)
    assert np.abs(shares - np.array(list(WATER_SHARE.values()))[near]).max() < 0.05
