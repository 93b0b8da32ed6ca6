"""Sums over pairs of rows with their gradient in one pass, block by block.

B anchors, N references, D embedding size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dml_lightning.pairs.blocks import full_precision


class PairGradient:
    """Gradient of a function of distances with respect to the rows, block by block.

    Args:
        anchors: Embeddings (B, D).
        references: Embeddings (N, D).
        squared: Whether the function is one of squared distances.

    Example:
        >>> x, y = torch.tensor([[0.0]]), torch.tensor([[3.0]])
        >>> gradient = PairGradient(x, y, squared=True)  # of 1 * |x - y|^2
        >>> gradient.add(slice(0, 1), weights=torch.ones(1, 1), values=torch.tensor([[9.0]]))
        >>> gradient.result()
        (tensor([[-6.]]), tensor([[6.]]))
    """

    def __init__(self, anchors: Tensor, references: Tensor, squared: bool) -> None:
        centre = references.mean(0)  # leaves differences as they are, and nearly equal rows keep their digits
        self.anchors, self.references = anchors - centre, references - centre
        self.squared = squared
        self.to_anchors = torch.zeros_like(anchors)
        self.to_references = torch.zeros_like(references)
        self.pull = references.new_zeros(len(references), 1)  # factor on each reference in its own gradient

    def add(self, rows: slice, weights: Tensor, values: Tensor) -> None:
        """Add the pairs of some anchors.

        Args:
            rows: Slice of the anchors, b of them.
            weights: Derivative (b, N) with respect to each (squared) distance.
            values: The (squared) distances (b, N); a pair at distance 0 contributes nothing.
        """
        if self.squared:
            weights = 2 * weights
        else:  # a sign of 0 is 0; comparisons take four times as long
            weights = values.sign().mul_(weights).div_(values.clamp_min(torch.finfo(values.dtype).tiny))
        anchors = self.anchors[rows]
        self.to_anchors[rows] = weights.sum(1, keepdim=True) * anchors - weights @ self.references
        self.to_references.addmm_(weights.T, anchors, alpha=-1)
        self.pull += weights.sum(0).unsqueeze(1)

    def result(self) -> tuple[Tensor, Tensor]:
        """Gradients with respect to the anchors (B, D) and the references (N, D)."""
        return self.to_anchors, self.to_references + self.pull * self.references


class PairSums(NamedTuple):
    """A sum over pairs or triplets of rows, with its gradient."""

    total: Tensor  # () float64
    numbers: Tensor  # (k,) int64, counts
    to_anchors: Tensor  # (B, D) gradient of the total
    to_references: Tensor  # (N, D)


class _PairSum(torch.autograd.Function):
    """Value and gradient in one pass; nothing of size B × N is kept for the backward."""

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, references: Tensor, compute: Callable[[Tensor, Tensor, bool], PairSums]
    ) -> tuple[Tensor, Tensor]:
        wanted = any(ctx.needs_input_grad[:2])
        with full_precision(anchors):
            sums = compute(anchors.detach(), references.detach(), wanted)
        if wanted:
            ctx.save_for_backward(sums.to_anchors, sums.to_references)
        ctx.mark_non_differentiable(sums.numbers)
        return sums.total, sums.numbers

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:
        if torch.is_grad_enabled():  # the gradient was computed in the forward, without a graph
            raise RuntimeError("this loss has no second derivative: drop create_graph=True")
        to_anchors, to_references = ctx.saved_tensors
        return to_anchors * gradient, to_references * gradient, None


def pair_sum(
    anchors: Tensor, references: Tensor, compute: Callable[[Tensor, Tensor, bool], PairSums]
) -> tuple[Tensor, Tensor]:
    """Differentiable total () float64 and numbers (k,) of `compute(anchors, references, wanted)`.

    Args:
        anchors: Embeddings (B, D).
        references: Embeddings (N, D).
        compute: Function that returns the sums; its argument `wanted` is whether the gradients will be used.

    Example:
        >>> def squares(x, y, wanted):  # of differences
        ...     gap = x - y
        ...     return PairSums(gap.square().sum().double(), torch.tensor([len(gap)]), 2 * gap, -2 * gap)
        >>> x = torch.tensor([[3.0]], requires_grad=True)
        >>> total, numbers = pair_sum(x, torch.tensor([[1.0]]), squares)
        >>> total.backward()
        >>> total.item(), numbers, x.grad
        (4.0, tensor([1]), tensor([[4.]]))
    """
    apply = _PairSum.apply
    if torch.compiler.is_compiling():  # it takes three seconds to import, and need not see this
        apply = torch.compiler.disable(apply)  # type: ignore[no-untyped-call]
    return apply(anchors, references, compute)  # type: ignore[no-any-return]
