"""Distances between rows, in blocks, exact where a matrix product would not be.

B anchors, N references, D embedding size.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

DIRECT_PAIRS = 2**20  # up to here every pair is subtracted; beyond, a matrix product does the bulk
CLOSE = 2**-8  # pairs nearer than this share of |a|² + |r|² lose digits in a matrix product


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """No autocast, and no TF32 or bfloat16 inside float32 products: they cost distances 3 digits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(tensor.device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def wide(tensor: Tensor) -> Tensor:
    """float32 or wider: half precisions are raised, float64 stays."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def direct_distances(anchors: Tensor, references: Tensor) -> Tensor:
    """Euclidean distances (B, N) from differences: identical rows are at exactly 0."""
    return torch.cdist(anchors, references, compute_mode="donot_use_mm_for_euclid_dist")


def product_distances(anchors: Tensor, references: Tensor) -> Tensor:
    """Euclidean distances (B, N) by a matrix product, with the close pairs subtracted instead.

    The error of |a|² + |r|² − 2 a·r is a few roundings of |a|² + |r|², which is all there is of a
    small distance: identical float32 rows would come out up to 1e-3 apart.
    """
    scale = anchors.square().sum(1, keepdim=True) + references.square().sum(1)  # (B, N)
    squares = torch.addmm(scale, anchors, references.T, alpha=-2)
    close = squares <= CLOSE * scale
    number = int(close.sum())
    if number > close.numel() // 16:
        return direct_distances(anchors, references)
    distances = squares.clamp_min_(0).sqrt_()
    if number:
        rows, columns = close.nonzero(as_tuple=True)
        distances[rows, columns] = torch.linalg.vector_norm(anchors[rows] - references[columns], dim=1)
    return distances


def distances(anchors: Tensor, references: Tensor, direct: bool) -> Tensor:
    """Euclidean distances (B, N), from differences or by a matrix product with care."""
    return (direct_distances if direct else product_distances)(anchors, references)


def pull_back(
    weights: Tensor, values: Tensor, anchors: Tensor, references: Tensor, squared: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of a function of distances with respect to the rows.

    Args:
        weights: (B, N) derivative with respect to each distance (squared distance if `squared`);
            overwritten.
        values: (B, N) the Euclidean distances.
        anchors: (B, D).
        references: (N, D).
        squared: whether `weights` belong to squared distances.

    Returns:
        (B, D) and (N, D). A pair at distance 0 contributes nothing.
    """
    if squared:
        weights.mul_(2)
    else:
        weights.div_(values).masked_fill_(values == 0, 0)
    towards = weights.sum(1, keepdim=True) * anchors - weights @ references
    back = weights.sum(0).unsqueeze(1) * references - weights.T @ anchors
    return towards, back
