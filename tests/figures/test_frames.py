"""Annotated pictures: one per frame, boxes where they belong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from dml_lightning import figures
from dml_lightning.figures import frames
from dml_lightning.figures.frames import REFUSED, SMALLEST_BOX, SMALLEST_SIDE, FramePictures
from dml_lightning.figures.palette import ON_FRAMES, rgb
from tests.data.pixels.writing import flir_jpeg


def frame(path: Path, width: int = 80, height: int = 60) -> str:
    """A frame of dim noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(28_000, 28_400, (height, width))
    tifffile.imwrite(path, pixels.astype(np.uint16))
    return str(path)


def row(path: str, decision: str = "known", x: float = 20, y: float = 30) -> dict[str, object]:
    box = {"x": x, "y": y, "width": 10.0, "height": 8.0}
    return {"frame": path, **box, "decision": decision, "label": "mallard"}


def draw(folder: Path, rows: list[dict[str, object]]) -> None:
    """Draws each frame with its boxes."""
    pictures = FramePictures(folder)
    for path, boxes in pd.DataFrame(rows).groupby("frame", sort=False):
        pictures.draw(str(path), boxes)


COLOURS = {"known": rgb(ON_FRAMES[0]), "unknown": REFUSED}  # of the first species


def test_the_package_has_the_functions_that_draw() -> None:
    assert [getattr(figures, name).__name__ for name in figures.__all__] == figures.__all__


def test_what_is_written_is_returned(tmp_path: Path) -> None:
    rows = [row(frame(tmp_path / "night" / "a.tiff"))]
    draw(tmp_path / "out", rows)
    returned = figures.draw_frame(tmp_path / "night" / "a.tiff", pd.DataFrame(rows))
    assert np.array_equal(np.asarray(returned), np.asarray(Image.open(tmp_path / "out" / "night_a.png")))


def is_colour(pixels: NDArray[np.uint8], decision: str) -> NDArray[np.bool_]:
    return np.asarray((pixels == COLOURS[decision]).all(axis=-1))


@pytest.mark.parametrize("decision", ["known", "unknown"])
def test_a_box_is_drawn_around_its_pixels_in_its_colour(tmp_path: Path, decision: str) -> None:
    path = frame(tmp_path / "night" / "a.tiff")
    draw(tmp_path / "out", [row(path, decision)])
    pixels = np.asarray(Image.open(tmp_path / "out" / "night_a.png"))
    scale = round(SMALLEST_SIDE / 60)
    assert pixels.shape[1] == scale * 80
    pixels = pixels[: scale * 60]  # the legend is below
    left, top, right, bottom = (scale * side for side in (20, 30, 30, 38))
    drawn = (pixels != np.asarray(frames._background(path, 10.0)[0])).any(axis=-1)
    coloured = is_colour(pixels, decision)
    assert coloured[top - 2, left : right + 1].all()
    assert coloured[bottom + 2, left : right + 1].all()
    assert coloured[top : bottom + 1, left - 2].all()
    assert coloured[top : bottom + 1, right + 2].all()
    assert not drawn[top + 1 : bottom, left + 1 : right].any()  # the bird itself stays to be seen
    others = drawn.copy()
    others[top - 30 : bottom + 30, left - 4 : left + 200] = False  # the box and its number
    assert not others.any()
    other = next(name for name in COLOURS if name != decision)
    assert not (is_colour(pixels, other) & drawn).any()


def test_small_birds_are_enlarged_and_large_frames_keep_their_size(tmp_path: Path) -> None:
    path = frame(tmp_path / "a" / "a.tiff", 700, 650)
    for name, side, scale in (("small", 10.0, round(SMALLEST_BOX / 10)), ("large", 30.0, 1)):
        draw(tmp_path / name, [{**row(path), "width": side}])
        with Image.open(tmp_path / name / "a_a.png") as picture:
            assert picture.width == 700 * scale
            assert 650 * scale < picture.height < 700 * scale


def test_of_long_frames_rows_and_columns_are_left_out_and_boxes_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dml_lightning.figures.frames.LARGEST_SIDE", 1000)
    path = frame(tmp_path / "a" / "a.tiff", 2000, 1600)
    draw(tmp_path, [{**row(path, x=1000, y=800), "width": 200.0, "height": 100.0}])
    pixels = np.asarray(Image.open(tmp_path / "a_a.png"))
    assert pixels.shape[1] == 1000
    coloured = is_colour(pixels, "known")
    assert coloured[400 - 2, 500 : 600 + 1].all()
    assert coloured[450 + 2, 500 : 600 + 1].all()


