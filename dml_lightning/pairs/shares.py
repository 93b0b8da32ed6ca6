"""Rows of one computation, split over the processes of a group or over the threads of one process.

Nothing is split over processes unless a caller passes `split_over_ranks=True`: then every process must make the same
call with the same arguments, or the others wait for it forever.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from dml_lightning.distributed import gather, rank, world_size

MOST_THREADS = 8  # each needs memory for blocks of its own
Piece = TypeVar("Piece")
Result = TypeVar("Result")


def share_of(rows: Tensor, split_over_ranks: bool) -> Tensor:
    """The consecutive part of `rows` (P, ...) that this process computes, all of them unless `split_over_ranks`.

    Parts differ by at most one row.

    Example:
        >>> share_of(torch.arange(3), split_over_ranks=True)  # in a single process
        tensor([0, 1, 2])
    """
    return torch.tensor_split(rows, world_size())[rank()] if split_over_ranks else rows


def joined(part: Tensor, split_over_ranks: bool) -> Tensor:
    """The parts (P_r, ...) of all processes, in rank order, on each; `part` itself unless `split_over_ranks`."""
    return gather(part) if split_over_ranks else part


def over_threads(
    work: Callable[[Piece], Result], split: Callable[[int], Sequence[Piece]], device: torch.device
) -> list[Result]:
    """Call `work` on each part and return the results in order; on the CPU, one part per torch thread (8 at most).

    Torch itself splits single operations; between them its idle threads keep spinning, which slows NumPy's sort down.
    Here every thread does its part from beginning to end. A thread elsewhere that uses torch for the first time in the
    meantime stays limited to one thread.

    Args:
        work: Function of one part.
        split: Function that returns at most as many parts as it is asked for.
        device: Device of the data; an accelerator gets one part.

    Example:
        >>> sum(over_threads(lambda part: sum(range(10)[part]), lambda parts: slices(10, parts), torch.device("cpu")))
        45
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
    """At most `parts` consecutive slices of nearly equal length of `rows` rows; none is empty if there is a row.

    Example:
        >>> slices(5, 2)
        [slice(0, 2, None), slice(2, 5, None)]
    """
    parts = max(1, min(parts, rows))
    bounds = [rows * part // parts for part in range(parts + 1)]
    return [slice(*ends) for ends in pairwise(bounds)]
