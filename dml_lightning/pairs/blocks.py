"""Checked inputs, blocks of rows and full-precision products, which all computations over pairs of rows share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dml_lightning.pairs.arrays import TILE_ELEMENTS as TILE_ELEMENTS
from dml_lightning.pairs.arrays import Vectors as Vectors
from dml_lightning.pairs.arrays import row_blocks as row_blocks
from dml_lightning.pairs.arrays import to_numpy as to_numpy


def as_vectors(values: Vectors, name: str = "embeddings") -> Tensor:
    """Check that `values` are finite vectors, one per row, and return them as a detached (N, D) tensor.

    Raises:
        ValueError: If the shape is not (N, D), or an entry is NaN or infinite.

    Example:
        >>> as_vectors(np.array([[3, 4]]))
        tensor([[3., 4.]], dtype=torch.float64)
    """
    vectors = as_rows(values, name)
    check_finite(vectors, name)
    return vectors


def as_rows(values: Vectors, name: str = "embeddings") -> Tensor:
    """Return vectors as `as_vectors` does, which may hold NaN or infinity.

    Raises:
        ValueError: If the shape is not (N, D).

    Example:
        >>> as_rows(np.array([[3, np.nan]]))
        tensor([[3., nan]], dtype=torch.float64)
    """
    vectors = torch.as_tensor(values).detach()
    if vectors.ndim != 2:
        raise ValueError(f"{name} must have shape (N, D), one row each, got {tuple(vectors.shape)}.")
    if not vectors.is_floating_point():
        vectors = vectors.double()
    if vectors.itemsize < 4:
        vectors = vectors.float()  # half precision has no NumPy form, and too few digits for distances
    return vectors


def check_finite(vectors: Tensor, name: str = "embeddings") -> None:
    """Refuse vectors (N, D) that hold NaN or infinity.

    Raises:
        ValueError: Names the first such row.

    Example:
        >>> check_finite(torch.zeros(2, 8))
    """
    vectors = vectors.detach()
    if not bool(torch.isfinite(vectors.sum())):  # 20 times as fast as a test of each entry; the sum may overflow
        finite = torch.isfinite(vectors).all(dim=1)
        for row in torch.nonzero(~finite)[:1, 0].tolist():
            raise ValueError(f"{name} must be finite, but row {row} holds NaN or infinity.")


def as_labels(values: Vectors, like: Tensor, name: str = "labels", kind: str = "label") -> Tensor:
    """Check that there is one integer per row of `like` and return them as int64 on its device.

    Args:
        values: Integers (N,).
        like: Tensor (N, ...) with a row for each of them.
        name: Name of the argument in error messages.
        kind: Name of one integer in error messages.

    Raises:
        ValueError: If there is not one per row, or they are not integers.

    Example:
        >>> as_labels(np.array([2, 0]), like=torch.zeros(2, 8))
        tensor([2, 0])
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "USO":
        raise ValueError(
            f"{name} must be integers, got {values.dtype}: np.unique({name}, return_inverse=True)[1] numbers names."
        )
    labels = torch.as_tensor(values)
    if labels.shape != like.shape[:1]:
        raise ValueError(f"{name} must hold one {kind} per row, shape ({len(like)},), got {tuple(labels.shape)}.")
    check_integers(labels, name)
    return labels.to(like.device, torch.int64)


def check_integers(values: Tensor, name: str = "labels") -> None:
    """Refuse floats, which may be no numbers of classes, and booleans, which are more often a mask than two classes.

    Raises:
        ValueError: With the type that came.

    Example:
        >>> check_integers(torch.tensor([0, 2]))
    """
    if values.dtype == torch.bool or values.is_floating_point() or values.is_complex():
        raise ValueError(f"{name} must be integers, got {values.dtype}.")


def check_widths(queries: Tensor, references: Tensor) -> None:
    """Refuse queries (Q, D) and references (M, D) that differ in D.

    Raises:
        ValueError: If the embedding sizes differ.

    Example:
        >>> check_widths(torch.zeros(2, 8), torch.zeros(5, 8))
    """
    if queries.shape[1] != references.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} dimensions and references {references.shape[1]}: "
            "embed both with the same encoder."
        )


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """Switch off autocast, and TF32 and bfloat16 inside float32 products, which cost distances 3 digits."""
    with _exact_products(), torch.autocast(tensor.device.type, enabled=False):
        yield


@contextmanager
def _exact_products() -> Iterator[None]:
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # one backend has a precision of its own, and torch then refuses to read the common one
        with _exact_backends():
            yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _exact_backends() -> Iterator[None]:
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
    before = [each.fp32_precision for each in backends]
    try:
        for each in backends:
            each.fp32_precision = "ieee"
        yield
    finally:
        for each, precision in zip(backends, before, strict=True):
            each.fp32_precision = precision


def wide(tensor: Tensor) -> Tensor:
    """Return the tensor in float32 or wider: half precisions become float32, float64 stays.

    Example:
        >>> wide(torch.ones(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return tensor if tensor.dtype == torch.float64 else tensor.float()
