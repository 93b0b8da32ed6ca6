"""One picture of a few crops with their boxes, to see whether boxes and names fit the frames."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dml_lightning.data.frames import FrameError, read_frame
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.figures.frames import grey_picture
from dml_lightning.figures.palette import ORANGE, rgb
from dml_lightning.files import replacing
from dml_lightning.printing import printable

TILE = 240  # px of a crop in the picture
CAPTION = 42  # px below it
GAP = 8  # px
TILES_ACROSS = 4
CROPS = 12
TRIED = 3  # times as many boxes, before frames that cannot be read leave tiles out
CROP_CONTEXT = 3.0  # times the longer side of a box
SMALLEST_FIELD = 24.0  # px of a frame in a tile
LABEL_SIZE = 13
Tile = Image.Image


def write_crops(path: Path, table: pd.DataFrame, seed: int = 0) -> int:
    """Draws up to twelve crops, evenly over the classes, into one PNG that appears when it is complete.

    Args:
        path: File to write.
        table: Columns frame, x, y, width, height (px), label; a reader's table.
        seed: Of the choice.

    Returns:
        The number of crops drawn; nothing is written if there is none.
    """
    tiles = [tile for tile, _ in zip(_tiles(even_order(table, seed)[: TRIED * CROPS]), range(CROPS), strict=False)]
    if not tiles:
        return 0
    across, down = TILE + GAP, TILE + CAPTION + GAP
    rows = -(-len(tiles) // TILES_ACROSS)
    sheet = Image.new("RGB", (TILES_ACROSS * across + GAP, rows * down + GAP), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (GAP + number % TILES_ACROSS * across, GAP + number // TILES_ACROSS * down))
    with replacing(path) as file:
        sheet.save(file, format="PNG")
    return len(tiles)


def even_order(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The boxes in an order that takes one of every class, by name, before a second of any."""
    shuffled = table.iloc[np.random.default_rng(seed).permutation(len(table))]
    turns = shuffled.groupby("label").cumcount()
    return shuffled.assign(turn=turns).sort_values(["turn", "label"], kind="stable").drop(columns="turn")


def _tiles(boxes: pd.DataFrame) -> Iterator[Tile]:
    for row in boxes.to_dict("records"):
        try:
            yield _tile(row["frame"], np.array([[row[side] for side in BOX_COLUMNS]], np.float64), row["label"])
        except FrameError:  # told by the check
            continue


def _tile(frame: str, box: NDArray[np.float64], label: str) -> Tile:
    """A box (1, 4) with what lies around it, no further than its frame, enlarged without smoothing."""
    shown = read_frame(frame)
    x, y, width, height = shown.on_pixels(box)[0]
    side = min(max(CROP_CONTEXT * max(width, height), SMALLEST_FIELD), max(shown.pixels.shape))
    left, top = (max(0, round(start)) for start in (x + (width - side) / 2, y + (height - side) / 2))
    step = -(-round(side) // (4 * TILE))  # large crops are thinned
    pixels = np.asarray(shown.pixels[top : top + round(side) : step, left : left + round(side) : step], np.float64)
    scale = TILE / round(side)
    size = [max(1, round(scale * step * length)) for length in pixels.shape[::-1]]
    tile = Image.new("RGB", (TILE, TILE + CAPTION), "white")
    tile.paste(grey_picture(pixels).resize((size[0], size[1]), Image.Resampling.NEAREST).crop((0, 0, TILE, TILE)))
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(LABEL_SIZE)
    corners = [scale * (x - left), scale * (y - top), scale * (x + width - left), scale * (y + height - top)]
    draw.rectangle((corners[0] - 2, corners[1] - 2, corners[2] + 1, corners[3] + 1), outline=rgb(ORANGE), width=2)
    draw.rectangle((0, TILE, TILE, TILE + CAPTION), fill="white")
    draw.text((2, TILE + 4), f"{printable(label)}, {box[0, 2]:.3g}x{box[0, 3]:.3g} px", fill="black", font=font)
    name = printable(f"{Path(frame).parent.name}/{Path(frame).name}")
    while font.getlength(name) > TILE - 2:
        name = name[1:]  # the last letters tell frames apart
    draw.text((2, TILE + 22), name, fill="black", font=font)
    return tile
