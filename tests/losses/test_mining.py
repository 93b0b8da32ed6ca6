"""Every way to choose triplets, against its definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dml_lightning.losses import functional
from tests.losses.triplet_reference import MODES, assert_same, cloud, grids, ints


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("reduction", functional.REDUCTIONS)
@pytest.mark.parametrize(("mode", "soft"), MODES)
def test_every_mode_against_the_definition(mode: str, soft: bool, reduction: str, squared: bool) -> None:
    for seed in range(3):
        x, labels = cloud(10, seed=seed)
        rule = {"mining": mode, "soft": soft, "reduction": reduction, "squared": squared}
        assert_same(x, labels, 0.7, **rule)


@settings(max_examples=60, deadline=None)
@given(grids(), st.booleans(), st.sampled_from(MODES), st.sampled_from(functional.REDUCTIONS))
def test_ties_leave_the_value_of_every_mode(
    grid: tuple[Tensor, Tensor], squared: bool, mode: tuple[str, bool], reduction: str
) -> None:
    rule = {"mining": mode[0], "soft": mode[1], "reduction": reduction, "squared": squared}
    assert_same(*grid, 1.0, gradient=False, **rule)


@pytest.mark.parametrize(("mode", "soft"), MODES)
def test_gradcheck(mode: str, soft: bool) -> None:
    x, labels = cloud(7, seed=3)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: functional.triplet_loss(e, labels, 0.9, mining=mode, soft=soft).loss, x)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(("mode", "soft"), MODES)
def test_collapse_costs_the_margin_without_nan(mode: str, soft: bool, squared: bool) -> None:
    x = torch.ones(12, 5, requires_grad=True)
    labels = torch.arange(12) % 3
    out = functional.triplet_loss(x, labels, 0.3, mining=mode, soft=soft, squared=squared)
    out.loss.backward()
    expected = torch.tensor(2.0).log() if soft else torch.tensor(0.3)
    torch.testing.assert_close(out.loss, expected)
    assert not x.grad.any()
    counts = ints(out.counts)
    assert counts["active"] == counts["valid"] == counts["semihard"]
