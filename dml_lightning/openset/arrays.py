"""Conversion between tensors and arrays, and states of detectors as named arrays."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", "Tensor", NDArray[Any])
ArrayState = dict[str, NDArray[Any]]


def like(result: "Tensor", example: Array) -> Array:
    """`result` as a tensor or as an array, whichever `example` is.

    Example:
        >>> import torch
        >>> like(torch.tensor([1, 2]), np.empty(0))
        array([1, 2])
    """
    if isinstance(example, np.ndarray):
        return result.cpu().numpy()
    return result


def beside(values: NDArray[np.float64], vectors: "Tensor") -> "Tensor":
    """`values` as a tensor on the device of `vectors`."""
    import torch  # which is there, since `vectors` are

    return torch.from_numpy(values).to(vectors.device)


def nested(prefix: str, state: ArrayState) -> ArrayState:
    """The arrays of `state`, each under its name with `prefix.` in front.

    Example:
        >>> nested("prior", {"ratio": np.array(2.0)})
        {'prior.ratio': array(2.)}
    """
    return {f"{prefix}.{name}": np.asarray(value) for name, value in state.items()}


def unnested(prefix: str, state: Mapping[str, NDArray[Any]]) -> ArrayState:
    """The arrays that `nested` put under `prefix`, by their own names.

    Example:
        >>> unnested("prior", {"prior.ratio": np.array(2.0), "version": np.array(1)})
        {'ratio': array(2.)}
    """
    start = prefix + "."
    return {name.removeprefix(start): state[name] for name in state if name.startswith(start)}
