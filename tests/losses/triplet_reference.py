"""The triplet losses straight from their definitions, one triplet at a time."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor

from dml_lightning.losses import functional, mining
from dml_lightning.types import CLUTTER


def distance(x: Tensor, y: Tensor, squared: bool) -> Tensor:
    square = (x - y).square().sum()
    if squared:
        return square
    return square.sqrt() if square > 0 else square * 0


def reference(
    x: Tensor,
    labels: Tensor,
    margin: float,
    mining: str = "all",
    soft: bool = False,
    squared: bool = False,
    reduction: str = "active",
    others: Tensor | None = None,
    other_labels: Tensor | None = None,
    offset: int | None = 0,
) -> tuple[Tensor, dict[str, int]]:
    y = x if others is None else others
    y_labels = (labels if other_labels is None else other_labels).tolist()
    counts = dict.fromkeys(("valid", "active", "hard", "semihard", "easy"), 0)
    losses: list[Tensor] = []

    def cost(p: Tensor, n: Tensor) -> Tensor:
        if soft:
            return -F.logsigmoid(n - p)
        return p + margin - n if n < p + margin else (p - n) * 0

    for a, label in enumerate(labels.tolist()):
        if label == CLUTTER:
            continue
        own = None if offset is None else offset + a
        d = [distance(x[a], row, squared) for row in y]
        positives = [d[i] for i, k in enumerate(y_labels) if k == label and i != own]
        negatives = [d[i] for i, k in enumerate(y_labels) if k != label]
        for p in positives:
            for n in negatives:
                semihard = bool(p <= n < p + margin)
                counts["valid"] += 1
                counts["hard"] += bool(n < p)
                counts["semihard"] += semihard
                counts["active"] += bool(n < p + margin)
                counts["easy"] += bool(n >= p + margin)
                if mining == "all" or (mining == "semihard" and semihard):
                    losses.append(cost(p, n))
            if mining == "facenet" and negatives:
                beyond = [n for n in negatives if n > p]
                losses.append(cost(p, min(beyond) if beyond else max(negatives)))
        if mining in ("hard", "easy_positive") and positives and negatives:
            pick = max if mining == "hard" else min
            losses.append(cost(pick(positives), min(negatives)))
    if not losses:
        return x.sum() * 0, counts
    total = torch.stack(losses)
    lossy = len(losses) if soft else int((total > 0).sum())
    count = {"sum": 1, "mean": len(losses), "active": max(lossy, 1)}[reduction]
    return total.sum() / count, counts


MODES = [(m, soft) for m in mining.MININGS for soft in (False, True)]


def cloud(
    n: int, dim: int = 4, classes: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=g, dtype=dtype)
    return x, torch.randint(0, classes, (n,), generator=g)


def ints(counts: Mapping[str, int | Tensor]) -> dict[str, int]:
    return {name: int(value) for name, value in counts.items()}


def assert_same(
    x: Tensor, labels: Tensor, margin: float, gradient: bool = True, rtol: float = 1e-9, **rule: Any
) -> None:
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


@st.composite
def grids(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Integer points: equal distances, duplicates, singletons and exact ties with the margin."""
    n = draw(st.integers(1, 8))
    points = draw(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=2), min_size=n, max_size=n))
    labels = draw(st.lists(st.sampled_from([0, 1, 2, -(2**62), 2**62, CLUTTER]), min_size=n, max_size=n))
    return torch.tensor(points, dtype=torch.float64), torch.tensor(labels)
