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
from dml_lightning.figures.frames import DECISION_COLOURS, SMALLEST_SIDE, FramePictures
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


def test_the_package_has_the_functions_that_draw() -> None:
    assert [getattr(figures, name).__name__ for name in figures.__all__] == figures.__all__


def test_what_is_written_is_returned(tmp_path: Path) -> None:
    rows = [row(frame(tmp_path / "night" / "a.tiff"))]
    draw(tmp_path / "out", rows)
    returned = figures.draw_frame(tmp_path / "night" / "a.tiff", pd.DataFrame(rows))
    assert np.array_equal(np.asarray(returned), np.asarray(Image.open(tmp_path / "out" / "night_a.png")))


def is_colour(pixels: NDArray[np.uint8], decision: str) -> NDArray[np.bool_]:
    return np.asarray((pixels == DECISION_COLOURS[decision]).all(axis=-1))


@pytest.mark.parametrize("decision", ["known", "unknown"])
def test_a_box_is_drawn_around_its_pixels_in_its_colour(tmp_path: Path, decision: str) -> None:
    draw(tmp_path / "out", [row(frame(tmp_path / "night" / "a.tiff"), decision)])
    pixels = np.asarray(Image.open(tmp_path / "out" / "night_a.png"))
    scale = round(SMALLEST_SIDE / 60)
    assert pixels.shape == (scale * 60, scale * 80, 3)
    left, top, right, bottom = (scale * side for side in (20, 30, 30, 38))
    coloured = is_colour(pixels, decision)
    assert coloured[top - 2, left : right + 1].all()
    assert coloured[bottom + 2, left : right + 1].all()
    assert coloured[top : bottom + 1, left - 2].all()
    assert coloured[top : bottom + 1, right + 2].all()
    assert not coloured[top + 1 : bottom, left + 1 : right].any()  # the bird itself stays to be seen
    others = coloured.copy()
    others[top - 30 : bottom + 30, left - 3 : left + 200] = False  # the box and its name
    assert not others.any()
    other = next(name for name in DECISION_COLOURS if name != decision)
    assert not is_colour(pixels, other).any()


def test_large_frames_keep_their_size(tmp_path: Path) -> None:
    path = frame(tmp_path / "a" / "a.tiff", 700, 650)
    draw(tmp_path, [row(path)])
    with Image.open(tmp_path / "a_a.png") as picture:
        assert picture.size == (700, 650)


def test_of_long_frames_rows_and_columns_are_left_out_and_boxes_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dml_lightning.figures.frames.LARGEST_SIDE", 1000)
    path = frame(tmp_path / "a" / "a.tiff", 2000, 1600)
    draw(tmp_path, [{**row(path, x=1000, y=800), "width": 200.0, "height": 100.0}])
    pixels = np.asarray(Image.open(tmp_path / "a_a.png"))
    assert pixels.shape == (800, 1000, 3)
    coloured = is_colour(pixels, "known")
    assert coloured[400 - 2, 500 : 600 + 1].all()
    assert coloured[450 + 2, 500 : 600 + 1].all()


def test_frames_of_the_same_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    paths = [frame(tmp_path / side / "night" / "a.tiff") for side in ("left", "right")]
    draw(tmp_path / "out", [row(path) for path in paths])
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize(("x", "y"), [(0, 0), (70, 52), (0, 52), (70, 0)])
def test_names_at_the_edge_stay_in_the_picture(tmp_path: Path, x: float, y: float) -> None:
    draw(tmp_path / "out", [row(frame(tmp_path / "n" / "a.tiff"), x=x, y=y)])
    pixels = np.asarray(Image.open(tmp_path / "out" / "n_a.png"))
    black = (pixels == 0).all(axis=-1).sum()
    assert black > 500  # the ground of the name
    assert is_colour(pixels, "known").any()


def test_a_name_with_line_ends_is_drawn_on_one_line(tmp_path: Path) -> None:
    path, drawn = frame(tmp_path / "n" / "a.tiff"), []
    for label in ("mal\nlard", r"mal\nlard"):
        FramePictures(tmp_path / "out").draw(path, pd.DataFrame([{**row(path), "label": label}]))
        drawn.append((tmp_path / "out" / "n_a.png").read_bytes())
    assert drawn[0] == drawn[1]


def test_no_name_hides_a_box(tmp_path: Path) -> None:
    """The name of the lower box is written where the upper box is."""
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
