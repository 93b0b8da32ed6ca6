"""What a rank of W pays for the loss of one global batch: loss and gradient of its own anchors against all.

    python benchmarks/work_per_rank.py
    python benchmarks/work_per_rank.py --device cuda --batch 16384 --out benchmarks/results/work_per_rank_cuda.md

No ranks run: one process computes the last rank's share from a batch that stands for the gathered one, so that
neither the network nor neighbours on this machine are in the figures. Times are medians of calls taken in turn
(W = 1, 2, 4, 8, 1, …), on the CPU of processor time over all threads; memory is the peak above what stood before
the call, each in a process of its own.
"""

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytorch_metric_learning
import torch
from pytorch_metric_learning import losses as peers
from torch import Tensor

from dml_lightning.distributed import GlobalBatch
from dml_lightning.losses import PMLLoss, pml_share
from dml_lightning.losses.functional import contrastive_sum, multi_similarity_sum, n_pair_sum, triplet_loss

RESULTS = Path(__file__).resolve().parent / "results" / "work_per_rank.md"
DIM, CLASSES = 128, 8
WORLDS = (1, 2, 4, 8)
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


def multi_similarity(x: Tensor, labels: Tensor, batch: GlobalBatch) -> Tensor:
    return multi_similarity_sum(x, labels, *batch, 2.0, 50.0, 0.5)[0]


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
    "multi-similarity": (multi_similarity, 1),
    "adapter: triplets": (partial(shared, peers.TripletMarginLoss()), 16),
    "adapter: multi-similarity": (partial(shared, peers.MultiSimilarityLoss()), 1),
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


def seconds(name: str, x: Tensor, labels: Tensor, batch: GlobalBatch) -> float:
    """One loss and gradient: processor seconds of all threads, or those until the GPU is done."""
    clock = time.perf_counter if x.is_cuda else time.process_time
    start = clock()
    SHARES[name][0](x, labels, batch).backward()
    if x.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


def status(field: str) -> float:
    """VmRSS or VmHWM in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure_memory(name: str, batch: int, world: int, device: str) -> float:
    """Peak MB above the start of one loss and gradient; a small one warms the libraries up first."""
    seconds(name, *inputs(64, 1, device))
    arguments = inputs(batch, world, device)
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
        seconds(name, *arguments)
        return torch.cuda.max_memory_allocated() / 2**20 - before
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    seconds(name, *arguments)
    return status("VmHWM") - before


def memory(name: str, batch: int, world: int, device: str) -> float:
    """`measure_memory` in a process of its own."""
    words = [sys.executable, __file__, "--measure", name, str(batch), str(world), device]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def row(name: str, batch: int, device: str, repeats: int) -> str:
    """Medians of each W, their share of W = 1, and memory."""
    size = batch // SHARES[name][1]
    times: dict[int, list[float]] = {world: [] for world in WORLDS}
    for _ in range(repeats + 1):
        for world in WORLDS:
            times[world].append(seconds(name, *inputs(size, world, device)))
    found = {world: statistics.median(t[1:]) for world, t in times.items()}
    cells = [
        f"{found[w] * 1e3:,.1f} ms ({found[w] / found[1]:.2f}), {memory(name, size, w, device):,.0f} MB" for w in WORLDS
    ]
    return f"| {name} | {size:,} | " + " | ".join(cells) + " |"


def head(device: str) -> list[str]:
    machine = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU"
    return [
        "# What a rank of W pays for the loss",
        "",
        f"`python {' '.join(sys.argv)}`, {time.strftime('%Y-%m-%d')}, {machine}, {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}, pytorch-metric-learning {pytorch_metric_learning.__version__}; "
        f"D = {DIM}, {CLASSES} classes, float32.",
        "",
        "Loss and gradient of B / W anchors against the global batch of B: median time (on the CPU, of the "
        "processor), its share of the time of W = 1 (1 / W would be 0.50, 0.25, 0.12), and memory above what stood "
        "before. The gather's own traffic is not in it.",
        "",
        "| loss | B | " + " | ".join(f"W = {w}" for w in WORLDS) + " |",
        "|---|---:|" + "---|" * len(WORLDS),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, batch, world, device = options.measure
        print(json.dumps(measure_memory(name, int(batch), int(world), device)))
        return
    lines = head(options.device)
    print("\n".join(lines))
    for name in SHARES:
        lines.append(row(name, options.batch, options.device, options.repeats))
        print(lines[-1], flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
