"""Bytes that a rank sends in a training step and in an evaluation: by formula, and counted in runs of gloo.

    python benchmarks/traffic.py                                       # 2 ranks; nothing is written
    python benchmarks/traffic.py --ranks 2 4 --save

Ranks are processes of this machine, under DistributedDataParallel as the trainer has it. What is counted is what each
collective is given; a ring sends (W - 1) times the bytes of a gather, and 2 (W - 1) / W times those of a reduction.
Shares of a step for more ranks follow from the formulas, from gloo's bandwidth between two processes here, and for NCCL
from a bandwidth, a delay and a step's time that are options: they are assumptions, for no GPU is used.
"""

import argparse
import math
import multiprocessing as mp
import statistics
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from pytorch_metric_learning.losses import ProxyAnchorLoss
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from dml_lightning import losses
from dml_lightning.distributed import gather
from dml_lightning.metrics.retrieval import retrieval_summary
from dml_lightning.models import Encoder
from measure import Result, Stopwatch, options, seconds

PACKAGES = ("timm", "pytorch-metric-learning")
BACKBONE, SIDE, DIM, CLASSES = "resnet10t_narrow", 32, 64, 8
BATCH, MEMORY, CROPS, STEPS = 64, 128, 256, 3  # of a rank; rows of the memory; evaluated crops of a rank
KINDS = ("gather", "reduce", "broadcast")
BUFFER = 2**22  # float32 that are reduced for the bandwidth
OBJECTIVES: dict[str, Callable[[], nn.Module]] = {
    "cross-entropy": losses.CrossEntropyLoss,
    "triplets": losses.TripletLoss,
    "contrastive": losses.ContrastiveLoss,
    "multi-similarity": losses.MultiSimilarityLoss,
    "triplets with a memory": lambda: losses.TripletLoss(memory_size=MEMORY),
    "proxies": lambda: losses.PMLLoss(ProxyAnchorLoss(CLASSES, DIM)),
}


class Arm(nn.Module):
    """Encoder and loss as an arm holds them: both belong to what DistributedDataParallel keeps equal."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.encoder, self.loss = Encoder(BACKBONE, DIM), loss
        classifies = isinstance(loss, losses.CrossEntropyLoss)
        self.head = nn.Linear(DIM, CLASSES) if classifies else nn.Identity()

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of crops (B, 1, S, S) with labels (B,)."""
        value: Tensor = self.loss(self.head(self.encoder(images)), labels).loss
        return value


class Sizes(NamedTuple):
    """What the formulas need of an arm."""

    parameters: int  # bytes of those that learn
    buffers: int  # bytes without the memory's
    metric: bool
    memory: int  # rows


def sizes(arm: Arm) -> Sizes:
    memory = getattr(arm.loss, "memory", None)
    kept = {} if memory is None else dict(memory.named_buffers(prefix="loss.memory"))
    return Sizes(
        sum(volume(each) for each in arm.parameters()),
        sum(volume(each) for name, each in arm.named_buffers() if name not in kept),
        not isinstance(arm.loss, losses.CrossEntropyLoss),
        0 if memory is None else MEMORY,
    )


def volume(tensor: Tensor) -> int:
    """Bytes of a tensor."""
    return tensor.numel() * tensor.element_size()


