"""The simulator against measured figures of thermal drone imagery, and its files against COCO."""

import hashlib
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dml_lightning.simulate import simulate, write
from dml_lightning.simulate.camera import OFFSET, expose, fixed_pattern, lag, paint, quantise
from dml_lightning.simulate.flight import Flight, draw_flight, ground_sample_distance
from dml_lightning.simulate.lookalikes import lookalike_parts
from dml_lightning.simulate.render import VISIBLE, _blend, _tight_box, render_frame
from dml_lightning.simulate.scene import Animal, draw_background, power_law
from dml_lightning.simulate.shapes import Part, bird_parts, reflection
from dml_lightning.simulate.species import CATEGORIES, KNOWN, LOOKALIKES, NOVEL, SPECIES

SMALL = {"width": 160, "height": 128, "birds": 6, "lookalikes": 2, "progress": False}
FINE = 0.01  # m per px, close enough to resolve a head


def flight(number: int = 0, seed: int = 0, **changes: object) -> Flight:
    return replace(draw_flight(number, seed, 60.0, 13.5, 640, 512), **changes)


def warm(**changes: object) -> Flight:
    """A warm night flight with contrasts as measured (gain 1, no sun)."""
    own = next(f for f in map(flight, range(12)) if not f.cold_birds)
    return replace(own, gain=1.0, sun=0.0, **changes)


def cold(**changes: object) -> Flight:
    own = next(f for f in map(flight, range(12)) if f.cold_birds)
    return replace(own, gain=1.0, **changes)


def individuals(name: str, posture: str, own: Flight, number: int = 40) -> list[list[Part]]:
    rng = np.random.default_rng(7)
    return [bird_parts(SPECIES[name], posture, own, rng) for _ in range(number)]


def seen(parts: list[Part], gsd: float, blur: float = 0.75, heading: float = 0.0):
    """Coverage and mean temperature of the covered share (h, w)."""
    _, _, coverage, kelvin, _ = paint(Animal("", "", 0.0, 0.0, heading, tuple(parts)), gsd, blur)
    return coverage, kelvin / np.maximum(coverage, 1e-6)


def extent(parts: list[Part], axis: str) -> float:
    """Outermost edge to outermost edge along x or y, m, from each tilted ellipse's bounds."""
    along = np.cos if axis == "x" else np.sin
    across = np.sin if axis == "x" else np.cos
    half = [np.hypot(p.a * along(p.angle), p.b * across(p.angle)) for p in parts]
    place = [getattr(p, axis) for p in parts]
    return max(np.add(place, half)) - min(np.subtract(place, half))


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lens", "expected"), [(13.5, (2.7, 5.3, 8.0, 10.7)), (9.1, (4.0, 7.9, 11.9, 15.8))])
def test_ground_sample_distance_is_the_published_one(lens, expected):
    got = [100 * ground_sample_distance(altitude, lens) for altitude in (30, 60, 90, 120)]
    np.testing.assert_allclose(got, expected, atol=0.051)  # cm, printed with one decimal


@pytest.mark.parametrize("bird", KNOWN + NOVEL, ids=lambda bird: bird.name)
def test_lengths_and_wingspans_stay_in_the_published_range(bird):
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
def test_size_in_pixels_at_60_m(name, length, width):
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


# --- warmth -----------------------------------------------------------------------------------


def test_mallards_on_water_are_as_warm_as_measured():
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


def test_polarity():
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


def test_snow_goose_back_is_colder_than_its_flanks_and_than_a_coot():
    """White, thick plumage insulates; by day its wing tips are the dark, warm part."""
    day = warm(leak=12.0)
    day = replace(day, sun=2.5)
    goose, coot = SPECIES["snow_goose"], SPECIES["american_coot"]
    back, flank = (day.apparent(goose.leak[i], goose.dark[i]) for i in (1, 0))
    assert back < flank < day.apparent(coot.leak[0], coot.dark[0])
    assert day.apparent(0.08, goose.dark[5]) > day.apparent(0.08, goose.dark[1])


def test_species_differ_and_contrast_follows_the_gain():
    one, half = warm(), warm()
    half = replace(half, gain=0.5)
    for bird in SPECIES.values():
        for leak, dark in zip(bird.leak, bird.dark, strict=True):
            assert half.apparent(leak, dark) == pytest.approx(0.5 * one.apparent(leak, dark))
    patterns = {(bird.leak, bird.width, bird.tail, bird.neck) for bird in SPECIES.values()}
    assert len(patterns) == len(SPECIES)


