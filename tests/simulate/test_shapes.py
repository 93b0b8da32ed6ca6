"""Birds against published sizes, and against temperatures measured from above."""

from dataclasses import replace

import numpy as np
import pytest

from dml_lightning.simulate.camera import paint
from dml_lightning.simulate.flight import ground_sample_distance
from dml_lightning.simulate.render import VISIBLE, _tight_box
from dml_lightning.simulate.scene import Animal
from dml_lightning.simulate.shapes import Part, centred, reflection
from dml_lightning.simulate.species import KNOWN, NOVEL, Species
from tests.simulate.drawn import FINE, cold, extent, individuals, seen, warm


@pytest.mark.parametrize("bird", KNOWN + NOVEL, ids=lambda bird: bird.name)
def test_lengths_and_wingspans_stay_in_the_published_range(bird: Species) -> None:
    low, high = bird.length
    for parts in individuals(bird.name, "flying", warm()):
        assert 0.93 * low <= extent(parts, "x") <= 1.04 * high  # a turned head shortens a bird
        assert 0.5 * bird.span[0] <= extent(parts, "y") <= 1.1 * bird.span[1]  # the stroke too
    swimming = np.mean([extent(p, "x") for p in individuals(bird.name, "swimming", warm())])
    flying = np.mean([extent(p, "x") for p in individuals(bird.name, "flying", warm())])
    assert swimming / flying == pytest.approx(2 / 3, abs=0.06)


@pytest.mark.parametrize(
    ("name", "length", "width"), [("mallard", 57.5, 12.3), ("green_winged_teal", 35, 8.7), ("canada_goose", 93, 22)]
)
def test_size_in_pixels_at_60_m(name: str, length: float, width: float) -> None:
    """A mallard is about 11 by 2.3 px, a teal 6.6 px and a Canada goose 17 px long."""
    gsd = ground_sample_distance(60.0, 13.5)
    flying, swimming, widths = [], [], []
    for parts in individuals(name, "flying", warm()):
        trunk = [part for part in parts if abs(part.angle) < 0.9]  # without the wings
        flying.append((seen(trunk, gsd)[0] > VISIBLE).any(0).sum())
    for parts in individuals(name, "swimming", warm()):
        coverage, _ = seen(parts, gsd)
        swimming.append((coverage > VISIBLE).any(0).sum())
        widths.append(coverage.sum(0).max())
    assert np.mean(flying) == pytest.approx(length / 100 / gsd, abs=1.2)
    assert np.mean(swimming) == pytest.approx(2 / 3 * length / 100 / gsd, abs=1.2)
    assert np.mean(widths) == pytest.approx(width / 100 / gsd, rel=0.15)


def test_mallards_on_water_are_as_warm_as_measured() -> None:
    """Body median +4.3 to +5.4 K over water, hottest pixel +10 to +15 K (side view, resolved)."""
    awake = [p for p in individuals("mallard", "swimming", warm()) if p[-1].x > p[0].x + 0.2]
    bodies, heads = [], []
    for parts in awake:
        coverage, kelvin = seen(parts, FINE)
        bodies.append(np.median(kelvin[coverage > 0.9]))
        heads.append(kelvin[coverage > 0.9].max())
    assert len(awake) > 25
    assert 4.3 <= np.mean(bodies) <= 5.4
    assert 10.0 <= np.mean(heads) <= 15.0


def test_polarity() -> None:
    """Under a cold sky nearly all birds are darker than water, many with one bright spot, the head."""
    darker, bright, warmer = [], [], []
    for bird in KNOWN + NOVEL:
        for parts in individuals(bird.name, "swimming", cold(), 12):
            coverage, kelvin = seen(parts, 2 * FINE)
            darker.append((coverage * kelvin).sum() < 0)
            bright.append(kelvin[coverage > 0.9].max() > 1)
        warmer += [
            (np.prod(seen(parts, 2 * FINE), axis=0)).sum() > 0
            for parts in individuals(bird.name, "swimming", warm(), 6)
        ]
    assert np.mean(darker) > 0.9
    assert np.mean(bright) > 0.5
    assert np.mean(warmer) == 1.0


def test_reflection_is_weak_beside_the_bird_and_no_part_of_the_box() -> None:
    own = warm()
    parts = individuals("mallard", "swimming", own, 1)[0]
    both = Animal("mallard", "swimming", 20.0, 20.0, 0.0, (*reflection(parts, 0.0, own), *parts))
    left, top, coverage, kelvin, solid = paint(both, 0.0533, 0.75)
    alone = paint(replace(both, parts=tuple(parts)), 0.0533, 0.75)
    only = coverage - solid
    assert 0.05 < only.max() < 0.25
    assert kelvin.sum() > alone[3].sum()
    assert _tight_box(solid, left, top, own) == _tight_box(alone[4], *alone[:2], own)


def test_a_reflection_is_shifted_along_the_light_whatever_the_heading() -> None:
    """One copy of the largest part, 1.5 half widths away."""
    parts = [Part(0.0, 0.0, 0.2, 0.1, 5.0), Part(0.3, 0.0, 0.05, 0.04, 12.0)]
    for light, heading in [(0.0, 0.0), (1.2, 0.5), (4.0, 5.5)]:
        (copy,) = reflection(parts, heading, warm(light=light))
        along = np.arctan2(copy.y, copy.x) + heading  # in the frame
        assert np.hypot(copy.x, copy.y) == pytest.approx(0.15)
        assert np.cos(along - light) == pytest.approx(1.0)
        assert (copy.a, copy.b, copy.solid) == (0.2, 0.1, False)


def test_centring_moves_the_extent_onto_0_and_nothing_else() -> None:
    parts = [Part(1.0, 0.3, 0.5, 0.2, 4.0), Part(3.0, -0.1, 1.0, 0.2, 5.0)]
    assert [part.x for part in centred(parts)] == [-1.25, 0.75]
    assert [replace(part, x=0.0) for part in centred(parts)] == [replace(part, x=0.0) for part in parts]


def test_only_standing_birds_show_bare_legs() -> None:
    standing, swimming = (individuals("sandhill_crane", posture, warm(), 20) for posture in ("standing", "swimming"))
    legs = [[part for part in parts if (part.a, part.b) == (0.018, 0.010)] for parts in standing]
    assert {len(pair) for pair in legs} == {2}
    assert all(left.y == -right.y != 0 for left, right in legs)
    assert not [part for parts in swimming for part in parts if (part.a, part.b) == (0.018, 0.010)]