def test_frames_of_the_same_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    paths = [frame(tmp_path / side / "night" / "a.tiff") for side in ("left", "right")]
    draw(tmp_path / "out", [row(path) for path in paths])
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize(("x", "y"), [(0, 0), (70, 52), (0, 52), (70, 0)])
def test_numbers_at_the_edge_stay_in_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x: float, y: float
) -> None:
    monkeypatch.setattr(frames, "_with_legend", lambda picture, lines: picture)
    draw(tmp_path / "out", [row(frame(tmp_path / "n" / "a.tiff"), x=x, y=y)])
    coloured = is_colour(np.asarray(Image.open(tmp_path / "out" / "n_a.png")), "known")
    scale = round(SMALLEST_SIDE / 60)
    left, top, right, bottom = (round(scale * side) for side in (x, y, x + 10, y + 8))
    coloured[max(0, top - 4) : bottom + 5, max(0, left - 4) : right + 5] = False
    assert coloured.sum() > 20  # the number, beside the box


def test_numbers_of_a_flock_cover_neither_boxes_nor_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 boxes of 10 px, 25 px apart."""
    path, texts, least = frame(tmp_path / "n" / "a.tiff", 640, 512), list[str](), list[float]()
    covered = frames._covered

    def watched(places: NDArray[np.float64], taken: NDArray[np.float64]) -> NDArray[np.float64]:
        least.append(covered(places, taken).min())
        assert len(taken) == 300 + len(least) - 1  # all boxes, and the numbers before
        return covered(places, taken)

    monkeypatch.setattr(frames, "_covered", watched)
    monkeypatch.setattr(frames.ImageDraw.ImageDraw, "text", lambda draw, at, text, **how: texts.append(text))
    grid = [(20 + 25 * (n % 24), 20 + 25 * (n // 24)) for n in range(300)]
    draw(tmp_path / "out", [{**row(path, x=x, y=y), "label": f"species {n % 9}"} for n, (x, y) in enumerate(grid)])
    assert texts[:300] == [str(1 + n % 9) for n in range(300)]
    assert least == [0.0] * 300


def test_the_legend_has_every_species_of_the_frame_with_its_boxes_and_the_refused(tmp_path: Path) -> None:
    numbers = {"mallard": 1, "gadwall": 2, "tundra\nswan": 3}
    path = str(tmp_path / "a.tiff")
    boxes = pd.DataFrame(
        [row(path), row(path), row(path, "unknown"), {**row(path, "unknown"), "label": "tundra\nswan"}]
    )
    assert frames._legend(boxes, numbers) == [
        ("1 mallard: 2", rgb(ON_FRAMES[0])),
        ("3 tundra\\nswan: 0", rgb(ON_FRAMES[2])),
        ("white, with ? behind the guess: 2 refused", REFUSED),
    ]


def test_the_number_goes_where_it_covers_least() -> None:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 20, (9, 2)).astype(float)
    places, taken = (
        np.concatenate([part, part + rng.integers(1, 9, part.shape)], axis=1) for part in (starts[:4], starts[4:])
    )
    slow = [
        sum(max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1])) for b in taken)
        for a in places
    ]
    assert max(slow) > 0
    np.testing.assert_array_equal(frames._covered(places, taken), slow)


def test_no_number_hides_a_box(tmp_path: Path) -> None:
    """The boxes touch, so that a number of one lies at the other."""
    path = frame(tmp_path / "n" / "a.tiff")
    draw(tmp_path / "out", [row(path, "known", y=27), row(path, "unknown", x=19, y=37)])
    pixels = np.asarray(Image.open(tmp_path / "out" / "n_a.png"))
    scale = round(SMALLEST_SIDE / 60)
    line = pixels[scale * 27 : scale * 35, scale * 20 - 2]  # the left side of the upper box
    assert is_colour(line, "known").all()


def test_boxes_of_a_radiometric_jpeg_and_of_a_mosaic_fall_on_their_pixels(tmp_path: Path) -> None:
    """The picture has the size that boxes are drawn on, times the scale."""
    path = tmp_path / "flir.jpg"
    path.write_bytes(flir_jpeg(np.full((60, 80), 20000, np.uint16), np.zeros((120, 160, 3), np.uint8)))
    picture, scale = frames._background(str(path))
    assert scale == float(round(SMALLEST_SIDE / 120))
    assert picture.size == (800, 600)
    tifffile.imwrite(tmp_path / "mosaic.tif", np.zeros((300, 9000), np.float32))
    picture, scale = frames._background(str(tmp_path / "mosaic.tif"))
    assert scale == 1 / 3
    assert picture.size == (3000, 100)
