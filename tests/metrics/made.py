"""Made-up crops with every column that a metric takes, and the ways in which ranks may share them."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

Batch = dict[str, Tensor]
N = 61
SHARES: dict[int, list[list[list[range]]]] = {  # world -> ways to share the rows out -> rank -> batches
    1: [[[range(40), range(30, N)]]],
    2: [
        [[range(45), range(40, 50)], [range(48, N), range(3)]],
        [[range(N), range(N)], []],  # nothing on the last rank
        [[range(0)], [range(30), range(20, N)]],  # a batch without rows on the first
    ],
    3: [
        [[range(7, 8)], [range(8, N), range(7)], [range(20, 22), range(2)]],
        [[], [range(30), range(29, 40)], [range(40, N)]],
        [[range(N)], [], [range(0)]],
    ],
}


def sample(seed: int, n: int, classes: int, dim: int = 4) -> tuple[Tensor, Tensor]:
    """Embeddings (n, dim) around the centres of their classes, and labels (n,)."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=generator)
    centres = torch.randn(classes, dim, generator=generator)
    return centres[y] + torch.randn(n, dim, generator=generator), y


def flights(seed: int, n: int, count: int) -> Tensor:
    """Groups of very different sizes, with numbers that are neither small nor in a row."""
    share = 2.0 ** -torch.arange(count)
    return torch.multinomial(share, n, replacement=True, generator=torch.Generator().manual_seed(seed)) * 1000 - 7


def crops(seed: int = 0, *, tied: bool = False) -> Batch:
    """Every column that any class takes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (N,), generator=generator)
    embeddings = torch.randn(4, 5, generator=generator)[labels] + torch.randn(N, 5, generator=generator)
    known = torch.rand(N, generator=generator) < 0.6
    groups = torch.randint(6, (N,), generator=generator) ** 2
    labels[:3], groups[:3] = 9, 16  # a class that was seen on one flight only
    return {
        "embeddings": embeddings.round() if tied else embeddings,
        "labels": labels,
        "index": torch.randperm(N, generator=generator) * 3 + 5,
        "groups": groups,
        "scores": torch.randn(N, generator=generator).round(decimals=1) - known.float(),
        "known": known,
    }


def part(batch: Batch, rows: Any) -> Batch:
    """Some rows of every column."""
    return {name: column[rows] for name, column in batch.items()}


def shared(batch: Batch, shares: list[list[range]]) -> list[list[Batch]]:
    """The batches of each rank."""
    return [[part(batch, list(rows)) for rows in of_rank] for of_rank in shares]


def kept_bytes(metrics: MetricCollection, name: str) -> int:
    """Bytes of the rows that a metric of a collection holds or shares."""
    states = dict(metrics.items(copy_state=False))[name].metric_state.values()
    return sum(column.nbytes for state in states for column in state)


def computed(metric: Metric | MetricCollection) -> dict[str, Tensor]:
    """The values by name, without torchmetrics' warning where a rank holds nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*was called before the ``update`` method.*")
        found: dict[str, Tensor] = metric.compute()
    return found


def values(metrics: MetricCollection) -> dict[str, float]:
    """Those of a collection as numbers."""
    return {name: float(value) for name, value in computed(metrics).items()}