def of_step(arm: Sizes, world: int) -> dict[str, int]:
    """Bytes that a rank gives to the collectives of a step, but for a few numbers of its loss.

    Gradients are reduced, and buffers broadcast. A loss that compares crops gathers embeddings, labels and their
    number, and its backward reduces the gradient of the global batch; a memory is a buffer.
    """
    rows = BATCH * world * 4 * DIM
    return {
        "gather": (rows // world + 8 * BATCH + 8) * arm.metric,
        "reduce": arm.parameters + rows * arm.metric,
        "broadcast": arm.buffers + arm.memory * (4 * DIM + 8),
    }


def of_evaluation(features: int) -> dict[str, int]:
    """Bytes that a rank gives for its crops of a set: vectors, features, logits, label, index; ranks of retrieval."""
    columns, ranked = 4 * (DIM + features + CLASSES) + 2 * 8, 4 * 8
    return {"gather": CROPS * (columns + ranked) + 8 * (5 + 4), "reduce": 0, "broadcast": 0}


def on_wire(given: dict[str, int], world: int) -> float:
    """Bytes that a rank sends for them in a ring."""
    return (world - 1) * given["gather"] + 2 * (world - 1) / world * given["reduce"] + given["broadcast"]


# One rank ----------------------------------------------------------------------------------------


class Counted:
    """Counts the bytes that collectives are given while it is entered."""

    def __init__(self) -> None:
        self.bytes, self.calls = Counter[str](), 0

    def add(self, kind: str, *tensors: Tensor) -> None:
        """Counts a call with these tensors."""
        self.bytes[kind] += sum(map(volume, tensors))
        self.calls += 1

    def __enter__(self) -> "Counted":
        self._own = dist.all_gather, dist.all_reduce, dist._broadcast_coalesced
        all_gather, all_reduce, broadcast = self._own

        def counted_gather(every: list[Tensor], own: Tensor, *rest: Any, **more: Any) -> Any:
            self.add("gather", own)
            return all_gather(every, own, *rest, **more)

        def counted_reduce(tensor: Tensor, *rest: Any, **more: Any) -> Any:
            self.add("reduce", tensor)
            return all_reduce(tensor, *rest, **more)

        def counted_broadcast(group: Any, tensors: list[Tensor], *rest: Any) -> Any:
            self.add("broadcast", *tensors)
            return broadcast(group, tensors, *rest)

        dist.all_gather, dist.all_reduce, dist._broadcast_coalesced = counted_gather, counted_reduce, counted_broadcast
        return self

    def __exit__(self, *_: object) -> None:
        dist.all_gather, dist.all_reduce, dist._broadcast_coalesced = self._own


class Found(NamedTuple):
    """What one rank found of one objective."""

    sizes: Sizes
    bytes: dict[str, int]  # of the last step
    calls: int
    cpu: float  # processor seconds of a step


def step_of(name: str) -> Found:
    """A few steps of an objective."""
    torch.manual_seed(0)
    arm = Arm(OBJECTIVES[name]())
    learns = DistributedDataParallel(arm)
    counted = Counted()

    learns.register_comm_hook(None, allreduce_hook)  # which calls `dist.all_reduce` as it is while counting
    images, labels = torch.randn(BATCH, 1, SIDE, SIDE), torch.arange(BATCH) % CLASSES
    times = []
    for _ in range(STEPS):
        counted.bytes, counted.calls = Counter(), 0
        with counted, Stopwatch() as watch:
            learns(images, labels).backward()
        times.append(watch.cpu)
    return Found(sizes(arm), {kind: counted.bytes[kind] for kind in KINDS}, counted.calls, min(times))


def evaluation(features: int) -> dict[str, int]:
    """Bytes of the columns that `EmbeddingModule.embeddings` gathers, and of ranking over ranks."""
    vectors, labels = torch.randn(CROPS, DIM), torch.arange(CROPS) % CLASSES
    columns = (vectors, labels, torch.arange(CROPS), torch.randn(CROPS, features), torch.randn(CROPS, CLASSES))
    with Counted() as counted:
        vectors, labels = [gather(column) for column in columns][:2]
        retrieval_summary(vectors, labels, split_over_ranks=True)
    return {kind: counted.bytes[kind] for kind in KINDS}


def bandwidth() -> float:
    """Bytes that a rank sends in a second while a buffer is reduced."""
    buffer = torch.ones(BUFFER)
    took = statistics.median(seconds(lambda: dist.all_reduce(buffer)) for _ in range(7))
    return 2 * (dist.get_world_size() - 1) / dist.get_world_size() * volume(buffer) / took


def serve(rank: int, world: int, rendezvous: str, queue: Any) -> None:
    """Everything that one rank measures."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    found = {name: step_of(name) for name in OBJECTIVES}
    features = Encoder(BACKBONE, DIM).head[-1].in_features
    answer = found, features, evaluation(features), bandwidth()
    if rank == 0:
        queue.put(answer)
    dist.barrier()
    dist.destroy_process_group()


def run(world: int) -> tuple[dict[str, Found], int, dict[str, int], float]:
    """What the first of W ranks found."""
    context = mp.get_context("fork")
    queue = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world, f"{folder}/rendezvous", queue)
        ranks = [context.Process(target=serve, args=(rank, *arguments)) for rank in range(world)]
        for process in ranks:
            process.start()
        answer: tuple[dict[str, Found], int, dict[str, int], float] = queue.get(timeout=600)
        for process in ranks:
            process.join()
    return answer


# Tables ------------------------------------------------------------------------------------------


def counted_rows(world: int, found: dict[str, Found], features: int, evaluated: dict[str, int]) -> Iterator[list[str]]:
    """Counted bytes less those of the formula, which are a few numbers of the loss; a row for each objective."""
    for name, each in found.items():
        yield compared(name, world, each.bytes, of_step(each.sizes, world))
    yield compared(f"evaluation of {CROPS} crops", world, evaluated, of_evaluation(features))


def compared(name: str, world: int, counted: dict[str, int], formula: dict[str, int]) -> list[str]:
    cells = [f"{counted[kind]:,} ({counted[kind] - formula[kind]:+,})" for kind in KINDS]
    return [name, str(world), *cells, f"{on_wire(counted, world):,.0f}"]


def shares(found: dict[str, Found], gloo: float, args: argparse.Namespace) -> Iterator[list[str]]:
    """What a step sends with more ranks, and its share of the step; a row for each objective."""
    for name, each in found.items():
        cells = []
        for world in args.extended:
            sent = on_wire(of_step(each.sizes, world), world)
            here = sent / gloo
            there = sent / (args.nccl * 1e9) + each.calls * args.delay * 1e-6 * math.log2(world)
            parts = (here / (here + each.cpu), there / (there + args.step * 1e-3))
            cells.append(f"{sent / 1e6:.1f} MB, {parts[0]:.0%}, {parts[1]:.0%}")
        yield [name, f"{each.cpu * 1e3:.0f}", str(each.calls), *cells]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2], help="numbers of processes")
    parser.add_argument("--extended", type=int, nargs="+", default=[8, 64, 512], help="numbers of ranks by formula")
    parser.add_argument("--nccl", type=float, default=25.0, help="GB/s that a rank sends (assumed)")
    parser.add_argument("--delay", type=float, default=10.0, help="microseconds of a collective by log2 W (assumed)")
    parser.add_argument("--step", type=float, default=20.0, help="milliseconds of a step on a GPU (assumed)")
    args = parser.parse_args()
    if args.threads != 1:  # children of a parent that used OpenMP hang
        parser.error("ranks run on one thread each.")
    with Result(__file__, "Traffic between ranks", PACKAGES, args) as result:
        result.text(
            f"{BATCH} crops of {SIDE} px on each rank, {BACKBONE}, D = {DIM}, {CLASSES} classes, a memory of {MEMORY} "
            "rows, float32, gloo on one machine. Bytes that the first rank gives to the collectives of a step, in "
            "brackets less the formula's (what is left are numbers of the loss: 4 or 8 bytes each), and what it sends "
            "in a ring."
        )
        answers = {world: run(world) for world in args.ranks}
        heads = ("", "W", "gathered", "reduced", "broadcast", "sent")
        lines = (line for world, answer in answers.items() for line in counted_rows(world, *answer[:3]))
        result.table(heads, lines)
        found, features, _, gloo = answers[args.ranks[0]]
        result.text(
            f"An evaluation gathers {of_evaluation(features)['gather'] / CROPS:,.0f} bytes for a crop with {features} "
            "features, and every rank keeps all but 32 of them for all crops of the set.",
            "Sent by a rank in a step of W ranks by the formulas; its share of the step with gloo at "
            f"{gloo / 1e6:,.0f} MB/s, measured between {args.ranks[0]} processes here beside a step's processor time; "
            f"and with NCCL as assumed: {args.nccl:g} GB/s, {args.delay:g} µs by log2 W for each collective, a step of "
            f"{args.step:g} ms. Nothing overlaps in this: DistributedDataParallel hides most of the gradients' part.",
        )
        worlds = [f"W = {world}: sent, gloo, NCCL" for world in args.extended]
        result.table(("", "step, ms", "collectives", *worlds), shares(found, gloo, args))


if __name__ == "__main__":
    main()