def test_reflection_is_weak_beside_the_bird_and_no_part_of_the_box():
    own = warm()
    parts = individuals("mallard", "swimming", own, 1)[0]
    both = Animal("mallard", "swimming", 20.0, 20.0, 0.0, (*reflection(parts, 0.0, own), *parts))
    left, top, coverage, kelvin, solid = paint(both, 0.0533, 0.75)
    alone = paint(replace(both, parts=tuple(parts)), 0.0533, 0.75)
    only = coverage - solid
    assert 0.05 < only.max() < 0.25
    assert kelvin.sum() > alone[3].sum()
    assert _tight_box(solid, left, top, own) == _tight_box(alone[4], *alone[:2], own)


# --- painting ---------------------------------------------------------------------------------


def test_painting_matches_a_slow_reference():
    """Two ellipses, the second over the first, by counting points of a fine grid; no blur."""
    parts = (Part(0.05, 0.0, 0.30, 0.12, 4.0, 0.4), Part(-0.1, 0.1, 0.15, 0.10, 9.0, -0.7, 0.5))
    animal, gsd = Animal("", "", 10.3, 9.6, 0.9, parts), 0.05
    left, top, coverage, kelvin, _ = paint(animal, gsd, 1e-3)
    steps = (np.arange(20) + 0.5) / 20
    expected = np.zeros((2, *coverage.shape))
    for row, column in np.ndindex(coverage.shape):
        x, y = np.meshgrid(left + column + steps - 10.3, top + row + steps - 9.6)
        forward = gsd * (x * np.cos(0.9) + y * np.sin(0.9))
        right = gsd * (y * np.cos(0.9) - x * np.sin(0.9))
        cover, warmth = np.zeros(x.shape), np.zeros(x.shape)
        for part in parts:
            u, v = forward - part.x, right - part.y
            c, s = np.cos(part.angle), np.sin(part.angle)
            inside = ((u * c + v * s) / part.a) ** 2 + ((v * c - u * s) / part.b) ** 2 <= 1
            alpha = part.opacity * inside
            cover, warmth = cover * (1 - alpha) + alpha, warmth * (1 - alpha) + alpha * part.kelvin
        expected[:, row, column] = cover.mean(), warmth.mean()
    np.testing.assert_allclose(coverage, expected[0], atol=0.05)
    np.testing.assert_allclose(kelvin, expected[1], atol=0.4)
    assert kelvin.sum() == pytest.approx(expected[1].sum(), rel=0.01)


@pytest.mark.parametrize("blur", [0.6, 0.9])
def test_a_point_is_blurred_by_optics_and_by_the_pixel(blur):
    part, spreads = Part(0.0, 0.0, 0.002, 0.002, 1.0), []
    for phase in np.arange(10.05, 11.0, 0.1):  # where on its pixel the point falls
        left, _, coverage, *_ = paint(Animal("", "", phase, 10.5, 0.0, (part,)), 0.05, blur)
        weight = coverage.sum(0) / coverage.sum()
        spreads.append((weight * (left + np.arange(len(weight)) + 0.5 - phase) ** 2).sum())
    expected = (blur / 2.3548) ** 2 + 1 / 12  # a Gaussian and a box of 1 px
    assert np.mean(spreads) == pytest.approx(expected, rel=0.08)


def test_box_is_tight_clipped_and_at_least_2_px():
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


def test_an_animal_hides_what_lies_below_it():
    surface = np.linspace(10, 12, 48, dtype=np.float32).reshape(6, 8)
    signal = np.zeros_like(surface)
    coverage = np.ones((3, 3), np.float32)
    _blend(signal, surface, 11.0, coverage, 5.0 * coverage, -1, 4)
    np.testing.assert_allclose((surface + signal)[4:, :2], 16.0, rtol=1e-6)
    assert np.count_nonzero(signal) == 4


@pytest.mark.parametrize("name", LOOKALIKES[:-1])
def test_lookalikes_have_plausible_sizes_and_both_polarities_where_they_should(name):
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


# --- camera -----------------------------------------------------------------------------------


