"""Rows of one computation split over the processes of a group, in rank order, or over the threads of one.

Nothing is split over processes unless a caller asks for it by `split_over_ranks=True`: then every process must hold
the same arguments and make the same call, or the others wait for it forever.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from dml_lightning.distributed import gather, rank, world_size

MOST_THREADS = 8  # each holds blocks of its own


def share_of(rows: Tensor, split_over_ranks: bool) -> Tensor:
    """The consecutive part of `rows` (P, ...) that falls to this process; parts differ by at most one row."""
    return torch.tensor_split(rows, world_size())[rank()] if split_over_ranks else rows


def joined(part: Tensor, split_over_ranks: bool) -> Tensor:
    """The parts of all processes, one after the other, on every process."""
    return gather(part) if split_over_ranks else part


def over_threads(work: Callable[[slice], None], rows: int, device: torch.device) -> None:
    """Call `work` with slices that make up all `rows`, one for each of torch's threads on the processor (8 at most).

    Torch splits single operations; between them its idle threads keep spinning, and NumPy's sort beside them is slower
    than alone. Here every thread does a part of the rows from beginning to end. Another thread that uses torch for the
    first time meanwhile gets one thread for good.
    """
    before = torch.get_num_threads()
    threads = min(before, MOST_THREADS, rows)
    if device.type != "cpu" or threads <= 1:
        return work(slice(0, rows))
    inference = torch.is_inference_mode_enabled()  # of this thread only

    def alone(part: slice) -> None:
        torch.set_num_threads(1)
        with torch.inference_mode(inference), torch.no_grad():
            work(part)

    bounds = [rows * i // threads for i in range(threads + 1)]
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(alone, map(slice, bounds, bounds[1:])))  # raises what a thread raised
    finally:
        torch.set_num_threads(before)
