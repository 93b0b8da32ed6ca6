"""Ties, duplicates, blocks and large batches change nothing in what all triplets together give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dml_lightning.losses import functional
from dml_lightning.pairs import distances
from dml_lightning.pairs import order as layout
from tests.losses.triplet_reference import assert_same, cloud, grids, ints, reference


@settings(max_examples=60, deadline=None)
@given(grids(), st.sampled_from([0.5, 1.0, 2.0]), st.booleans(), st.sampled_from(["all", "semihard"]))
def test_ties_duplicates_and_singletons(grid: tuple[Tensor, Tensor], margin: float, squared: bool, mode: str) -> None:
    assert_same(*grid, margin, squared=squared, mining=mode)


@settings(max_examples=30, deadline=None)
@given(grids(), st.sampled_from([1.0, 2.0]))
def test_float32_decides_ties_like_float64(grid: tuple[Tensor, Tensor], margin: float) -> None:
    x, labels = grid
    single = functional.triplet_counts(x.float(), labels, margin, squared=True)
    assert ints(single) == reference(x, labels, margin, squared=True)[1]


@pytest.mark.parametrize("elements", [1, 40, 400])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("direct", [0, 2**20])
def test_blocks_threads_and_products_change_nothing(
    monkeypatch: pytest.MonkeyPatch, elements: int, threads: int, direct: int
) -> None:
    x, labels = cloud(23, classes=4, seed=8)
    twins = x.clone()
    twins[3] = x[11]
    monkeypatch.setitem(layout.SORTED_ELEMENTS, "cpu", elements)
    monkeypatch.setattr(distances, "DIRECT_PAIRS", direct)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_same(twins, labels, 0.4)
        assert_same(x, labels, 0.4, mining="facenet", reduction="mean")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_duplicates_at_any_scale_keep_a_finite_gradient() -> None:
    x, labels = cloud(16, dtype=torch.float32)
    for scale in (1e-20, 1e-8, 1.0, 1e8):
        y = (x * scale).repeat(2, 1).requires_grad_()
        functional.batch_all_triplet(y, labels.repeat(2), 0.2).loss.backward()
        assert y.grad.isfinite().all()


def brute_force(x: Tensor, labels: Tensor, margin: float) -> tuple[float, Tensor]:
    """Loss and counts of all triplets of a large batch, anchor by anchor in float64."""
    x = x.double()
    total, counts = 0.0, torch.zeros(3, dtype=torch.long)
    for a, label in enumerate(labels):
        d = (x - x[a]).square().sum(1).sqrt()
        same = labels == label
        negatives = d[~same]
        same[a] = False
        gap = d[same][:, None] + margin - negatives
        total += gap.clamp_min(0).sum().item()
        counts += torch.stack([torch.tensor(gap.numel()), (gap > 0).sum(), (gap > margin).sum()])
    return total / counts[1].item(), counts


@pytest.mark.parametrize(
    ("centre", "spread", "margin"),
    [(0.0, 1.0, 0.2), (0.1, 0.05, 0.5), (1.0, 1e-4, 2e-5)],
    ids=["untrained", "tight classes", "collapsed"],
)
def test_large_float32_batches_by_product(centre: float, spread: float, margin: float) -> None:
    n, g = 600, torch.Generator().manual_seed(3)
    assert n * n > distances.DIRECT_PAIRS
    labels = torch.randint(0, 8, (n,), generator=g)
    x = spread * torch.randn(n, 16, generator=g) / 4
    x += centre if spread < 1e-3 else centre * torch.randn(8, 16, generator=g)[labels]
    out = functional.batch_all_triplet(x, labels, margin)
    loss, (valid, active, hard) = brute_force(x, labels, margin)
    assert int(out.counts["valid"]) == valid
    assert int(out.counts["active"]) == pytest.approx(int(active), rel=1e-4, abs=20)
    assert int(out.counts["hard"]) == pytest.approx(int(hard), rel=1e-4, abs=20)
    assert float(out.loss) == pytest.approx(loss, rel=2e-4)
