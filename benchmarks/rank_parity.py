"""What W ranks compute against one process with the same batch: ours, the peer's wrapper, each rank by itself.

    python benchmarks/rank_parity.py                              # 2 ranks; nothing is written
    python benchmarks/rank_parity.py --ranks 2 4 --save

Every column is compared with its own loss in one process. A cell holds the logged value, the cosine of the
gradient and its norm (both after averaging over ranks, as DistributedDataParallel does), 1 being right; the
value is that of the rank furthest off. Ranks are asymmetric: other classes and other class counts on each, one
without negatives. float64 on gloo; a linear encoder, embeddings of length 1.
"""

import multiprocessing as mp
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning import miners
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.distributed import DistributedLossWrapper, DistributedMinerWrapper
from torch import Tensor, nn

from dml_lightning import losses
from measure import Result, options

PACKAGES = ("pytorch-metric-learning",)
CLASSES, FEATURES, DIM = 6, 12, 8
LABELS = [  # of each rank; the peer's gather needs as many crops on each
    [0] * 9 + [1] * 3,
    [0] * 2 + [2] * 5 + [3] * 5,
    [4] * 12,
    [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 1, 1],
]
WAYS = ("ours", "wrapper", "wrapper, efficient", "each rank alone")


class Case(NamedTuple):
    """One objective in both libraries."""

    ours: Callable[[], nn.Module]
    peer: Callable[[], nn.Module] | None = None  # a loss of the peer, or cross-entropy
    miner: Callable[[], nn.Module] | None = None


triplet = partial(peers.TripletMarginLoss, 0.2, distance=LpDistance(normalize_embeddings=False))
ms_miner = miners.MultiSimilarityMiner
CASES = {
    "triplets, all": Case(lambda: losses.TripletLoss(0.2), triplet),
    "triplets, semi-hard": Case(
        lambda: losses.TripletLoss(0.2, "semihard"), triplet, lambda: miners.TripletMarginMiner(0.2, "semihard")
    ),
    "triplets, FaceNet's semi-hard": Case(lambda: losses.TripletLoss(0.2, "facenet")),
    "triplets, hard": Case(lambda: losses.TripletLoss(0.2, "hard"), triplet, miners.BatchHardMiner),
    "triplets, soft": Case(
        lambda: losses.TripletLoss(soft=True), lambda: peers.TripletMarginLoss(0.0, smooth_loss=True)
    ),
    "contrastive": Case(losses.ContrastiveLoss, peers.ContrastiveLoss),
    "N-pair": Case(losses.NPairLoss, peers.NPairsLoss),
    "multi-similarity": Case(losses.MultiSimilarityLoss, peers.MultiSimilarityLoss),
    "cross-entropy": Case(losses.CrossEntropyLoss, nn.CrossEntropyLoss),
    "weighted cross-entropy": Case(
        lambda: losses.CrossEntropyLoss(class_weights=[1.0, 3.0, 9.0, 1.0, 2.0, 5.0]),
        lambda: nn.CrossEntropyLoss(torch.tensor([1.0, 3.0, 9.0, 1.0, 2.0, 5.0]).double()),
    ),
    "adapter: triplets": Case(lambda: losses.PMLLoss(triplet()), triplet),
    "adapter: multi-similarity, mined": Case(
        lambda: losses.PMLLoss(peers.MultiSimilarityLoss(), ms_miner()), peers.MultiSimilarityLoss, ms_miner
    ),
    "adapter: NT-Xent": Case(lambda: losses.PMLLoss(peers.NTXentLoss()), peers.NTXentLoss),
    "adapter: proxy anchor": Case(
        lambda: losses.PMLLoss(peers.ProxyAnchorLoss(CLASSES, DIM)), partial(peers.ProxyAnchorLoss, CLASSES, DIM)
    ),
}


