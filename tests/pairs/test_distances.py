import pytest
import torch

from dml_lightning.losses.functional import batch_all_triplet
from dml_lightning.losses.gradient import PairGradient
from dml_lightning.pairs import distances
from dml_lightning.pairs.blocks import full_precision


def unit(n: int, d: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, d, generator=g), dim=1)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_identical_rows_are_at_zero(direct, squared):
    x = unit(40, 128).repeat(3, 1)
    values = distances.distances(x, x, squared, direct)
    same = torch.arange(120) % 40
    assert not values[same[:, None] == same].any()
    assert torch.cdist(x, x)[same[:, None] == same].max() > 1e-5  # what is avoided


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("spread", [1e-6, 1e-3, 0.1, 3.0])
def test_product_is_as_exact_as_subtraction(spread, squared):
    centres = unit(30, 64)
    x = torch.cat([centres, centres + spread * unit(30, 64, seed=1)])
    exact = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    values = distances.product_distances(x, x, squared).double()
    if squared:
        values = values.sqrt()
    torch.testing.assert_close(values, exact, rtol=2e-5, atol=0)


def test_collapsed_rows_fall_back_to_subtraction():
    x = 1 + 1e-5 * unit(50, 16)
    exact = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    for squared in (False, True):
        expected = exact.square() if squared else exact
        values = distances.product_distances(x, x, squared)
        torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=0)


def test_zero_vectors_and_long_rows(monkeypatch):
    x = torch.zeros(4, 8)
    assert not distances.product_distances(x, x, False).any()
    monkeypatch.setattr(distances, "DIRECT_ELEMENTS", 0)
    y = unit(6, 8)
    expected = (y[:, None] - y).square().sum(2)
    torch.testing.assert_close(distances.direct_distances(y, y, True), expected)


def test_reduced_matrix_precision_is_put_aside_and_back():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with full_precision(torch.zeros(1)):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
        x, labels = unit(64, 32), torch.arange(64) % 4
        reduced = batch_all_triplet(x, labels, 0.2).loss
        torch.set_float32_matmul_precision("highest")
        assert reduced == batch_all_triplet(x, labels, 0.2).loss
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("backend", [torch.backends.mkldnn.matmul, torch.backends.cuda.matmul])
def test_reduced_precision_of_one_backend_is_put_aside_and_back(backend):
    before = backend.fp32_precision
    backend.fp32_precision = "tf32" if backend is torch.backends.cuda.matmul else "bf16"
    given = backend.fp32_precision
    try:
        with pytest.raises(RuntimeError):
            torch.get_float32_matmul_precision()
        with full_precision(torch.zeros(1)):
            assert backend.fp32_precision == "ieee"
        assert backend.fp32_precision == given
    finally:
        backend.fp32_precision = before


@pytest.mark.parametrize("squared", [False, True])
def test_gradient_against_autograd(squared):
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
