import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer, SumReducer

from dml_lightning.losses import engine, functional, mining
from dml_lightning.pairs import order as layout
from tests.losses.triplet_reference import reference

MODES = [(m, soft) for m in mining.MININGS for soft in (False, True)]
REDUCTIONS = {"active": AvgNonZeroReducer, "mean": MeanReducer, "sum": SumReducer}


def cloud(n: int, dim: int = 4, classes: int = 3, seed: int = 0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=g, dtype=dtype)
    return x, torch.randint(0, classes, (n,), generator=g)


def ints(counts) -> dict[str, int]:
    return {name: int(value) for name, value in counts.items()}


def assert_same(x, labels, margin, gradient=True, rtol=1e-9, **rule):
    ours, slow = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss, counts = functional.triplet_loss(ours, labels, margin, **rule)
    expected, expected_counts = reference(slow, labels, margin, **rule)
    assert ints(counts) == expected_counts
    torch.testing.assert_close(loss, expected, rtol=rtol, atol=1e-12)
    loss.backward()
    if gradient:
        expected.backward()
        torch.testing.assert_close(ours.grad, slow.grad, rtol=1e-7, atol=1e-9)
    assert ours.grad.isfinite().all()


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("reduction", functional.REDUCTIONS)
@pytest.mark.parametrize(("mode", "soft"), MODES)
def test_every_mode_against_the_definition(mode, soft, reduction, squared):
    for seed in range(3):
        x, labels = cloud(10, seed=seed)
        rule = {"mining": mode, "soft": soft, "reduction": reduction, "squared": squared}
        assert_same(x, labels, 0.7, **rule)


@st.composite
def grids(draw):
    """Integer points: equal distances, duplicates, singletons and exact ties with the margin."""
    n = draw(st.integers(1, 8))
    points = draw(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=2), min_size=n, max_size=n))
    labels = draw(st.lists(st.sampled_from([0, 1, 2, -(2**62), 2**62]), min_size=n, max_size=n))
    return torch.tensor(points, dtype=torch.float64), torch.tensor(labels)


@settings(max_examples=60, deadline=None)
@given(grids(), st.sampled_from([0.5, 1.0, 2.0]), st.booleans(), st.sampled_from(["all", "semihard"]))
def test_ties_duplicates_and_singletons(grid, margin, squared, mode):
    assert_same(*grid, margin, squared=squared, mining=mode)


@settings(max_examples=60, deadline=None)
@given(grids(), st.booleans(), st.sampled_from(MODES), st.sampled_from(functional.REDUCTIONS))
def test_ties_leave_the_value_of_every_mode(grid, squared, mode, reduction):
    rule = {"mining": mode[0], "soft": mode[1], "reduction": reduction, "squared": squared}
    assert_same(*grid, 1.0, gradient=False, **rule)


@settings(max_examples=30, deadline=None)
@given(grids(), st.sampled_from([1.0, 2.0]))
def test_float32_decides_ties_like_float64(grid, margin):
    x, labels = grid
    single = functional.triplet_counts(x.float(), labels, margin, squared=True)
    assert ints(single) == reference(x, labels, margin, squared=True)[1]


@pytest.mark.parametrize(("mode", "soft"), MODES)
def test_gradcheck(mode, soft):
    x, labels = cloud(7, seed=3)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: functional.triplet_loss(e, labels, 0.9, mining=mode, soft=soft).loss, x)


def test_gradient_of_one_squared_triplet():
    a, p, n = torch.tensor([[0.0, 0.1], [1.0, 0.3], [0.4, 0.9]], dtype=torch.float64)
    x = torch.stack([a, p, n]).requires_grad_()
    labels = torch.tensor([0, 0, 1])
    others = torch.stack([p, n]).requires_grad_()
    anchor = a[None].clone().requires_grad_()
    out = functional.batch_all_triplet(
        anchor, labels[:1], 5.0, squared=True, references=others, reference_labels=labels[1:]
    )
    out.loss.backward()
    torch.testing.assert_close(anchor.grad[0], 2 * (n - p))
    torch.testing.assert_close(others.grad[0], 2 * (p - a))
    torch.testing.assert_close(others.grad[1], 2 * (a - n))
    assert ints(functional.triplet_counts(x, labels, 5.0, squared=True))["valid"] == 2


