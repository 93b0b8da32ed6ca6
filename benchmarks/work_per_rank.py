"""What a rank of W pays for the loss of one global batch: loss and gradient of its own anchors against all.

    python benchmarks/work_per_rank.py                            # W = 1 and 4, a small batch; nothing is written
    python benchmarks/work_per_rank.py --batch 4096 --worlds 1 2 4 8 --repeats 7 --save
    python benchmarks/work_per_rank.py --device cuda --batch 16384 --worlds 1 2 4 8 --save     # work_per_rank_cuda.md

No ranks run: one process computes the last rank's share from a batch that stands for the gathered one, so that
neither the network nor neighbours on this machine are in the figures. Times are medians of calls taken in turn
(W = 1, 2, 1, 2, …), on the CPU of processor time over all threads; memory is the peak above what stood before
the call, each in a process of its own.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from pytorch_metric_learning import losses as peers
from torch import Tensor

from dml_lightning.distributed import GlobalBatch
from dml_lightning.losses import PMLLoss, pml_share
from dml_lightning.losses.functional import contrastive_sum, n_pair_sum, triplet_loss
from measure import PeakMemory, Result, Stopwatch, in_turn, options, own_process

PACKAGES = ("pytorch-metric-learning",)
DIM, CLASSES = 128, 8
Share = Callable[[Tensor, Tensor, GlobalBatch], Tensor]


def triplets(mining: str, x: Tensor, labels: Tensor, batch: GlobalBatch) -> Tensor:
    return triplet_loss(
        x,
        labels,
        0.2,
        mining=mining,  # type: ignore[arg-type]
        references=batch.embeddings,
        reference_labels=batch.labels,
        offset=batch.offset,
    ).loss


def contrastive(x: Tensor, labels: Tensor, batch: GlobalBatch) -> Tensor:
    return contrastive_sum(x, labels, *batch, 1.0)[0]


def n_pair(x: Tensor, labels: Tensor, batch: GlobalBatch) -> Tensor:
    return n_pair_sum(x, labels, *batch)[0]


def shared(loss: peers.BaseMetricLossFunction, x: Tensor, labels: Tensor, b: GlobalBatch) -> Tensor:
    return pml_share.share(loss, x, labels, b, None)


def whole(loss: peers.BaseMetricLossFunction, x: Tensor, labels: Tensor, b: GlobalBatch) -> Tensor:
    return PMLLoss(loss)(b.embeddings, b.labels).loss


SHARES: dict[str, tuple[Share, int]] = {  # and what --batch is divided by: the library lists triplets
    "triplets, all": (partial(triplets, "all"), 1),
    "triplets, FaceNet's semi-hard": (partial(triplets, "facenet"), 1),
    "triplets, hard": (partial(triplets, "hard"), 1),
    "contrastive": (contrastive, 1),
    "N-pair": (n_pair, 1),
    "adapter: triplets": (partial(shared, peers.TripletMarginLoss()), 16),
    "multi-similarity": (partial(shared, peers.MultiSimilarityLoss(2.0, 50.0, 0.5)), 1),
    "adapter: NT-Xent (not shared)": (partial(whole, peers.NTXentLoss()), 16),
}


def inputs(batch: int, world: int, device: str) -> tuple[Tensor, Tensor, GlobalBatch]:
    """Anchors (B / W, D), their labels, and the batch (B, D) they come from; P × K order."""
    g = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(batch, DIM, generator=g), dim=1).to(device)
    labels = (torch.arange(batch) % CLASSES).to(device)
    begin = batch - batch // world
    own = x[begin:].clone().requires_grad_()
    return own, labels[begin:], GlobalBatch(x.clone().requires_grad_(), labels, begin)


def step(name: str, x: Tensor, labels: Tensor, batch: GlobalBatch) -> float:
    """One loss and gradient: processor seconds of all threads, or those until the GPU is done."""
    with Stopwatch(x.device) as watch:
        SHARES[name][0](x, labels, batch).backward()
    return watch.seconds if x.is_cuda else watch.cpu


def added_memory(name: str, batch: int, world: int, device: str) -> float:
    """Peak MB above the start of one loss and gradient; a small one warms the libraries up first."""
    step(name, *inputs(64, 1, device))
    arguments = inputs(batch, world, device)
    with PeakMemory(device) as memory:
        step(name, *arguments)
    return memory.added


def row(name: str, args: argparse.Namespace) -> tuple[str, ...]:
    """Medians of each W, their share of W = 1, and memory."""
    size = args.batch // SHARES[name][1]
    works = {str(world): partial(fresh_step, name, size, world, args.device) for world in args.worlds}
    found = {world: statistics.median(times) for world, times in in_turn(works, args.repeats).items()}

    def cell(world: int) -> str:
        added = own_process(added_memory, name, size, world, args.device)
        took = found[str(world)]
        return f"{took * 1e3:,.1f} ms ({took / found[str(args.worlds[0])]:.2f}), {added:,.0f} MB"

    return name, f"{size:,}", *map(cell, args.worlds)


def fresh_step(name: str, batch: int, world: int, device: str) -> float:
    """`step` on inputs without gradients."""
    return step(name, *inputs(batch, world, device))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--batch", type=int, default=1024, help="of all ranks together; a multiple of 128")
    parser.add_argument("--worlds", type=int, nargs="+", choices=(1, 2, 4, 8), default=[1, 4], help="numbers of ranks")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.batch < 128 or args.batch % 128:
        parser.error("--batch must be a multiple of 128: 8 ranks, and a 16th of it where triplets are listed.")
    if args.worlds[0] != 1:
        parser.error("--worlds begins with 1, against which the others stand.")
    with Result(__file__, "What a rank of W pays for the loss", PACKAGES, args) as result:
        result.text(
            f"D = {DIM}, {CLASSES} classes, float32. Loss and gradient of B / W anchors against the global batch of B: "
            "median time (on the CPU, of the processor), its share of the time of W = 1 (1 / W would be 0.50, 0.25, "
            "0.12), and memory above what stood before. The gather's own traffic is not in it."
        )
        heads = ("loss", "B", *(f"W = {w}" for w in args.worlds))
        result.table(heads, (row(name, args) for name in SHARES))


if __name__ == "__main__":
    main()
