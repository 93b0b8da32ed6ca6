"""The picture of a few crops: which are chosen, and where their boxes lie."""

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from PIL import Image

from dml_lightning.figures.crops import CAPTION, GAP, TILE, even_order, write_crops
from dml_lightning.figures.palette import ORANGE, rgb


def boxes(frame: Path, labels: list[str], x: float = 40, y: float = 30) -> pd.DataFrame:
    row = {"frame": str(frame), "x": x, "y": y, "width": 10.0, "height": 6.0}
    return pd.DataFrame([row | {"label": label} for label in labels])


def frame(path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(100, 200, (80, 100)).astype(np.uint8)
    pixels[30:36, 40:50] = 250
    tifffile.imwrite(path, pixels)
    return path


def tile(path: Path, number: int = 0) -> NDArray[np.uint8]:
    left, top = (
        GAP + number % 4 * (TILE + GAP),
        GAP + number // 4 * (TILE + CAPTION + GAP),
    )
    return np.asarray(Image.open(path))[top : top + TILE, left : left + TILE]


def test_the_outline_is_around_the_animal(tmp_path: Path) -> None:
    out = tmp_path / "check.png"
    assert write_crops(out, boxes(frame(tmp_path / "a.tif"), ["teal"])) == 1
    pixels, scale = tile(out), TILE // 30  # a square of three times the longer side
    rows, columns = np.nonzero((pixels == rgb(ORANGE)).all(axis=-1))
    left, top, right, bottom = 10 * scale, 12 * scale, 20 * scale, 18 * scale
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (left - 2, right + 1, top - 2, bottom + 1)
    inside = pixels[top:bottom, left:right]
    assert inside.min() == 255
    assert pixels[: top - 2].max() < 255


def test_a_box_at_the_edge_keeps_its_place(tmp_path: Path) -> None:
    out = tmp_path / "check.png"
    write_crops(out, boxes(frame(tmp_path / "a.tif"), ["teal"], x=2, y=1))
    rows, columns = np.nonzero((tile(out) == rgb(ORANGE)).all(axis=-1))
    assert (columns.min(), columns.max(), rows.min()) == (14, 12 * 8 + 1, 6)


def test_a_box_as_large_as_its_frame_fills_the_picture(tmp_path: Path) -> None:
    whole = boxes(frame(tmp_path / "a.tif"), ["teal"], x=0, y=0).assign(width=100.0, height=80.0)
    write_crops(tmp_path / "check.png", whole)
    rows, columns = np.nonzero((tile(tmp_path / "check.png") == rgb(ORANGE)).all(axis=-1))
    assert (columns.max(), rows.max()) == (TILE - 1, 0.8 * TILE + 1)


def test_the_end_of_a_long_name_is_whole(tmp_path: Path) -> None:
    names = [f"{'W' * 60}{end}.tif" for end in ("i", "l")]
    pictures = list[NDArray[np.uint8]]()
    for name in names:
        write_crops(tmp_path / "check.png", boxes(frame(tmp_path / name), ["teal"]))
        pictures.append(np.asarray(Image.open(tmp_path / "check.png"))[GAP + TILE + 22 : GAP + TILE + CAPTION])
    assert (pictures[0] != pictures[1]).any()


def test_classes_take_turns_and_the_seed_decides(tmp_path: Path) -> None:
    table = boxes(tmp_path, ["mallard"] * 50 + ["teal"] * 3 + ["coot"]).assign(x=np.arange(54.0))
    order = even_order(table, 0)
    assert order["label"].tolist()[:7] == ["coot", "mallard", "teal", "mallard", "teal", "mallard", "teal"]
    assert sorted(order.index) == list(range(54))
    assert order.equals(even_order(table, 0))
    assert not order.equals(even_order(table, 1))


def test_twelve_crops_and_no_frame_that_cannot_be_read(tmp_path: Path) -> None:
    out = tmp_path / "check.png"
    good, bad = boxes(frame(tmp_path / "a.tif"), ["mallard"] * 20), boxes(tmp_path / "none.tif", ["coot"] * 3)
    assert write_crops(out, pd.concat([bad, good], ignore_index=True)) == 12
    with Image.open(out) as picture:
        assert picture.size == (
            4 * (TILE + GAP) + GAP,
            3 * (TILE + CAPTION + GAP) + GAP,
        )
    assert (tile(out, 11) == rgb(ORANGE)).all(axis=-1).any()
    assert write_crops(tmp_path / "other.png", bad) == 0
    assert not (tmp_path / "other.png").exists()
