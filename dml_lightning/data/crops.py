"""From a frame and its boxes to square crops in the frame's unit.

A crop shows the box and some context, is square, and is never distorted: one scale for both axes. Its centre and side
are not rounded to whole pixels. Beyond the frame's edge it continues by reflection. What is stored is a larger patch
around it, so that a crop can be turned by any angle and shifted without showing corners.

Letters: N boxes, S side of a crop in px, P side of a stored patch in px, H x W frame in px.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.data import geometry
from dml_lightning.data.frames import Frame, FrameError, Radiometry, read_frame
from dml_lightning.data.geometry import FLOORS, Boxes
from dml_lightning.data.ground import ground_distances
from dml_lightning.data.normalisation import (
    Normalisation,
    centre_crop,
    robust_statistics,
    standardise,
    window_statistics,
)
from dml_lightning.data.side import METRIC, SideInput, ordered, side_inputs
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.types import Batch

Patches = NDArray[np.float32]  # (N, P, P)
Statistics = NDArray[np.float32]  # (N, 2): location and scale

STORED_RATIO = 1.5  # > sqrt(2): every turn of the crop fits, with some room for shifts


@dataclass(frozen=True)
class CropOptions:
    """What a crop shows and how it is normalised.

    >>> CropOptions(crop_size=32).stored_size
    48

    Attributes:
        crop_size: Side S of a crop in px.
        context: Margin as a fraction of the box's longer side, both sides together.
        min_side: Smallest side of the square in px of the frame, so that a bird of 2 px is not blown up to noise.
        normalisation: "crop" or "frame", by robust statistics of the crop or its frame, or "window", by fixed
            temperatures.
        window: Lowest and highest degC for "window".
        radiometry: Camera's conversion of integer counts to degC.
        side_inputs: What a crop carries beside its pixels, which cutting and normalising take away; kept in the order
            of `SIDE_INPUTS`. "width" and "height" of the box, px of the picture that it was drawn on; "width_m" and
            "height_m", the same in m on the ground; "contrast", the scale that the crop was divided by, counts or K.
        crop_metres: Side of the square in m on the ground, in place of context and min_side, so that a bird has one
            size at any altitude; what of a box lies beyond it is cut off. None for squares by the boxes.

    Raises:
        ValueError: An option is out of its range.
    """

    crop_size: int = 32
    context: float = 0.5
    min_side: float = 16.0
    normalisation: Normalisation = "crop"
    window: tuple[float, float] | None = None
    radiometry: Radiometry | None = None
    side_inputs: tuple[SideInput, ...] = field(default=(), repr=False)
    crop_metres: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.crop_size, int) or self.crop_size < 4:
            raise ValueError(f"crop_size is {self.crop_size!r} px; a whole number of at least 4 is needed.")
        if self.context < 0:
            raise ValueError(f"context is {self.context}; it must not be negative, or the box would be cut.")
        if self.min_side <= 0:
            raise ValueError(f"min_side is {self.min_side} px; it must be positive.")
        if self.normalisation not in ("crop", "frame", "window"):
            raise ValueError(f"normalisation {self.normalisation!r} is unknown; use 'crop', 'frame' or 'window'.")
        if (self.normalisation == "window") != (self.window is not None):
            raise ValueError(
                f"normalisation {self.normalisation!r} came with window {self.window};"
                " give a window in degC with 'window', as in [-5, 25], and with no other."
            )
        if self.window is not None:
            window_statistics(self.window)
        if self.crop_metres is not None and not 0 < self.crop_metres < math.inf:
            raise ValueError(f"crop_metres is {self.crop_metres}; it is the side of a crop in m, a positive number.")
        object.__setattr__(self, "side_inputs", ordered(self.side_inputs, self.normalisation))

    @property
    def needs_gsd(self) -> bool:
        """Whether frames must have a ground sampling distance."""
        return self.crop_metres is not None or any(name in METRIC for name in self.side_inputs)

    @property
    def later(self) -> str:
        """Those options that `repr` leaves out, where they are set, for digests that are older than they."""
        return f"{self.side_inputs or ''}{self.crop_metres or ''}"

    @property
    def stored_size(self) -> int:
        """Side P of a stored patch in px; P - S is even, so that the crop is its exact centre."""
        half_edge = math.ceil((STORED_RATIO - 1) * self.crop_size / 2)
        return self.crop_size + 2 * half_edge


def cut_frame(
    frame: Frame, boxes: Boxes, options: CropOptions, path: str, gsd: NDArray[np.float64] | None = None
) -> tuple[Patches, Statistics]:
    """Cuts all boxes of one frame.

    Pixels that the frame marks as missing have no weight in a crop. Where a crop has no other pixels, it takes the
    value of its nearest pixel that is not missing.

    Args:
        frame: Frame with its pixels and their unit.
        boxes: Boxes (N, 4) in px of the picture that they were drawn on.
        options: Options of the crops.
        path: Path of the frame, for messages.
        gsd: Ground sampling distance (N,) in m per px, which `crop_metres` needs.

    Returns:
        Patches (N, P, P) in the unit of the frame and statistics (N, 2) for `standardise`, over the central S px.

    Raises:
        FrameError: A box lies outside its frame, is absurdly large or has too few pixels that are not missing, or
            a window in degC meets a frame in counts.
    """
    sides = None
    if options.crop_metres is not None:
        assert gsd is not None
        sides = frame.sides_of(options.crop_metres, gsd)
    try:
        geometry.check_boxes(boxes, frame.size)
        patches = geometry.cut(
            frame.pixels,
            frame.on_pixels(boxes),
            crop_size=options.crop_size,
            stored_size=options.stored_size,
            context=options.context,
            min_side=options.min_side,
            sides=sides,
        )
    except geometry.BoxError as error:
        box = [float(value) for value in boxes[error.number]]
        raise FrameError(path, f"the box x, y, width, height = {box} {error.what}", error.remedy) from None
    return patches, _statistics(frame, patches, options, path)


def _statistics(frame: Frame, patches: Patches, options: CropOptions, path: str) -> Statistics:
    if options.window is not None:
        if frame.unit != "degC":
            raise FrameError(
                path,
                f"normalisation by a window in degC met a frame in {frame.unit}",
                "give a radiometry (degC = gain * counts + offset), or normalise by 'crop' or 'frame'",
            )
        return np.tile(np.array(window_statistics(options.window), np.float32), (len(patches), 1))
    floor = FLOORS[frame.unit]
    if options.normalisation == "frame":
        try:
            sample = torch.from_numpy(geometry.thinned(frame.pixels))
        except FrameError:
            raise
        except ValueError as error:
            raise FrameError(path, str(error), "normalise by 'crop'") from None
        return np.tile(robust_statistics(sample[None], floor).numpy(), (len(patches), 1))
    return robust_statistics(centre_crop(torch.from_numpy(patches), options.crop_size), floor).numpy()


def by_frame(table: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yields each frame of a crop table with the positions of its rows, in the order of first appearance."""
    for path, rows in table.groupby("frame", sort=False).indices.items():
        yield str(path), np.sort(np.asarray(rows, dtype=np.int64))