def objective(case: Case, way: str, distributed: bool) -> tuple[Callable[..., Tensor], nn.Module]:
    """The loss as a function of embeddings and labels, and the module that holds its parameters."""
    if way == "ours":
        module = case.ours()
        return lambda x, labels: module(x, labels).loss, module
    assert case.peer is not None
    module = case.peer()
    miner = None if case.miner is None else case.miner()
    loss: Any = module
    if distributed and way.startswith("wrapper"):
        efficient = way.endswith("efficient")
        loss = DistributedLossWrapper(module, efficient=efficient)
        miner = miner and DistributedMinerWrapper(miner, efficient=efficient)

    def compute(x: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = loss(x, labels, miner(x, labels)) if miner else loss(x, labels)
        return value

    return compute, module


def step(name: str, way: str, features: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Value and averaged gradient of the encoder and of the loss's parameters."""
    case, distributed = CASES[name], dist.is_initialized()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    classify = "cross-entropy" in name
    encoder = nn.Linear(FEATURES, CLASSES if classify else DIM)
    loss, module = objective(case, way, distributed)
    x = encoder(features)
    value = loss(x if classify else F.normalize(x, dim=1), labels)
    value.backward()
    held = [*encoder.parameters(), *module.parameters()]
    gradient = torch.cat([p.grad.flatten() for p in held if p.grad is not None])
    if distributed:
        dist.all_reduce(gradient)
        gradient /= dist.get_world_size()
    return value.item(), gradient


def serve(rank: int, world: int, rendezvous: str, queue: Any) -> None:
    """Every case and way on one rank."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    for name, case in CASES.items():
        for way in WAYS:
            if way != "ours" and (case.peer is None or not offered(case, way)):
                continue
            queue.put((rank, name, way, attempt(name, way, *batch(rank))))
    dist.barrier()
    dist.destroy_process_group()


def offered(case: Case, way: str) -> bool:
    """Whether the peer has a wrapper for it: cross-entropy is PyTorch's own."""
    return case.peer is not None and (way == "each rank alone" or isinstance(case.peer(), peers.BaseMetricLossFunction))


def attempt(name: str, way: str, features: Tensor, labels: Tensor) -> Any:
    """`step` in plain numbers; what the library says where it refuses."""
    try:
        value, gradient = step(name, way, features, labels)
    except Exception as error:
        return f"{type(error).__name__}"
    return value, gradient.tolist()


def batch(rank: int | None, world: int = 1) -> tuple[Tensor, Tensor]:
    """Features and labels of one rank, or of all ranks."""
    ranks = range(world) if rank is None else [rank]
    features = [
        torch.randn(len(LABELS[r]), FEATURES, generator=torch.Generator().manual_seed(r)).double() for r in ranks
    ]
    return torch.cat(features), torch.tensor([label for r in ranks for label in LABELS[r]])


def run(world: int) -> dict[tuple[str, str], list[Any]]:
    """What each rank found, by case and way."""
    context = mp.get_context("fork")
    queue = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world, f"{folder}/rendezvous", queue)
        ranks = [context.Process(target=serve, args=(r, *arguments)) for r in range(world)]
        for process in ranks:
            process.start()
        expected = sum(way == "ours" or offered(case, way) for case in CASES.values() for way in WAYS)
        found: dict[tuple[str, str], list[Any]] = {}
        for _ in range(expected * world):
            _, name, way, outcome = queue.get(timeout=120)
            found.setdefault((name, way), []).append(outcome)
        for process in ranks:
            process.join()
    return found


def cell(name: str, way: str, world: int, outcomes: list[Any] | None) -> str:
    """Value, cosine and norm against one process."""
    if outcomes is None:
        return "-"
    if refused := [each for each in outcomes if isinstance(each, str)]:
        return refused[0]
    value, gradient = step(name, way, *batch(None, world))
    ratio = max((each[0] / value for each in outcomes), key=lambda r: abs(r - 1))
    other = torch.tensor(outcomes[0][1])
    cosine = F.cosine_similarity(other, gradient, dim=0).item()
    return f"{ratio:.3f}, {cosine:.4f}, {(other.norm() / gradient.norm()).item():.3f}"


def rows(worlds: list[int]) -> Iterator[tuple[str, ...]]:
    """A row for each loss and number of ranks."""
    for world in worlds:
        found = run(world)
        for name in CASES:
            yield name, str(world), *(cell(name, way, world, found.get((name, way))) for way in WAYS)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2], help=f"up to {len(LABELS)}")
    args = parser.parse_args()
    if args.threads != 1 or max(args.ranks) > len(LABELS):  # children of a parent that used OpenMP hang
        parser.error(f"ranks run on one thread each, and there are batches for up to {len(LABELS)} of them.")
    with Result(__file__, "W ranks against one process", PACKAGES, args) as result:
        warnings.simplefilter("ignore")
        result.text(
            "gloo, float64. A cell: value, cosine of the gradient, norm of the gradient, each against the same loss in "
            "one process with the whole batch; 1 is right. `wrapper` is pytorch-metric-learning's "
            "DistributedLossWrapper (and miner wrapper), `each rank alone` is its loss under DistributedDataParallel "
            "without one. Ranks are asymmetric, 12 crops each. An error's name stands where the library refuses; - "
            "where it has no such loss or wrapper."
        )
        result.table(("loss", "W", *WAYS), rows(args.ranks), texts=6)


if __name__ == "__main__":
    main()