@pytest.mark.parametrize("offset", [None, 0, 2])
@pytest.mark.parametrize(("mode", "soft"), MODES)
def test_local_anchors_against_more_references(mode, soft, offset):
    y, y_labels = cloud(9, seed=5)
    x, labels = cloud(4, seed=6)
    if offset is not None:
        x, labels = y[offset : offset + 4], y_labels[offset : offset + 4]
    grads = []
    for loss_of in (functional.triplet_loss, reference):
        a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
        names = ("references", "reference_labels", "others", "other_labels")
        names = names[:2] if loss_of is functional.triplet_loss else names[2:]
        more = dict(zip(names, (b, y_labels), strict=True))
        loss, counts = loss_of(a, labels, 0.6, mining=mode, soft=soft, offset=offset, **more)
        loss.backward()
        grads.append((loss.detach(), a.grad, b.grad, ints(counts)))
    (loss, a, b, counts), (slow, a_slow, b_slow, slow_counts) = grads
    assert counts == slow_counts
    torch.testing.assert_close((loss, a, b), (slow, a_slow, b_slow))


def test_valid_triplets_by_the_formula():
    labels = torch.tensor([0] * 5 + [7] * 3 + [9] + [4] * 2)
    x = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    sizes = [5, 3, 1, 2]
    expected = sum(n * (n - 1) * (11 - n) for n in sizes)
    assert ints(functional.triplet_counts(x, labels, 0.2))["valid"] == expected


@pytest.mark.parametrize("elements", [1, 40, 400])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("direct", [0, 2**20])
def test_blocks_threads_and_products_change_nothing(monkeypatch, elements, threads, direct):
    x, labels = cloud(23, classes=4, seed=8)
    twins = x.clone()
    twins[3] = x[11]
    monkeypatch.setitem(layout.SORTED_ELEMENTS, "cpu", elements)
    monkeypatch.setattr(engine, "DIRECT_PAIRS", direct)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_same(twins, labels, 0.4)
        assert_same(x, labels, 0.4, mining="facenet", reduction="mean")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("mode", mining.MININGS)
@pytest.mark.parametrize("labels", [[], [1], [1, 1, 1], [1, 2, 3]])
def test_no_triplet_gives_zero_with_a_gradient(labels, mode, soft):
    x = torch.randn(len(labels), 4, requires_grad=True)
    labels = torch.tensor(labels, dtype=torch.long)
    for reduction in functional.REDUCTIONS:
        out = functional.triplet_loss(x, labels, 0.2, mining=mode, soft=soft, reduction=reduction)
        out.loss.backward()
        assert out.loss == 0
        assert not x.grad.any()
        assert not any(ints(out.counts).values())


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(("mode", "soft"), MODES)
def test_collapse_costs_the_margin_without_nan(mode, soft, squared):
    x = torch.ones(12, 5, requires_grad=True)
    labels = torch.arange(12) % 3
    out = functional.triplet_loss(x, labels, 0.3, mining=mode, soft=soft, squared=squared)
    out.loss.backward()
    expected = torch.tensor(2.0).log() if soft else torch.tensor(0.3)
    torch.testing.assert_close(out.loss, expected)
    assert not x.grad.any()
    counts = ints(out.counts)
    assert counts["active"] == counts["valid"] == counts["semihard"]


def test_duplicates_at_any_scale_keep_a_finite_gradient():
    x, labels = cloud(16, dtype=torch.float32)
    for scale in (1e-20, 1e-8, 1.0, 1e8):
        y = (x * scale).repeat(2, 1).requires_grad_()
        functional.batch_all_triplet(y, labels.repeat(2), 0.2).loss.backward()
        assert y.grad.isfinite().all()


def test_nan_is_not_hidden():
    x, labels = cloud(12)
    x[4, 0] = torch.nan
    assert functional.batch_all_triplet(x, labels, 0.2).loss.isnan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_float32(dtype):
    x, labels = cloud(20, dim=32, dtype=torch.float32)
    half = x.to(dtype).requires_grad_()
    wide = half.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        out = functional.batch_all_triplet(half, labels, 0.2)
    expected = functional.batch_all_triplet(wide, labels, 0.2)
    assert out.loss.dtype == torch.float32
    assert out.loss == expected.loss
    out.loss.backward()
    expected.loss.backward()
    assert half.grad.dtype == dtype
    torch.testing.assert_close(half.grad, wide.grad.to(dtype))


def test_float64_stays():
    x, labels = cloud(8)
    assert functional.batch_all_triplet(x, labels, 0.2).loss.dtype == torch.float64


