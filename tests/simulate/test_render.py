"""Whole frames: their boxes, what animals hide, and which classes they show."""

from collections import Counter

import numpy as np

from dml_lightning.simulate.flight import OFFSET
from dml_lightning.simulate.render import _blend, _tight_box, render_frame
from dml_lightning.simulate.species import CATEGORIES, SPECIES
from tests.simulate.drawn import flight


def test_box_is_tight_clipped_and_at_least_2_px() -> None:
    own = flight()
    solid = np.zeros((9, 9), np.float32)
    solid[3:6, 2:8], solid[2, 4] = 0.9, 0.2
    assert _tight_box(solid, 10, 20, own) == (12, 23, 6, 3)
    assert _tight_box(solid, -4, -4, own) == (0, 0, 4, 2)
    assert _tight_box(solid, 636, 508, own) == (638, 510, 2, 2)
    assert _tight_box(solid, -20, 0, own) is None
    speck = np.zeros((9, 9), np.float32)
    speck[4, 4] = 0.1
    assert _tight_box(speck, 635, 507, own) == (638, 510, 2, 2)


def test_an_animal_hides_what_lies_below_it() -> None:
    surface = np.linspace(10, 12, 48, dtype=np.float32).reshape(6, 8)
    signal = np.zeros_like(surface)
    coverage = np.ones((3, 3), np.float32)
    _blend(signal, surface, 11.0, coverage, 5.0 * coverage, -1, 4)
    np.testing.assert_allclose((surface + signal)[4:, :2], 16.0, rtol=1e-6)
    assert np.count_nonzero(signal) == 4


def test_a_scene_shows_its_birds_in_the_right_polarity() -> None:
    """On whole frames: the strongest pixels of swimming birds against the ring around the box."""
    for number in range(2):
        own = flight(number, habitat="water", gain=1.0, texture=0.3, vignetting=0.0)
        counts, notes = render_frame(own, 0, 20, 0)
        celsius = counts * 0.01 + OFFSET
        contrast = []
        for note in notes:
            x, y, width, height = note.box
            ring = celsius[max(y - 4, 0) : y + height + 4, max(x - 4, 0) : x + width + 4]
            contrast.append(celsius[y : y + height, x : x + width].mean() - np.median(ring))
        assert len(notes) >= 12
        assert np.mean(np.array(contrast) < 0) > 0.8 if own.cold_birds else np.mean(contrast) > 1


def test_every_class_turns_up_in_every_flight() -> None:
    for number in range(2):
        own = flight(number)
        counts = Counter(note.name for f in range(7) for note in render_frame(own, f, 20, 4)[1])
        assert set(counts) == {name for name, _ in CATEGORIES}
        assert 12 * 7 <= sum(counts[name] for name in SPECIES) <= 25 * 7


def test_an_empty_scene_has_no_notes() -> None:
    counts, notes = render_frame(flight(), 0, 0, 0)
    assert notes == []
    assert counts.shape == (512, 640)


def test_dead_pixels_stay_where_they_are_and_come_in_half_of_the_frames() -> None:
    """Two defects of the detector per flight, sharp against a scene without birds, and none without lookalikes."""
    own = flight(width=96, height=80, texture=0.0, land_offset=0.0, vignetting=0.0)
    boxes: list[tuple[int, int, int, int]] = []
    for frame in range(24):
        counts, notes = render_frame(own, frame, 0, 1)
        for note in (note for note in notes if note.name == "dead_pixel"):
            boxes.append(note.box)
            x, y, width, height = note.box
            error = counts[y : y + height, x : x + width] - np.median(counts)
            assert np.abs(error).max() > 200  # counts of 10 mK; errors are 3 K or more
        assert "dead_pixel" not in {note.name for note in render_frame(own, frame, 4, 0)[1]}
    assert len(set(boxes)) == 2
    assert 12 <= len(boxes) <= 36