def to_images(patches: Patches, statistics: Statistics, options: CropOptions) -> Tensor:
    """Returns normalised images (B, 1, P, P) float32 of raw patches (B, P, P)."""
    images = torch.from_numpy(patches)[:, None]
    return standardise(images, torch.from_numpy(statistics), clamp=options.normalisation == "window")


def crop_batches(
    table: pd.DataFrame,
    options: CropOptions,
    *,
    batch_size: int = 256,
    on_bad_frame: Literal["stop", "skip"] = "stop",
    bad_frames: dict[str, str] | None = None,
) -> Iterator[Batch]:
    """Cuts every box of a table without roles, splits or a cache, frame by frame, each frame opened once.

    Args:
        table: Table with the columns frame, x, y, width, height, and gsd where metres are asked for.
        options: Options of the crops.
        batch_size: Number of crops in a batch; the last may have fewer.
        on_bad_frame: Whether a frame that cannot be used raises ("stop") or is left out ("skip").
        bad_frames: Dictionary that receives frame -> message of each frame that was skipped.

    Yields:
        Batches of normalised crops in frame order; labels are -1, `index` is the row's position in the table.

    Raises:
        FrameError: A frame cannot be used and on_bad_frame is "stop".
        ValueError: The batch_size is below 1, or metres are asked for and a frame has no ground sampling
            distance.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
    boxes = table[BOX_COLUMNS].to_numpy(np.float64)
    gsd = ground_distances(table) if options.needs_gsd else np.full(len(table), np.nan)
    measured: Statistics = np.empty((len(table), 2), np.float32)
    images, index, waiting = list[Tensor](), list[Tensor](), 0
    for path, rows in by_frame(table):
        try:
            frame = read_frame(path, options.radiometry)
            patches, statistics = cut_frame(frame, boxes[rows], options, path, gsd[rows])
        except FrameError as error:
            if on_bad_frame == "stop":
                raise
            if bad_frames is not None:
                bad_frames[path] = str(error)
            continue
        measured[rows] = statistics
        images.append(centre_crop(to_images(patches, statistics, options), options.crop_size))
        index.append(torch.from_numpy(rows))
        waiting += len(rows)
        while waiting >= batch_size:
            all_images, all_index = torch.cat(images), torch.cat(index)
            yield _unlabelled(all_images[:batch_size], all_index[:batch_size], boxes, measured, gsd, options)
            images, index, waiting = ([all_images[batch_size:]], [all_index[batch_size:]], waiting - batch_size)
    if waiting:
        yield _unlabelled(torch.cat(images), torch.cat(index), boxes, measured, gsd, options)


def _unlabelled(
    images: Tensor,
    index: Tensor,
    boxes: Boxes,
    statistics: Statistics,
    gsd: NDArray[np.float64],
    options: CropOptions,
) -> Batch:
    rows = index.numpy()
    side = torch.from_numpy(side_inputs(boxes[rows], statistics[rows], options.side_inputs, gsd[rows]))
    return Batch(images, torch.full_like(index, -1), index, side)
