"""Rows of one computation split over the processes of a group, in rank order.

Nothing here happens unless a caller asks for it by `split_over_ranks=True`: then every process must hold the same
arguments and make the same call, or the others wait for it forever.
"""

import torch
from torch import Tensor

from dml_lightning.distributed import gather, rank, world_size


def share_of(rows: Tensor, split_over_ranks: bool) -> Tensor:
    """The consecutive part of `rows` (P, ...) that falls to this process; parts differ by at most one row."""
    return torch.tensor_split(rows, world_size())[rank()] if split_over_ranks else rows


def joined(part: Tensor, split_over_ranks: bool) -> Tensor:
    """The parts of all processes, one after the other, on every process."""
    return gather(part) if split_over_ranks else part
