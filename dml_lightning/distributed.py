"""Rank, world size, and collectives whose gradients are those of a single process.

One convention throughout: every rank computes its own share of the global loss, the backward of a
gather *sums* what all ranks send back, and DistributedDataParallel averages parameter gradients.
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def _initialised() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, from 0; 0 when nothing is distributed.

    Example:
        >>> rank()  # in a single process
        0
    """
    return dist.get_rank() if _initialised() else 0


def world_size() -> int:
    """Number of processes that train together; 1 when nothing is distributed.

    Example:
        >>> world_size()  # in a single process
        1
    """
    return dist.get_world_size() if _initialised() else 1


def sizes(tensor: Tensor) -> list[int]:
    """Numbers of rows that the ranks hold, in rank order; they may differ.

    Example:
        >>> sizes(torch.zeros(3, 8))  # in a single process
        [3]
    """
    if world_size() == 1:
        return [len(tensor)]
    own = torch.tensor([len(tensor)], device=tensor.device)
    every = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(every, own)
    return torch.cat(every).tolist()


def gather(tensor: Tensor, rows: list[int] | None = None) -> Tensor:
    """Concatenate the rows of all ranks, in rank order, without a gradient.

    Args:
        tensor: Rows (B_r, ...) of this rank; B_r may differ between ranks, the rest may not.
        rows: Result of `sizes(tensor)` if it is known, which saves a collective.

    Returns:
        (sum of B_r, ...), the same on every rank.

    Example:
        >>> gather(torch.tensor([1, 2]))  # in a single process
        tensor([1, 2])
    """
    if world_size() == 1:
        return tensor.detach()
    rows = sizes(tensor) if rows is None else rows
    padded = tensor.new_zeros((max(rows), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor.detach()
    every = [torch.empty_like(padded) for _ in rows]
    dist.all_gather(every, padded)
    return torch.cat([part[:n] for part, n in zip(every, rows, strict=True)])


class _Gather(torch.autograd.Function):
    """The gather whose backward sums the gradients of all ranks and returns the rows of this one."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rows: list[int]) -> Tensor:
        ctx.start, ctx.count = sum(rows[: rank()]), rows[rank()]
        return gather(tensor, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[ctx.start : ctx.start + ctx.count], None


def gather_with_grad(tensor: Tensor, rows: list[int] | None = None) -> Tensor:
    """Concatenate the rows of all ranks, in rank order; the backward sums gradients over ranks.

    Every rank must call it, and every rank must run the backward.

    Args:
        tensor: Rows (B_r, ...) of this rank; B_r may differ between ranks.
        rows: Result of `sizes(tensor)` if it is known, which saves a collective.

    Returns:
        (sum of B_r, ...), the same on every rank; the input itself in a single process.
    """
    if world_size() == 1:
        return tensor
    rows = sizes(tensor) if rows is None else rows
    return _Gather.apply(tensor, rows)  # type: ignore[no-any-return]


class GlobalBatch(NamedTuple):
    """The batches of all ranks, in rank order."""

    embeddings: Tensor  # (sum of B_r, D), with the gradient of `gather_with_grad`
    labels: Tensor  # (sum of B_r,)
    offset: int  # position of this rank's first row


def global_batch(embeddings: Tensor, labels: Tensor) -> GlobalBatch:
    """Gather embeddings (B_r, D) and labels (B_r,); ranks may hold different numbers of rows.

    Example:
        >>> batch = global_batch(torch.zeros(3, 8), torch.tensor([0, 0, 1]))  # in a single process
        >>> batch.embeddings.shape, batch.offset
        (torch.Size([3, 8]), 0)
    """
    rows = sizes(embeddings)
    return GlobalBatch(gather_with_grad(embeddings, rows), gather(labels, rows), sum(rows[: rank()]))


def without_copies(index: Tensor) -> Tensor:
    """Positions (M,) that hold each number of `index` (N,) once, the first of equal ones, by ascending number.

    Ranks need equally many batches and pad with copies of crops, which share the crop's index.

    Example:
        >>> without_copies(torch.tensor([3, 1, 3, 0]))
        tensor([3, 1, 0])
    """
    ordered, rows = torch.sort(index, stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return rows[first]


def all_sum(tensor: Tensor) -> Tensor:
    """Sum of tensors of one shape over ranks, without a gradient.

    Example:
        >>> all_sum(torch.tensor([1, 2]))  # in a single process
        tensor([1, 2])
    """
    total = tensor.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def global_mean(total: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean over the ranks' shares: sum of totals over sum of counts; 0 where nothing was counted.

    The value is the single-process value on every rank. The gradient is that of
    world size × total / (sum of counts), which averaging over ranks turns into the single-process
    gradient when what the ranks share was gathered by `gather_with_grad`.

    Args:
        total: Sum () of this rank, with a gradient.
        count: Count or sum of weights () of this rank; None leaves the global sum undivided.

    Example:
        >>> global_mean(torch.tensor(6.0), torch.tensor(3))  # in a single process
        tensor(2.)
    """
    share = torch.ones_like(total) if count is None else all_sum(count.to(total.dtype))
    share = torch.where(share > 0, share, 1)
    if world_size() == 1:
        return total / share
    local = total * (world_size() / share)
    return local + (all_sum(total) / share - local).detach()


def whole(tensor: Tensor) -> Tensor:
    """Return a sharded tensor of parameters whole, any other as it is; every rank must call it for a sharded one."""
    from torch.distributed.tensor import DTensor  # takes half a second

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
