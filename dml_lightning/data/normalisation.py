"""Normalisation: a crop arrives in the unit of its frame and leaves as (x - location) / scale.

Letters: B crops, S side of a crop in px, P side of a stored patch in px (P >= S).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from dml_lightning.data.frames import Unit

Normalisation = Literal["crop", "frame", "window"]

QUANTILES = (0.05, 0.5, 0.95)
# Below the floor there is nothing but noise: one step of an integer, the noise specification of a microbolometer core.
FLOORS: dict[Unit, float] = {"counts": 1.0, "degC": 0.05}


def centre_crop(images: Tensor, side: int) -> Tensor:
    """Returns the central `side` px of (..., P, P) images; P - side must be even to keep the centre."""
    edge = (images.shape[-1] - side) // 2
    return images[..., edge : edge + side, edge : edge + side]


def robust_statistics(images: Tensor, floor: float) -> Tensor:
    """Location and scale of every image by itself, in its own unit.

    The location is the median. The scale is the largest of the range between the 5 % and 95 % quantiles, the standard
    deviation and the floor: a range of quantiles (as the median absolute deviation) is 0 on a flat crop with a bird of
    2 px, where the deviation is not.

    Args:
        images: (B, ..., S, S), at least float32.
        floor: smallest scale, in the unit of the images.

    Returns:
        (B, 2) of location and scale.
    """
    flat = images.flatten(1)  # (B, S * S)
    levels = torch.tensor(QUANTILES, dtype=flat.dtype, device=flat.device)
    low, median, high = torch.quantile(flat, levels, dim=1)  # each (B,)
    deviation = flat.std(dim=1, correction=0)
    scale = torch.maximum(high - low, deviation).clamp(min=floor)
    return torch.stack([median, scale], dim=1)


def window_statistics(window: tuple[float, float]) -> tuple[float, float]:
    """Location and scale that map a window in degC to -1..1.

    Raises:
        ValueError: when the window is empty.
    """
    low, high = window
    if not low < high:
        raise ValueError(f"window {low} to {high} degC is empty; give the lower end first, as in [-5, 25].")
    return (low + high) / 2, (high - low) / 2


def standardise(images: Tensor, statistics: Tensor, *, clamp: bool = False) -> Tensor:
    """Returns (images - location) / scale, (B, 1, S, S), for statistics (B, 2); `clamp` limits it to -1..1."""
    location, scale = statistics[:, 0, None, None, None], statistics[:, 1, None, None, None]
    result = (images - location) / scale
    return result.clamp(-1, 1) if clamp else result


class Normalize(nn.Module):
    """Normalisation of raw crops as a module, to be exported in front of an encoder.

    It computes what the data module computes, with operations that have an ONNX conversion.

    Args:
        normalisation: "crop" or "window" need the crop alone; "frame" needs the statistics of the whole frame.
        unit: unit of the crops, which sets the floor of the scale.
        window: degC, for "window".

    Raises:
        ValueError: when "window" has no window.
    """

    def __init__(
        self, normalisation: Normalisation = "crop", unit: Unit = "counts", window: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.floor = FLOORS[unit]
        if normalisation == "window":
            if window is None:
                raise ValueError("normalisation 'window' needs a window in degC, as in [-5, 25].")
            self.register_buffer("fixed", torch.tensor([window_statistics(window)]), persistent=False)

    def forward(self, images: Tensor, statistics: Tensor | None = None) -> Tensor:
        """Normalises raw crops.

        Args:
            images: (B, 1, S, S), counts or degC.
            statistics: (B, 2) location and scale of each crop's frame, for "frame" only.

        Returns:
            (B, 1, S, S).

        Raises:
            ValueError: when "frame" gets no statistics.
        """
        if self.normalisation == "crop":
            return standardise(images, robust_statistics(images, self.floor))
        if self.normalisation == "window":
            fixed: Tensor = self.get_buffer("fixed").expand(images.shape[0], 2)
            return standardise(images, fixed, clamp=True)
        if statistics is None:
            raise ValueError("normalisation 'frame' needs the location and scale of each crop's frame.")
        return standardise(images, statistics)
