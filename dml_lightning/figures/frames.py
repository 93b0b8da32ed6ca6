"""Annotated pictures of predicted frames: every box with its decision and name."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dml_lightning.data.frames import read_frame
from dml_lightning.figures.palette import ORANGE, SKY, rgb
from dml_lightning.files import replacing
from dml_lightning.printing import printable

DECISION_COLOURS = {"known": rgb(SKY), "unknown": rgb(ORANGE)}  # light colours, on grey frames
SMALLEST_SIDE = 640  # px; smaller frames are enlarged, so that names can be read
LARGEST_SIDE = 4096  # px of a picture; larger frames are thinned
FONT_SIZE = 13


class FramePictures:
    """Draws one PNG per frame into a folder.

    Args:
        folder: Folder to write into, made if it does not exist. Pictures are named after their frame and its folder.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._names: set[str] = set()

    def draw(self, frame: str, boxes: pd.DataFrame) -> None:
        """Draws a frame with all of its boxes.

        Args:
            frame: Path of the frame.
            boxes: Columns x, y, width, height (px), label, decision (known or unknown).
        """
        picture = draw_frame(frame, boxes)
        with replacing(self.folder / self._name(Path(frame))) as file:
            picture.save(file, format="PNG")

    def _name(self, frame: Path) -> str:
        """File name of a picture: the frame's folder and name, and a number if that name is taken."""
        name, number = f"{frame.parent.name}_{frame.stem}", 1
        while name in self._names:
            number += 1
            name = f"{frame.parent.name}_{frame.stem}_{number}"
        self._names.add(name)
        return f"{name}.png"


def draw_frame(frame: str | Path, boxes: pd.DataFrame) -> Image.Image:
    """A frame in grey with its boxes: the name of each known one, and of an unknown one the guess.

    Args:
        frame: Path of the frame.
        boxes: Columns x, y, width, height (px), label, decision (known or unknown), as `TrainedRun.predict` gives them.
    """
    picture, scale = _background(frame)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(FONT_SIZE)
    outlines = []
    for box in boxes.to_dict("records"):
        colour = DECISION_COLOURS[box["decision"]]
        left, top = scale * box["x"], scale * box["y"]
        right, bottom = left + scale * box["width"], top + scale * box["height"]
        name = box["label"] if box["decision"] == "known" else f"unknown ({box['label']}?)"
        _write_name(draw, font, printable(name), (left, top, bottom), picture.size, colour)
        outlines.append(((left - 2, top - 2, right + 2, bottom + 2), colour))
    for outline, colour in outlines:  # last, so that no name hides a box
        draw.rectangle(outline, outline=colour, width=2)
    return picture


def grey_picture(pixels: NDArray[np.float64]) -> Image.Image:
    """A picture of values (H, W) in grey, from their 0.5th to their 99.9th percentile; missing ones (NaN) are black.

    >>> np.asarray(grey_picture(np.array([[0.0, np.nan], [5.0, 10.0]])))[..., 0].tolist()
    [[0, 0], [126, 255]]
    """
    if np.isnan(pixels).all():
        return Image.new("RGB", (pixels.shape[1], pixels.shape[0]))
    low, high = np.nanquantile(pixels, (0.005, 0.999))
    grey = 255 * ((pixels - low) / max(high - low, 1e-9)).clip(0, 1)
    return Image.fromarray(np.nan_to_num(grey).astype(np.uint8)).convert("RGB")


def _background(frame: str | Path) -> tuple[Image.Image, float]:
    """The frame in grey, from its 0.5th to its 99.9th percentile, and the px of the picture per px of a box."""
    shown = read_frame(Path(frame))
    step = -(-max(shown.pixels.shape) // LARGEST_SIDE)  # a mosaic is thinned
    picture = grey_picture(np.asarray(shown.pixels[::step, ::step], np.float64))
    width, height = shown.size  # of the picture on which boxes are drawn
    scale = float(max(1, round(SMALLEST_SIDE / min(width, height)))) if step == 1 else 1 / step
    return picture.resize((round(scale * width), round(scale * height)), Image.Resampling.NEAREST), scale


def _write_name(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    name: str,
    box: tuple[float, float, float],
    size: tuple[int, int],
    colour: tuple[int, int, int],
) -> None:
    """Writes a name on black above its box, or below it if there is no room above.

    Args:
        draw: Picture to write on.
        font: Font of the name.
        name: Text to write.
        box: Left, top and bottom of the box, in px of the picture.
        size: Width and height of the picture, in px.
        colour: Red, green and blue from 0 to 255.
    """
    left, top, bottom = box
    width = draw.textlength(name, font=font)
    x = max(0.0, min(left, size[0] - width - 2))
    y = top - FONT_SIZE - 7 if top > FONT_SIZE + 7 else min(bottom + 4, size[1] - FONT_SIZE - 4)
    draw.rectangle((x - 1, y, x + width + 1, y + FONT_SIZE + 3), fill=(0, 0, 0))
    draw.text((x, y), name, fill=colour, font=font)