def exposures(own: Flight, number: int = 8) -> np.ndarray:
    """Repeated frames of an even scene, degC (number, H, W), after quantisation."""
    rng, scene = np.random.default_rng(5), np.full((own.height, own.width), 8.5, np.float32)
    return np.stack([quantise(expose(scene, own, rng)) * 0.01 + OFFSET for _ in range(number)])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_noise_is_as_measured(number):
    """Temporal 21-50 mK, rows 4-7 mK, columns 6-11 mK, residual fixed pattern 59-104 mK."""
    own = flight(number, vignetting=0.0)
    frames = exposures(own)
    moving = frames - frames.mean(0)
    unbiased = np.sqrt(len(frames) / (len(frames) - 1))
    rows = moving.mean(2)
    grain = (moving - rows[:, :, None]).std() * unbiased
    assert 0.021 <= grain <= 0.051  # quantisation adds 2.9 mK in quadrature
    assert 0.004 - 5e-4 <= rows.std() * unbiased <= 0.007 + 5e-4
    still = frames.mean(0)
    assert 0.059 <= still.std() <= 0.106
    columns = np.diff(still.mean(0)).std() / np.sqrt(2)  # neighbours: without slow shading
    assert 0.006 - 1e-3 <= columns <= 0.011 + 2e-3


def test_corners_are_darker_than_the_centre():
    own = flight(vignetting=1.5)
    pattern = fixed_pattern(own)
    corners = [pattern[:32, :32], pattern[:32, -32:], pattern[-32:, :32], pattern[-32:, -32:]]
    drop = pattern[240:272, 304:336].mean() - np.mean([corner.mean() for corner in corners])
    assert drop == pytest.approx(1.5, abs=0.3)


@pytest.mark.parametrize("down", [True, False])
def test_tail_is_faint_and_10_to_30_px_long(down):
    own = flight(tail_down=down)
    signal = np.zeros((512, 640), np.float32)
    signal[250:255, 300] = 2.0
    tail = lag(signal, own)[:, 300]
    behind = tail[254:] if down else tail[250::-1]
    ahead = tail[:250] if down else tail[255:]
    assert 10 <= own.tail <= 30
    assert 0.01 * 2.0 < behind[0] <= own.tail_share * 2.0 < 0.1 * 2.0
    assert behind[round(own.tail)] / behind[0] == pytest.approx(np.exp(-2), rel=0.1)
    assert not ahead.any()


def test_quantisation_is_centikelvin_and_saturates():
    celsius = np.array([[-273.15, 0.0, 8.504, 1000.0, -300.0]], np.float32)
    assert quantise(celsius).tolist() == [[0, 27315, 28165, 65535, 0]]


# --- scenes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [1.8, 3.2])
def test_textures_follow_their_power_law(slope):
    field = power_law(256, 256, slope, np.random.default_rng(0))
    assert field.std() == pytest.approx(1.0, abs=1e-3)
    assert abs(field.mean()) < 1e-3
    power = np.abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    rings = [(f, f * 1.3) for f in np.geomspace(0.02, 0.35, 10)]
    means = [power[(frequency >= low) & (frequency < high)].mean() for low, high in rings]
    fitted = np.polyfit(np.log([low for low, _ in rings]), np.log(means), 1)[0]
    assert fitted == pytest.approx(-slope, abs=0.2)


def test_water_varies_as_measured():
    """Sd 0.41 K on a pond at texture 1."""
    own = flight(habitat="water", texture=1.0, land_offset=0.0)
    spread = []
    for number in range(6):
        surface, water = draw_background(own, np.random.default_rng(number))
        spread.append(surface[water].std())
        assert surface.mean() == pytest.approx(own.water, abs=0.5)
    assert np.mean(spread) == pytest.approx(0.41, abs=0.12)


def test_flights_differ_and_take_turns():
    flights = [flight(number, seed=4) for number in range(12)]
    assert Counter(own.cold_birds for own in flights) == {True: 6, False: 6}
    assert Counter(own.habitat for own in flights) == dict.fromkeys(("water", "marsh", "field"), 4)
    for name in ("water", "gain", "altitude", "blur", "fixed_pattern", "vignetting"):
        assert len({getattr(own, name) for own in flights}) == 12
    assert all(abs(own.altitude / 60 - 1) <= 0.07 for own in flights)
    assert all(0.6 <= own.blur <= 0.9 for own in flights)
    assert all(2.6 <= own.water <= 18.5 for own in flights)


def test_a_scene_shows_its_birds_in_the_right_polarity():
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


