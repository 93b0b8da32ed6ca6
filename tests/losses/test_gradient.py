"""The gradient of weighted distances, block by block, against autograd."""

import pytest
import torch

from dml_lightning.losses.gradient import PairGradient


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
