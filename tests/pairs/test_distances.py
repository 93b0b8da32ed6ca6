"""Distances that are exact where a product of matrices is not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dml_lightning.pairs import distances
from tests.pairs.rows import unit


def by_product(x: Tensor, squared: bool, centre: Tensor | None = None) -> Tensor:
    return distances.product_distances(x, distances.centred(x, x.mean(0) if centre is None else centre), squared)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("measure", [by_product, lambda x, squared: distances.direct_distances(x, x, squared)])
def test_identical_rows_are_at_zero(measure: Callable[[Tensor, bool], Tensor], squared: bool) -> None:
    x = unit(40, 128).repeat(3, 1)
    values = measure(x, squared)
    same = torch.arange(120) % 40
    assert not values[same[:, None] == same].any()
    assert torch.cdist(x, x)[same[:, None] == same].max() > 1e-5  # what is avoided


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("spread", [1e-6, 1e-3, 0.1, 3.0])
def test_product_is_as_exact_as_subtraction(spread: float, squared: bool) -> None:
    centres = unit(30, 64)
    x = torch.cat([centres, centres + spread * unit(30, 64, seed=1)])
    exact = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    for centre in (x.mean(0), torch.zeros(64), x[3]):
        values = by_product(x, squared, centre).double()
        torch.testing.assert_close(values.sqrt() if squared else values, exact, rtol=2e-5, atol=0)


def test_collapsed_rows_fall_back_to_subtraction() -> None:
    x = 1 + 1e-5 * unit(50, 16)
    exact = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    for squared in (False, True):
        expected = exact.square() if squared else exact
        values = by_product(x, squared)
        torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=0)


def test_zero_vectors_and_long_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(4, 8)
    assert not by_product(x, False).any()
    monkeypatch.setattr(distances, "DIRECT_ELEMENTS", 0)
    y = unit(6, 8)
    expected = (y[:, None] - y).square().sum(2)
    torch.testing.assert_close(distances.direct_distances(y, y, True), expected)


def test_distances_to_few_points_are_exact() -> None:
    points = torch.randn(30, 64)
    values = distances.distances_to(points, points.double())
    assert values.diagonal().eq(0).all()
    assert values[2, 5] == pytest.approx(float((points[2] - points[5]).double().norm()), rel=1e-6)
