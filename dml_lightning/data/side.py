"""Side inputs: what cutting and normalising take away from a crop, carried beside its pixels in physical units.

Letters: B crops of a batch, N crops, n side inputs.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.data.geometry import Boxes, box_inputs
from dml_lightning.data.normalisation import Normalisation

SideInput = Literal["width", "height", "width_m", "height_m", "contrast"]
SIDE_INPUTS: tuple[SideInput, ...] = get_args(SideInput)  # the order in which a crop carries them
DRAWN = {"width": 0, "height": 1, "width_m": 0, "height_m": 1, "contrast": 2}  # column of `Augmentation.draw_side`
METRIC = ("width_m", "height_m")  # those that need the ground sampling distance


def ordered(names: Sequence[SideInput], normalisation: Normalisation) -> tuple[SideInput, ...]:
    """Names of side inputs in the order of `SIDE_INPUTS`.

    >>> ordered(["contrast", "width"], "crop")
    ('width', 'contrast')

    Raises:
        ValueError: A name is unknown or occurs twice, or the contrast is asked for where it is the same for all crops.
    """
    if len(set(names)) < len(names) or not set(names) <= set(SIDE_INPUTS):
        raise ValueError(f"side_inputs are {list(names)}; choose among {', '.join(SIDE_INPUTS)}, each once.")
    if "contrast" in names and normalisation == "window":
        raise ValueError(
            "the side input 'contrast' is one number for all crops under normalisation 'window', whose pixels show it: "
            "leave it out, or normalise by 'crop' or 'frame'."
        )
    return tuple(name for name in SIDE_INPUTS if name in names)


def side_inputs(
    boxes: Boxes,
    statistics: NDArray[np.float32],
    names: Sequence[SideInput],
    gsd: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Side inputs (N, n) of crops, in px, m, and counts or K.

    >>> side_inputs(np.array([[10.0, 20.0, 8.0, 4.0]]), np.array([[29000, 150]], np.float32), ["width", "contrast"])
    array([[  8., 150.]], dtype=float32)

    Args:
        boxes: (N, 4) in px.
        statistics: Location and scale (N, 2).
        names: Names in the order of `SIDE_INPUTS`.
        gsd: Ground sampling distance (N,) in m per px, for sizes in metres.
    """
    contrast = statistics[:, 1:] if "contrast" in names else statistics[:, :0]
    return np.concatenate([box_inputs(boxes, names, np.nan if gsd is None else gsd), contrast], axis=1)


def augmented(side: Tensor, names: Sequence[SideInput], parameters: Tensor, factors: Tensor) -> Tensor:
    """Side inputs (B, n) of crops after augmentation: a crop that is enlarged shows a larger box.

    Args:
        side: Side inputs (B, n) before.
        names: Their names.
        parameters: Rows (B, 12) of `Augmentation.draw`, by which the pixels are enlarged and gain contrast.
        factors: Rows (B, 3) of `Augmentation.draw_side`.
    """
    a, b, c, d = parameters[:, :4].unbind(1)
    size = (a * d - b * c).abs().rsqrt()  # (B,), since the matrix leads from output to input positions
    by_pixels = torch.stack([size, size, parameters[:, 6].abs()], dim=1)  # (B, 3)
    return side * (by_pixels * factors)[:, [DRAWN[name] for name in names]]
