"""Ordering distances through integer keys: exact, in whole rows at a time, ties at random.

Non-negative float32 numbers order as their bits do, read as an integer. The sign bit is free, so 32 bits hold a
distance and, in the lowest, one more fact. Where that is not enough, 64 bits hold them with random bits between.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LAST = torch.iinfo(torch.int64).max  # behind every key
WORTH_A_THREAD = 1 << 17  # keys; fewer are sorted sooner than a thread starts
LOW_BITS = 0xFFFFFFFE  # of the lower half of a wide key, all but the lowest


def narrow_keys(squared: Tensor) -> Tensor:
    """Even int32 keys (rows, M) that order as `squared` distances (rows, M) float32, in their place."""
    bits = squared.view(torch.int32)  # from 0 to that of infinity, below 2**31
    least = torch.tensor(-(2**31), dtype=torch.int32, device=bits.device)
    return torch.add(least, bits, alpha=2, out=bits)  # wraps around into the whole range


def wide_keys(keys: Tensor, ties: Tensor) -> Tensor:
    """Int64 keys (rows, M) that order as narrow `keys` do, but equal distances by `ties` (rows, M).

    The lowest bit of `keys` stays the lowest, and decides nothing unless `ties` are equal too.

    Args:
        keys: int32.
        ties: int64, of which the lower 32 bits but the lowest count.
    """
    return ((keys.long() >> 1) << 32) + (ties & LOW_BITS) + (keys & 1)


def smallest(keys: Tensor, count: int) -> Tensor:
    """The `count` smallest integer keys of each row, ascending."""
    if keys.device.type != "cpu":
        return keys.sort(dim=1).values[:, :count]
    # On the processor torch.sort takes 50 times as long as NumPy's vectorised partition and sort.
    threads = torch.get_num_threads() if keys.numel() > WORTH_A_THREAD else 1
    parts = [part.numpy() for part in keys.chunk(threads)]
    if len(parts) == 1:
        return torch.from_numpy(_smallest(parts[0], count))
    with ThreadPoolExecutor(len(parts)) as pool:  # NumPy lets go of the interpreter lock
        return torch.from_numpy(np.concatenate(list(pool.map(_smallest, parts, repeat(count)))))


def _smallest(keys: NDArray[Any], count: int) -> NDArray[Any]:
    first = np.partition(keys, count - 1, axis=1)[:, :count]
    first.sort()
    return first
