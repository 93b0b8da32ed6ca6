"""Normalisation: a crop arrives in the unit of its frame and leaves as (x - location) / scale.

Letters: B crops, S side of a crop in px, P side of a stored patch in px (P >= S).
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from dml_lightning.data.frames import Unit
from dml_lightning.data.geometry import FLOORS

Normalisation = Literal["crop", "frame", "window"]

QUANTILES = (0.05, 0.5, 0.95)


def centre_crop(images: Tensor, side: int) -> Tensor:
    """Returns the central `side` px of images (..., P, P); P - side must be even to keep the centre.

    >>> centre_crop(torch.arange(16).view(4, 4), 2).tolist()
    [[5, 6], [9, 10]]
    """
    edge = (images.shape[-1] - side) // 2
    return images[..., edge : edge + side, edge : edge + side]


def robust_statistics(images: Tensor, floor: float) -> Tensor:
    """Location and scale of each image, in its own unit.

    >>> image = torch.zeros(1, 1, 5, 5)
    >>> image[0, 0, 2, 2] = 10.0
    >>> [round(value, 2) for value in robust_statistics(image, floor=1.0)[0].tolist()]
    [0.0, 1.96]

    The location is the median. The scale is the largest of the range between the 5 % and 95 % quantiles, the standard
    deviation and the floor: a range of quantiles (as the median absolute deviation) is 0 on a flat crop with a bird of
    2 px, where the deviation is not.

    Args:
        images: Images (B, ..., S, S), at least float32.
        floor: Smallest scale, in the unit of the images.

    Returns:
        Location and scale (B, 2).
    """
    flat = images.flatten(1)  # (B, S * S)
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # NumPy's numbers would be constants
    recorded = flat.requires_grad or torch.compiler.is_compiling() or tracing
    plain = flat.device.type == "cpu" and not recorded
    (low, median, high), deviation = _by_numpy(flat) if plain else _by_torch(flat)
    scale = torch.maximum(high - low, deviation).clamp(min=floor)
    return torch.stack([median, scale], dim=1)


def _by_torch(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Quantiles (3, B) and deviations (B,) of rows (B, M)."""
    levels = torch.tensor(QUANTILES, dtype=flat.dtype, device=flat.device)
    return torch.quantile(flat, levels, dim=1), flat.std(dim=1, correction=0)


def _by_numpy(flat: Tensor) -> tuple[Tensor, Tensor]:
    """The same numbers in a seventh of the time: `torch.quantile` sorts indices along with the values."""
    values = flat.numpy()
    ordered = torch.from_numpy(np.sort(values, axis=1))
    places = torch.tensor(QUANTILES, dtype=flat.dtype).double() * (values.shape[1] - 1)
    low, high = (ordered[:, each.long()] for each in (places, places.ceil()))
    quantiles = low.lerp(high, places.frac().to(flat.dtype))
    quantiles = torch.where(ordered[:, -1:].isnan(), torch.nan, quantiles)  # NaN are sorted last
    with np.errstate(invalid="ignore"):
        rest = values - values.mean(axis=1, keepdims=True, dtype=np.float64)
    deviation = np.sqrt(np.einsum("ij,ij->i", rest, rest) / values.shape[1])
    return quantiles.T, torch.from_numpy(deviation).to(flat.dtype)


def window_statistics(window: tuple[float, float]) -> tuple[float, float]:
    """Location and scale that map a window in degC to -1..1.

    >>> window_statistics((-5.0, 25.0))
    (10.0, 15.0)

    Raises:
        ValueError: The window is empty.
    """
    low, high = window
    if not low < high:
        raise ValueError(f"window {low} to {high} degC is empty; give the lower end first, as in [-5, 25].")
    return (low + high) / 2, (high - low) / 2


def standardise(images: Tensor, statistics: Tensor, *, clamp: bool = False) -> Tensor:
    """Returns (images - location) / scale, (B, 1, S, S), for statistics (B, 2); `clamp` limits it to -1..1.

    >>> standardise(torch.tensor([[[[10.0, 40.0]]]]), torch.tensor([[10.0, 15.0]])).tolist()
    [[[[0.0, 2.0]]]]
    """
    location, scale = statistics[:, 0, None, None, None], statistics[:, 1, None, None, None]
    result = (images - location) / scale
    return result.clamp(-1, 1) if clamp else result


class Normalize(nn.Module):
    """Normalisation of raw crops as a module, to be exported in front of an encoder.

    It computes what the data module computes, with operations that have an ONNX conversion.

    >>> Normalize("window", "degC", (-5.0, 25.0))(torch.tensor([[[[10.0, 40.0]]]])).tolist()
    [[[[0.0, 1.0]]]]

    Args:
        normalisation: "crop" or "window", which need the crop alone, or "frame", which needs the statistics of the
            whole frame.
        unit: Unit of the crops, which sets the floor of the scale.
        window: Lowest and highest degC, for "window".

    Raises:
        ValueError: "window" came without a window.
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
        """Normalised crops (B, 1, S, S); arguments and errors are those of `measure`."""
        return standardise(images, self.measure(images, statistics), clamp=self.normalisation == "window")

    def measure(self, images: Tensor, statistics: Tensor | None = None) -> Tensor:
        """Location and scale (B, 2) by which raw crops are normalised.

        Args:
            images: Crops (B, 1, S, S) in counts or degC.
            statistics: Location and scale (B, 2) of each crop's frame, for "frame" only.

        Raises:
            ValueError: "frame" came without statistics.
        """
        if self.normalisation == "crop":
            return robust_statistics(images, self.floor)
        if self.normalisation == "window":
            fixed: Tensor = self.get_buffer("fixed").expand(images.shape[0], 2)
            return fixed
        if statistics is None:
            raise ValueError("normalisation 'frame' needs the location and scale of each crop's frame.")
        return statistics
