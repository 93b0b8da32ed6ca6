"""Annotated pictures of predicted frames: every box in the colour and with the number of its species, and a legend."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dml_lightning.data.frames import read_frame
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.figures.palette import ON_FRAMES, rgb
from dml_lightning.files import replacing
from dml_lightning.printing import printable

REFUSED = (255, 255, 255)  # colour of refused boxes, whose number is that of the guess
SMALLEST_SIDE = 640  # px; smaller frames are enlarged
SMALLEST_BOX = 24  # px of the typical box in a picture, so that numbers have room beside it
LARGEST_SIDE = 4096  # px of a picture; larger frames are thinned
Corners = NDArray[np.float64]  # left, top, right, bottom in px of the picture
Colour = tuple[int, int, int]


class FramePictures:
    """Draws one PNG per frame into a folder, with the frame in its upper left corner and a legend below.

    Args:
        folder: Folder to write into, made if it does not exist. Pictures are named after their frame and its folder.
        species: Names in the order of their numbers and colours, which are the same in every picture; others follow.
    """

    def __init__(self, folder: Path, species: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._names: set[str] = set()
        self._numbers = {name: number for number, name in enumerate(species, start=1)}

    def draw(self, frame: str, boxes: pd.DataFrame) -> None:
        """Draws a frame with all of its boxes.

        Args:
            frame: Path of the frame.
            boxes: Columns x, y, width, height (px), label, decision (known or unknown); at least one row.
        """
        picture = draw_frame(frame, boxes, self._numbers)
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


def draw_frame(frame: str | Path, boxes: pd.DataFrame, numbers: dict[str, int] | None = None) -> Image.Image:
    """A frame in grey with its boxes in the colour and with the number of their species, and a legend below.

    Args:
        frame: Path of the frame.
        boxes: Columns x, y, width, height (px), label, decision (known or unknown), as `TrainedRun.predict` gives them;
            at least one row.
        numbers: Number of each species; those that it lacks are added to it.
    """
    numbers = {} if numbers is None else numbers
    side = float(boxes[["width", "height"]].max(axis=1).median())
    picture, scale = _background(frame, side)
    line = round(float(np.clip(scale * side / 12, 1, 4)))
    font = ImageFont.load_default(int(np.clip(scale * side / 2, 13, 24)))
    x, y, width, height = scale * boxes[BOX_COLUMNS].to_numpy(float).T
    outlines = np.stack([x - line, y - line, x + width + line, y + height + line], axis=1)
    own = [numbers.setdefault(label, len(numbers) + 1) for label in boxes["label"]]
    known = (boxes["decision"] == "known").tolist()
    colours = [_colour(number) if sure else REFUSED for number, sure in zip(own, known, strict=True)]
    texts = [f"{number}" if sure else f"{number}?" for number, sure in zip(own, known, strict=True)]
    _write_numbers(picture, font, texts, outlines, colours)
    draw = ImageDraw.Draw(picture)
    for corners, colour in zip(outlines.tolist(), colours, strict=True):  # last, so that no number hides a box
        draw.rectangle(corners, outline=colour, width=line)
    return _with_legend(picture, _legend(boxes, numbers))


def _legend(boxes: pd.DataFrame, numbers: dict[str, int]) -> list[tuple[str, Colour]]:
    """A line for each species in a frame, by number, with its boxes, and one for those that were refused."""
    known = Counter[str](boxes["label"][boxes["decision"] == "known"])
    lines = [
        (f"{numbers[label]} {printable(label)}: {known[label]}", _colour(numbers[label]))
        for label in sorted(set(boxes["label"]), key=numbers.__getitem__)
    ]
    refused = len(boxes) - known.total()
    return [*lines, (f"white, with ? behind the guess: {refused} refused", REFUSED)] if refused else lines


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


def _background(frame: str | Path, side: float = np.inf) -> tuple[Image.Image, float]:
    """The frame in grey, from its 0.5th to its 99.9th percentile, and the px of the picture per px of a box.

    Args:
        frame: Path.
        side: Typical side of a box in px of the frame; the frame is enlarged until that is `SMALLEST_BOX`.
    """
    shown = read_frame(Path(frame))
    step = -(-max(shown.pixels.shape) // LARGEST_SIDE)  # a mosaic is thinned
    picture = grey_picture(np.asarray(shown.pixels[::step, ::step], np.float64))
    width, height = shown.size  # of the picture on which boxes are drawn
    wanted = max(SMALLEST_SIDE / min(width, height), min(SMALLEST_BOX / side, LARGEST_SIDE // max(width, height)))
    scale = float(max(1, round(wanted))) if step == 1 else 1 / step
    return picture.resize((round(scale * width), round(scale * height)), Image.Resampling.NEAREST), scale


def _colour(number: int) -> Colour:
    return rgb(ON_FRAMES[(number - 1) % len(ON_FRAMES)])


def _write_numbers(
    picture: Image.Image,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    texts: Sequence[str],
    outlines: Corners,
    colours: Sequence[Colour],
) -> None:
    """Writes a number beside each outline (N, 4), where it covers least of the boxes and of the numbers before it."""
    draw, taken = ImageDraw.Draw(picture), outlines
    for text, (left, top, right, bottom), colour in zip(texts, outlines.tolist(), colours, strict=True):
        _, above, width, below = draw.textbbox((1, 1), text, font=font, stroke_width=1)
        size = np.array([width, below - above])
        beside = [(left, top - size[1]), (left, bottom), (right, top), (left - width, top)]
        starts = np.clip(beside, 0, picture.size - size)  # in the picture; what then lies on the box covers it
        places = np.concatenate([starts, starts + size], axis=1)
        best = places[_covered(places, taken).argmin()]
        taken = np.concatenate([taken, best[None]])
        draw.text((best[0] + 1, best[1] + 1 - above), text, fill=colour, font=font, stroke_width=1, stroke_fill="black")


def _covered(places: Corners, taken: Corners) -> NDArray[np.float64]:
    """The area in px that each place (P, 4) shares with all that is taken (T, 4).

    >>> _covered(np.array([[0.0, 0, 4, 4], [2, 2, 6, 6]]), np.array([[0.0, 0, 3, 3]])).tolist()
    [9.0, 1.0]
    """
    ends = np.minimum(places[:, None, 2:], taken[:, 2:]) - np.maximum(places[:, None, :2], taken[:, :2])
    shared: NDArray[np.float64] = ends.clip(0).prod(axis=-1).sum(axis=1)
    return shared


def _with_legend(picture: Image.Image, lines: Sequence[tuple[str, Colour]]) -> Image.Image:
    """The picture with lines of text below it, in as many columns as fit."""
    size = int(np.clip(picture.width / 60, 13, 40))
    font = ImageFont.load_default(size)
    widest = max(font.getlength(text) for text, _ in lines) + size
    across = max(1, int(picture.width // widest))
    down, row = -(-len(lines) // across), size + size // 2
    whole = Image.new("RGB", (picture.width, picture.height + down * row + size // 2))
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    for place, (text, colour) in enumerate(lines):
        start = (size // 2 + place // down * widest, picture.height + size // 2 + place % down * row)
        draw.text(start, text, fill=colour, font=font)
    return whole