def test_every_class_turns_up_in_every_flight():
    for number in range(2):
        own = flight(number)
        found = Counter(note.name for f in range(7) for note in render_frame(own, f, 20, 4)[1])
        assert set(found) == {name for name, _ in CATEGORIES}
        assert 12 * 7 <= sum(found[name] for name in SPECIES) <= 25 * 7


def test_an_empty_scene_has_no_notes():
    counts, notes = render_frame(flight(), 0, 0, 0)
    assert notes == []
    assert counts.shape == (512, 640)


# --- files ------------------------------------------------------------------------------------


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_whatever_the_workers(tmp_path):
    one = simulate(tmp_path / "one", flights=2, frames=3, seed=5, workers=1, **SMALL)
    two = simulate(tmp_path / "two", flights=2, frames=3, seed=5, workers=2, **SMALL)
    assert digests(one) == digests(two)
    assert len(digests(one)) == 2 * 3 + 2
    other = simulate(tmp_path / "other", flights=2, frames=3, seed=6, workers=1, **SMALL)
    assert digests(other)["flight_00/frame_0000.tiff"] != digests(one)["flight_00/frame_0000.tiff"]
    more = simulate(tmp_path / "more", flights=3, frames=2, seed=5, workers=1, **SMALL)
    assert digests(more)["flight_01/frame_0001.tiff"] == digests(one)["flight_01/frame_0001.tiff"]


def test_coco_is_valid_and_frames_carry_their_scale(tmp_path):
    root = simulate(tmp_path / "deep" / "out", flights=2, frames=2, workers=1, **SMALL)
    coco = json.loads((root / "annotations.json").read_text())
    images = {image["id"]: image for image in coco["images"]}
    categories = {category["id"]: category for category in coco["categories"]}
    assert len(images) == len(coco["images"]) == 4
    assert {(c["name"], c["supercategory"]) for c in categories.values()} == set(CATEGORIES)
    assert Counter(c["supercategory"] for c in categories.values()) == {
        "known species": 9,
        "novel species": 4,
        "lookalike": 6,
    }
    assert len({note["id"] for note in coco["annotations"]}) == len(coco["annotations"]) > 10
    for note in coco["annotations"]:
        x, y, width, height = note["bbox"]
        image = images[note["image_id"]]
        assert note["category_id"] in categories
        assert min(width, height) >= 2
        assert min(x, y) >= 0
        assert x + width <= image["width"]
        assert y + height <= image["height"]
        assert note["area"] == width * height
    conditions = json.loads((root / "simulation.json").read_text())
    assert conditions["seed"] == 0
    assert len(conditions["conditions"]) == 2
    for image in images.values():
        with tifffile.TiffFile(root / image["file_name"]) as file:
            pixels = file.asarray()
            assert file.pages[0].description == "degC = 0.01 * counts - 273.15"
        assert pixels.dtype == np.uint16
        assert pixels.shape == (image["height"], image["width"]) == (128, 160)
        water = conditions["conditions"][int(image["file_name"][7:9])]["water"]
        assert np.median(pixels * 0.01 - 273.15) == pytest.approx(water, abs=4.0)


def test_an_empty_folder_is_filled_and_one_worker_per_core_is_the_default(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    settings = {**SMALL, "progress": True}
    root = simulate(tmp_path / "out", flights=1, frames=1, **settings)
    assert root == tmp_path / "out"
    assert "Simulating frames" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert os.access(root, os.R_OK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flights": 0}, "flights is 0; it must be at least 1"),
        ({"frames": 0}, "frames is 0; it must be at least 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"altitude": 0.0}, "altitude is 0.0; it must be a positive number"),
        ({"altitude": float("nan")}, "altitude is nan"),
        ({"lens_mm": -1.0}, "lens_mm is -1.0"),
        ({"width": 63}, "width is 63; it must be at least 64"),
        ({"height": 8}, "height is 8"),
        ({"birds": -1}, "birds is -1"),
        ({"lookalikes": -1}, "lookalikes is -1"),
        ({"workers": 0}, "workers is 0; it must be at least 1"),
    ],
)
def test_out_of_range_is_refused_in_one_sentence(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / "out", **{**SMALL, **change})
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="already holds something"):
        simulate(tmp_path, **SMALL)
    with pytest.raises(ValueError, match="already holds something"):
        simulate(tmp_path / "mine.txt", **SMALL)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(write, "render_frame", fail)
    with pytest.raises(OSError, match="disk full"):
        simulate(tmp_path / "out", flights=1, frames=1, workers=1, **SMALL)
    assert not list(tmp_path.iterdir())
