"""What one rank computes of a loss of pytorch-metric-learning."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dml_lightning.losses import pml_share
from dml_lightning.losses.functional import pair_masks
from tests.losses.on_ranks import EVERY, shares
from tests.ranks import Gloo


class Count(torch.nn.Module):
    """How many anchors a loss of the library has been given."""

    def __init__(self, distance: torch.nn.Module) -> None:
        super().__init__()
        self.distance, self.rows = distance, []

    def forward(self, x: Tensor, y: Tensor) -> Any:
        self.rows.append((len(x), len(y)))
        return self.distance(x, y)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.distance, name)


def rows_compared(name: str, features: Tensor, labels: Tensor) -> list[tuple[int, int]]:
    adapter = EVERY[name]()
    adapter.loss.distance = Count(adapter.loss.distance)
    adapter(features, labels)
    return adapter.loss.distance.rows


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("triplets", True),
        ("random", True),
        ("contrastive", True),
        ("similarity-miner", True),
        ("contrastive-part", True),
        ("contrastive-rest", True),
        ("contrastive-other", False),
        ("contrastive-squares", False),
        ("swap", False),
        ("weighted", False),
        ("regularised", False),
        ("nt-xent", False),
    ],
)
def test_a_rank_compares_its_own_anchors_where_the_loss_allows_it(gloo: Gloo, name: str, shared: bool) -> None:
    features, labels = shares(4, "asymmetric")
    every = sum(map(len, labels))
    for own, rows in zip(labels, gloo(4).run(rows_compared, f"pml-{name}", features, labels), strict=True):
        assert rows == [(len(own) if shared else every, every)]


@pytest.mark.parametrize("cells", [1, 200, 10**6])
def test_triplets_in_blocks(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr(pml_share, "TRIPLET_CELLS", cells)
    labels = torch.tensor([0, 1, 0, 2, 1, 1])
    positive, negative = pair_masks(labels[1:4], labels, 1)
    expected = [
        (a, p, n)
        for a in range(3)
        for p in range(6)
        for n in range(6)
        if p != a + 1 and labels[a + 1] == labels[p] and labels[a + 1] != labels[n]
    ]
    result = torch.stack(pml_share.all_triplets(positive, negative), 1)
    assert [tuple(row) for row in result.tolist()] == expected
