"""Radiometry-safe augmentation of batches of normalised crops.

Thermal crops have no colour, no up and no fixed polarity, so augmentation turns, mirrors, moves, inverts, scales, blurs
and adds noise: that is all. Its parameters are drawn for the *global* batch from (seed, epoch, step), never from a
global generator, so that they are the same on one rank, on many, and after a resume.

Letters: B crops, S side of a crop in px, P side of a stored patch in px (P >= S).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.types import Stream

PARAMETERS = 12  # columns of `Augmentation.draw`
NOISE_SIDE = 256  # px; offsets into the sheet stay exact integers in bfloat16 up to 256
BLUR_TAPS = 2  # px on either side


@dataclass(frozen=True)
class Augmentation:
    """Strength of each augmentation; 0 switches one off, and all work on normalised crops.

    >>> Augmentation(rotate=0).draw(seed=0, epoch=0, step=0, crops=4).shape
    torch.Size([4, 12])

    Attributes:
        rotate: Largest turn to either side in degrees; a view straight down has no up, so any angle.
        flip: Probability of mirroring.
        shift: Largest shift along each axis, as a fraction of the crop's side.
        scale: Largest relative enlargement or reduction, 0.1 for 1/1.1 to 1.1.
        polarity: Probability of swapping warm and cold.
        gain: Largest relative change of contrast, 0.2 for 1/1.2 to 1.2.
        offset: Largest added level, in units of the crop's scale.
        noise: Largest standard deviation of white noise, in units of the crop's scale.
        blur: Largest standard deviation of a Gaussian blur, in px of the output.
        side: Largest relative change of each side input on its own, 0.2 for 1/1.2 to 1.2: boxes are drawn more or less
            tightly.
    """

    rotate: float = 180.0
    flip: float = 0.5
    shift: float = 0.05
    scale: float = 0.1
    polarity: float = 0.1
    gain: float = 0.2
    offset: float = 0.1
    noise: float = 0.05
    blur: float = 0.7
    side: float = 0.2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"augmentation {name} is {value}; it must not be negative.")
        for name in ("flip", "polarity"):
            if getattr(self, name) > 1:
                raise ValueError(f"augmentation {name} is {getattr(self, name)}; a probability is at most 1.")

    def draw(self, seed: int, epoch: int, step: int, crops: int) -> Tensor:
        """Draws the parameters of one global batch.

        Args:
            seed: Seed of the run.
            epoch: Number of the epoch.
            step: Number of the batch in the epoch.
            crops: Number of crops in the global batch.

        Returns:
            (crops, 12) float32: the 2 x 2 matrix by rows and the shift (fractions of the side) that take output
            positions to input positions, gain with the polarity's sign, offset, noise deviation, noise row and column,
            blur deviation. A row depends on its number only, not on the number of rows.
        """
        uniform = np.random.default_rng([Stream.AUGMENTATION, seed, epoch, step]).random((crops, 12))
        centred = 2 * uniform - 1  # (G, 12) in -1..1
        angle = np.deg2rad(self.rotate) * centred[:, 0]
        zoom = (1 + self.scale) ** centred[:, 1]
        mirror = np.where(uniform[:, 2] < self.flip, -1.0, 1.0)
        cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
        sign = np.where(uniform[:, 3] < self.polarity, -1.0, 1.0)
        columns = [
            cosine * mirror,
            -sine,
            sine * mirror,
            cosine,
            self.shift * centred[:, 4],
            self.shift * centred[:, 5],
            sign * (1 + self.gain) ** centred[:, 6],
            self.offset * centred[:, 7],
            self.noise * uniform[:, 8],
            np.floor(NOISE_SIDE * uniform[:, 9]),
            np.floor(NOISE_SIDE * uniform[:, 10]),
            self.blur * uniform[:, 11],
        ]
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))

    def draw_side(self, seed: int, epoch: int, step: int, crops: int) -> Tensor:
        """Draws factors (crops, 3) of width, height and contrast of one global batch, as `draw` does parameters."""
        uniform = np.random.default_rng([Stream.SIDE_INPUTS, seed, epoch, step]).random((crops, 3))
        return torch.from_numpy(((1 + self.side) ** (2 * uniform - 1)).astype(np.float32))


def warp(patches: Tensor, matrix: Tensor, shift: Tensor, side: int) -> Tensor:
    """Turns, mirrors, scales and shifts in one bilinear resampling; outside the patch it continues by reflection.

    >>> patch = torch.arange(16.0).view(1, 1, 4, 4)
    >>> warp(patch, torch.eye(2)[None], torch.zeros(1, 2), side=2).tolist()
    [[[[5.0, 6.0], [9.0, 10.0]]]]

    Args:
        patches: Stored patches (B, 1, P, P).
        matrix: Matrices (B, 2, 2) from output (x, y) to input (x, y).
        shift: Shifts (B, 2) of x and y in fractions of the output's side.
        side: Side S of the output in px; it shows the central S px of the patch when matrix = 1 and shift = 0.

    Returns:
        Crops (B, 1, S, S).
    """
    ratio = side / patches.shape[-1]
    theta = ratio * torch.cat([matrix, 2 * shift[:, :, None]], dim=2)  # (B, 2, 3)
    grid = F.affine_grid(theta, [len(patches), 1, side, side], align_corners=False)  # (B, S, S, 2)
    return F.grid_sample(patches, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blurs each image (B, 1, S, S) with its own separable Gaussian of five taps; sigma (B,) in px, 0 for none.

    >>> image = torch.zeros(1, 1, 5, 5)
    >>> image[0, 0, 2, 2] = 1.0
    >>> round(gaussian_blur(image, torch.tensor([1.0]))[0, 0, 2, 2].item(), 3)
    0.162
    """
    taps = torch.arange(-BLUR_TAPS, BLUR_TAPS + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (taps / sigma[:, None].clamp(min=0.05)) ** 2)  # (B, 5)
    weights = (weights / weights.sum(dim=1, keepdim=True))[:, :, None, None, None]  # (B, 5, 1, 1, 1)
    side = images.shape[-1]
    rows = F.pad(images, (0, 0, BLUR_TAPS, BLUR_TAPS), mode="reflect")
    images = sum_taps(rows, weights, 2, side)
    columns = F.pad(images, (BLUR_TAPS, BLUR_TAPS, 0, 0), mode="reflect")
    return sum_taps(columns, weights, 3, side)


