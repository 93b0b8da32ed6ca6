"""Arrays, or tensors where there are any, and blocks of their rows: what needs no PyTorch."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Union, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Vectors = Union["Tensor", NDArray[Any]]
TILE_ELEMENTS = 1 << 19  # float64 numbers of a tile, 4 MiB: near the cache


def to_numpy(values: Vectors) -> NDArray[Any]:
    """Return a tensor on any device, or an array, as a NumPy array; half precisions become float32.

    Example:
        >>> import torch
        >>> to_numpy(torch.tensor([1.0, 2.0]))
        array([1., 2.], dtype=float32)
    """
    torch = sys.modules.get("torch")  # without it there is no tensor
    if torch is None or not isinstance(values, torch.Tensor):
        return np.asarray(values)
    tensor = cast("Tensor", values)
    if tensor.is_floating_point() and tensor.itemsize < 4:
        tensor = tensor.float()  # NumPy has no bfloat16
    return tensor.detach().cpu().numpy()


def row_blocks(rows: int, columns: int, elements: int = TILE_ELEMENTS) -> Iterator[slice]:
    """Yield slices that make up `rows` rows, each a block of at most `elements` numbers or of a single row.

    Args:
        rows: Number of rows.
        columns: Numbers in a row.
        elements: Most numbers in a block.

    Example:
        >>> list(row_blocks(5, columns=10, elements=20))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, elements // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
