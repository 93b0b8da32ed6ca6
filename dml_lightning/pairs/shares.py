"""Rows of one computation split over the processes of a group, in rank order, or over the threads of one.

Nothing is split over processes unless a caller asks for it by `split_over_ranks=True`: then every process must hold
the same arguments and make the same call, or the others wait for it forever.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from dml_lightning.distributed import gather, rank, world_size

MOST_THREADS = 8  # each holds blocks of its own
Piece = TypeVar("Piece")
Result = TypeVar("Result")


def share_of(rows: Tensor, split_over_ranks: bool) -> Tensor:
    """The consecutive part of `rows` (P, ...) that falls to this process; parts differ by at most one row."""
    return torch.tensor_split(rows, world_size())[rank()] if split_over_ranks else rows


def joined(part: Tensor, split_over_ranks: bool) -> Tensor:
    """The parts of all processes, one after the other, on every process."""
    return gather(part) if split_over_ranks else part


def over_threads(
    work: Callable[[Piece], Result], split: Callable[[int], Sequence[Piece]], device: torch.device
) -> list[Result]:
    """Results of `work` on each part, in order: on the processor a part for each of torch's threads (8 at most).

    Torch splits single operations; between them its idle threads keep spinning, and NumPy's sort beside them is slower
    than alone. Here every thread does its part from beginning to end. Another thread that uses torch for the first time
    meanwhile gets one thread for good.

    Args:
        work: Called once a part.
        split: Gives that many parts, or fewer.
        device: Of the data; an accelerator gets one part.
    """
    before = torch.get_num_threads()
    parts = split(min(before, MOST_THREADS) if device.type == "cpu" else 1)
    if len(parts) <= 1:
        return [work(part) for part in parts]
    inference = torch.is_inference_mode_enabled()  # of this thread only

    def alone(part: Piece) -> Result:
        torch.set_num_threads(1)
        with torch.inference_mode(inference), torch.no_grad():
            return work(part)

    try:
        with ThreadPoolExecutor(len(parts)) as pool:
            return list(pool.map(alone, parts))  # raises what a thread raised
    finally:
        torch.set_num_threads(before)


def slices(rows: int, parts: int) -> list[slice]:
    """Consecutive slices of nearly equal length that make up all rows; none is empty unless there are no rows.

    >>> slices(5, 2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    parts = max(1, min(parts, rows))
    bounds = [rows * part // parts for part in range(parts + 1)]
    return [slice(*ends) for ends in pairwise(bounds)]