def sum_taps(padded: Tensor, weights: Tensor, dim: int, side: int) -> Tensor:
    """Weighted sum of the shifted views of `padded` along `dim`; weights (B, T, 1, 1, 1)."""
    total = padded.narrow(dim, 0, side) * weights[:, 0]
    for tap in range(1, weights.shape[1]):
        total = torch.addcmul(total, padded.narrow(dim, tap, side), weights[:, tap])
    return total


def noise_sheet() -> Tensor:
    """Returns a fixed sheet (256, 256) of white Gaussian noise; each crop takes a window at a drawn position."""
    values: NDArray[np.float64] = np.random.default_rng(Stream.AUGMENTATION).standard_normal((NOISE_SIDE, NOISE_SIDE))
    return torch.from_numpy(values.astype(np.float32))


def noise_windows(sheet: Tensor, rows: Tensor, columns: Tensor, side: int) -> Tensor:
    """Windows (B, 1, S, S) of the sheet from the given corners (B,), wrapping around.

    >>> noise_windows(noise_sheet(), torch.tensor([255, 0]), torch.tensor([0, 0]), side=4).shape
    torch.Size([2, 1, 4, 4])
    """
    around = torch.arange(NOISE_SIDE + side - 1, device=sheet.device) % NOISE_SIDE
    windows = sheet[around][:, around].unfold(0, side, 1).unfold(1, side, 1)  # (256, 256, S, S), one view
    return windows[rows.long(), columns.long()][:, None]


def augment(patches: Tensor, parameters: Tensor, side: int, sheet: Tensor) -> Tensor:
    """Applies drawn parameters to normalised patches, on their device.

    Args:
        patches: Normalised patches (B, 1, P, P).
        parameters: Rows (B, 12) of `Augmentation.draw`.
        side: Side S of the output in px.
        sheet: The sheet of `noise_sheet`, on the same device.

    Returns:
        Crops (B, 1, S, S) in the dtype of the patches; computed in at least float32.
    """
    dtype = patches.dtype
    work = torch.promote_types(dtype, torch.float32)
    values = parameters.to(work)
    images = warp(patches.to(work), values[:, :4].view(-1, 2, 2), values[:, 4:6], side)
    images = gaussian_blur(images, values[:, 11])
    gain, offset, deviation = values[:, 6:9, None, None, None].unbind(1)  # each (B, 1, 1, 1)
    noise = noise_windows(sheet.to(work), values[:, 9], values[:, 10], side).mul_(deviation)
    return images.mul_(gain).add_(offset).add_(noise).to(dtype)
