"""Loss and gradient of every triplet: ours, pytorch-metric-learning's, and one torch.cdist.

    python benchmarks/triplet_engine.py                                                  # small; nothing is written
    python benchmarks/triplet_engine.py --batches 128 512 1024 2048 4096 8192 --repeats 7 --threads 2 --save
    python benchmarks/triplet_engine.py --device cuda --batches 1024 8192 65536 --save   # triplet_engine_cuda.md

Times are medians of calls taken in turn (ours, cdist, peer, ours, …), so that a busy machine slows all of them; memory
is the peak above what stood before the call, each in a process of its own.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import Tensor

from dml_lightning.losses.functional import batch_all_triplet
from measure import PeakMemory, Result, in_turn, options, own_process, ratios, seconds

PACKAGES = ("pytorch-metric-learning",)
DIM, MARGIN = 128, 0.2
PEER_TRIPLETS = 2e8  # the peer lists them all: beyond, it needs more memory than most machines have


def inputs(batch: int, classes: int, device: str) -> tuple[Tensor, Tensor]:
    """Unit vectors (B, D) and balanced labels (B,)."""
    g = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(batch, DIM, generator=g), dim=1)
    return x.to(device).requires_grad_(), (torch.arange(batch) % classes).to(device)


def ours(x: Tensor, labels: Tensor) -> Tensor:
    return batch_all_triplet(x, labels, MARGIN).loss


def peer(x: Tensor, labels: Tensor) -> Tensor:
    loss = TripletMarginLoss(MARGIN, distance=LpDistance(normalize_embeddings=False))
    value: Tensor = loss(x, labels)
    return value


def cdist(x: Tensor, labels: Tensor) -> Tensor:
    return torch.cdist(x, x).sum()


def masked(x: Tensor, labels: Tensor) -> Tensor:
    """Every (anchor, positive, negative) cell of a B x P x B array, for a few positives each."""
    d = torch.cdist(x, x)
    same = labels[:, None] == labels
    same.fill_diagonal_(False)
    p = int(same.sum(1).max())
    columns = same.int().topk(p, dim=1).indices
    cost = (d.gather(1, columns)[:, :, None] - d[:, None, :] + MARGIN).clamp_min(0)
    cost = cost * (labels[:, None] != labels)[:, None, :]
    return cost.sum() / (cost > 0).sum().clamp_min(1)


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ours": ours, "cdist": cdist, "peer": peer, "masked": masked}


def step(name: str, x: Tensor, labels: Tensor) -> None:
    """One loss and gradient."""
    x.grad = None
    METHODS[name](x, labels).backward()


def added_memory(name: str, batch: int, classes: int, device: str) -> float:
    """Peak MB above the start of one loss and gradient; small ones warm the libraries up first."""
    step(name, *inputs(64, 8, device))
    x, labels = inputs(batch, classes, device)
    with PeakMemory(device) as memory:
        step(name, x, labels)
    return memory.added


def able(batch: int, classes: int) -> list[str]:
    """The methods that can do this batch."""
    triplets = batch * batch / classes * batch
    return ["ours", "cdist", *(["peer"] if triplets <= PEER_TRIPLETS else []), *(["masked"] if triplets <= 2e7 else [])]


def row(batch: int, classes: int, args: argparse.Namespace, kept: dict[int, float]) -> tuple[str, ...]:
    """Median time and added memory of each method; ours is kept in `kept` where there are 8 classes."""
    x, labels = inputs(batch, classes, args.device)
    works = {name: partial(seconds, partial(step, name, x, labels), args.device) for name in able(batch, classes)}
    times = in_turn(works, args.repeats)
    medians = {name: statistics.median(took) for name, took in times.items()}
    if classes == 8:
        kept[batch] = medians["ours"]

    def cell(name: str) -> str:
        if name not in medians:
            return "-"
        added = own_process(added_memory, name, batch, classes, args.device)
        return f"{medians[name] * 1e3:,.1f} ms, {added:,.0f} MB"

    def ratio(one: str, other: str, decimals: int) -> str:
        return f"{statistics.median(ratios(times[one], times[other])):.{decimals}f}" if one in times else "-"

    return f"{batch:,}", str(classes), *map(cell, METHODS), ratio("ours", "cdist", 2), ratio("peer", "ours", 1)


def rows(args: argparse.Namespace, kept: dict[int, float]) -> Iterator[tuple[str, ...]]:
    """A row for each batch of 8 classes, and one of many classes."""
    for batch, classes in [*((b, 8) for b in args.batches), (1024, 256)]:
        yield row(batch, classes, args, kept)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    kept: dict[int, float] = {}
    with Result(__file__, "Every triplet: loss and gradient", PACKAGES, args) as result:
        result.text(f"D = {DIM}, margin {MARGIN}, float32. Medians of {args.repeats} calls taken in turn.")
        names = ("ours", "torch.cdist", "pytorch-metric-learning", "B x P x B array")
        result.table(("B", "classes", *names, "ours / cdist", "peer / ours"), rows(args, kept), texts=0)
        doubled = [f"{b:,} to {2 * b:,}: {kept[2 * b] / kept[b]:.2f}x" for b in kept if 2 * b in kept]
        if doubled:
            result.text(f"Doubling the batch costs: {', '.join(doubled)}.")


if __name__ == "__main__":
    main()
