"""Detectors as plain arrays, and answers in kind: a tensor for a tensor, an array for an array."""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = TypeVar("Array", Tensor, NDArray[Any])
ArrayState = dict[str, NDArray[Any]]


def like(result: Tensor, example: Array) -> Array:
    """`result` as a tensor or as an array, whichever `example` is."""
    if isinstance(example, Tensor):
        return result
    return result.cpu().numpy()


def beside(values: NDArray[np.float64], vectors: Tensor) -> Tensor:
    """`values` as a tensor on the device of `vectors`."""
    return torch.from_numpy(values).to(vectors.device)


def nested(prefix: str, state: ArrayState) -> ArrayState:
    """A part's state under names that begin with `prefix.`."""
    return {f"{prefix}.{name}": np.asarray(value) for name, value in state.items()}


def unnested(prefix: str, state: Mapping[str, NDArray[Any]]) -> ArrayState:
    """What `nested` put under `prefix`."""
    start = prefix + "."
    return {name.removeprefix(start): state[name] for name in state if name.startswith(start)}