@pytest.mark.parametrize("reduction", functional.REDUCTIONS)
def test_values_of_pytorch_metric_learning(reduction):
    x, labels = cloud(40, dim=16, classes=5, dtype=torch.float32)
    x = torch.nn.functional.normalize(x, dim=1)
    for swap_margin in (0.05, 0.2, 1.0):
        peer = TripletMarginLoss(swap_margin, reducer=REDUCTIONS[reduction]())
        ours = functional.batch_all_triplet(x, labels, swap_margin, reduction=reduction).loss
        torch.testing.assert_close(ours, peer(x, labels), rtol=2e-5, atol=1e-6)


def test_gradient_of_pytorch_metric_learning():
    x, labels = cloud(40, dim=16, classes=5, dtype=torch.float64)
    x = torch.nn.functional.normalize(x, dim=1)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    functional.batch_all_triplet(a, labels, 0.2).loss.backward()
    plain = LpDistance(normalize_embeddings=False)
    TripletMarginLoss(0.2, distance=plain)(b, labels).backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_a_second_derivative_is_refused():
    x, labels = cloud(8)
    x.requires_grad_()
    loss = functional.batch_all_triplet(x, labels, 0.5).loss
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, x, create_graph=True)


def test_inference_and_no_grad():
    x, labels = cloud(12)
    expected = functional.batch_all_triplet(x, labels, 0.5).loss
    with torch.inference_mode():
        assert functional.batch_all_triplet(x.clone(), labels.clone(), 0.5).loss == expected
    with torch.no_grad():
        assert functional.batch_all_triplet(x.requires_grad_(), labels, 0.5).loss == expected


def test_order_of_rows_does_not_matter():
    x, labels = cloud(30, classes=6)
    shuffled = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    one = functional.batch_all_triplet(x, labels, 0.5)
    two = functional.batch_all_triplet(x[shuffled], labels[shuffled], 0.5)
    torch.testing.assert_close(one.loss, two.loss)
    assert ints(one.counts) == ints(two.counts)


def test_refusals():
    x, labels = cloud(6)
    with pytest.raises(ValueError, match=r"expected embeddings \(B, D\)"):
        functional.batch_all_triplet(x[0], labels, 0.2)
    with pytest.raises(ValueError, match=r"expected embeddings \(B, D\)"):
        functional.batch_all_triplet(x, labels[:3], 0.2)
    with pytest.raises(ValueError, match="integers"):
        functional.batch_all_triplet(x, labels.float(), 0.2)
    with pytest.raises(ValueError, match="reduction must be one of active, mean, sum, got 'max'"):
        functional.batch_all_triplet(x, labels, 0.2, reduction="max")
    with pytest.raises(ValueError, match="come together"):
        functional.batch_all_triplet(x, labels, 0.2, references=x)
    with pytest.raises(ValueError, match="offset 3"):
        functional.batch_all_triplet(x, labels, 0.2, references=x, reference_labels=labels, offset=3)


def brute_force(x, labels, margin):
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
def test_large_float32_batches_by_product(centre, spread, margin):
    n, g = 600, torch.Generator().manual_seed(3)
    assert n * n > engine.DIRECT_PAIRS
    labels = torch.randint(0, 8, (n,), generator=g)
    x = spread * torch.randn(n, 16, generator=g) / 4
    x += centre if spread < 1e-3 else centre * torch.randn(8, 16, generator=g)[labels]
    out = functional.batch_all_triplet(x, labels, margin)
    loss, (valid, active, hard) = brute_force(x, labels, margin)
    assert int(out.counts["valid"]) == valid
    assert int(out.counts["active"]) == pytest.approx(int(active), rel=1e-4, abs=20)
    assert int(out.counts["hard"]) == pytest.approx(int(hard), rel=1e-4, abs=20)
    assert float(out.loss) == pytest.approx(loss, rel=2e-4)


@pytest.mark.parametrize("budget", [1, 60, 200, 10**6])
def test_blocks_hold_every_anchor_once_within_the_budget(monkeypatch, budget):
    monkeypatch.setitem(layout.SORTED_ELEMENTS, "cpu", budget)
    labels = torch.tensor([0] * 9 + [1] * 2 + [2] * 2 + [3] * 5 + [4])
    plan = layout.arrange(labels, labels, 0)
    found = list(layout.blocks(plan))
    assert [i for part in found for i in range(part.start, part.stop)] == list(range(18))
    for part in found:
        width = len(labels) + 2 * int(plan.size[part].max())
        assert part.stop - part.start == 1 or (part.stop - part.start) * width <= budget
