"""The gradient of weighted distances, block by block, against autograd."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from dml_lightning.losses.gradient import PairGradient, PairSums, pair_sum


@pytest.mark.parametrize("squared", [False, True])
def test_gradient_against_autograd(squared: bool) -> None:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(9, 5, generator=g, dtype=torch.float64, requires_grad=True)
    y = torch.randn(13, 5, generator=g, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(9, 13, generator=g, dtype=torch.float64)
    values = (x[:, None] - y).square().sum(2)
    values = values if squared else values.sqrt()
    (weights * values).sum().backward()
    gradient = PairGradient(x.detach(), y.detach(), squared)
    for rows in (slice(0, 4), slice(4, 9)):
        gradient.add(rows, weights[rows], values[rows].detach())
    torch.testing.assert_close(gradient.result(), (x.grad, y.grad))


def test_a_pair_at_distance_0_contributes_nothing() -> None:
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0], [4.0, 6.0]])
    gradient = PairGradient(x, y, squared=False)
    gradient.add(slice(0, 1), torch.tensor([[7.0, -10.0]]), torch.tensor([[0.0, 5.0]]))
    torch.testing.assert_close(gradient.result()[0], torch.tensor([[6.0, 8.0]]))
    torch.testing.assert_close(gradient.result()[1], torch.tensor([[0.0, 0.0], [-6.0, -8.0]]))


def squares(x: Tensor, y: Tensor, wanted: bool) -> PairSums:
    gaps = x[:, None] - y
    number = torch.tensor([gaps.numel()])
    return PairSums(gaps.square().sum().double(), number, 2 * gaps.sum(1), -2 * gaps.sum(0))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # PyTorch hides it
def test_a_sum_within_a_compiled_function_stays_as_it_is() -> None:
    def loss(x: Tensor) -> Tensor:
        total, number = pair_sum(2 * x, y, squares)
        return total / number[0] + x.sum()

    g = torch.Generator().manual_seed(3)
    x, y = torch.randn(5, 4, generator=g, requires_grad=True), torch.randn(7, 4, generator=g)
    found = []
    for function in (loss, torch.compile(loss, backend="aot_eager")):
        value = function(x)
        found.append((value.detach(), *torch.autograd.grad(value, x)))
    torch.testing.assert_close(found[1], found[0])
    by_hand = ((2 * x[:, None] - y).square().sum().double() / (5 * 7 * 4) + x.sum()).detach()
    torch.testing.assert_close(found[0][0], by_hand, check_dtype=False)


def test_losses_bring_no_compiler() -> None:
    code = "import sys, dml_lightning.losses; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
