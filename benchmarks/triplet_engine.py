"""Loss and gradient of every triplet: ours, pytorch-metric-learning's, and one torch.cdist.

    python benchmarks/triplet_engine.py --out benchmarks/results/triplet_engine.md
    python benchmarks/triplet_engine.py --device cuda --batches 1024,8192,65536

Times are medians of calls taken in turn (ours, cdist, peer, ours, …), so that a busy machine slows
all of them; memory is the peak above what stood before the call, each in a process of its own.
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
from datetime import UTC, datetime
from pathlib import Path

import pytorch_metric_learning
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import Tensor

from dml_lightning.losses.functional import batch_all_triplet

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


def seconds(name: str, x: Tensor, labels: Tensor) -> float:
    """One loss and gradient."""
    x.grad = None
    start = time.perf_counter()
    METHODS[name](x, labels).backward()
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def status(field: str) -> float:
    """VmRSS or VmHWM in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure_memory(name: str, batch: int, classes: int, device: str) -> float:
    """Peak MB above the start of one loss and gradient; small ones warm the libraries up first."""
    seconds(name, *inputs(64, 8, device))
    x, labels = inputs(batch, classes, device)
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
        seconds(name, x, labels)
        return torch.cuda.max_memory_allocated() / 2**20 - before
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    seconds(name, x, labels)
    return status("VmHWM") - before


def memory(name: str, batch: int, classes: int, device: str) -> float:
    """`measure_memory` in a process of its own."""
    words = [sys.executable, __file__, "--measure", name, str(batch), str(classes), device]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def compare(batch: int, classes: int, device: str, repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds and added MB of each method that can do this batch."""
    x, labels = inputs(batch, classes, device)
    per_class = batch / classes
    names = ["ours", "cdist"]
    if batch * per_class * batch <= PEER_TRIPLETS:
        names.append("peer")
    if batch * per_class * batch <= 2e7:
        names.append("masked")
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        for name in names:
            slow = name == "peer" and turn > 3 and times["peer"][-1] > 5
            if not slow:
                times[name].append(seconds(name, x, labels))
    return {name: (statistics.median(t[1:]), memory(name, batch, classes, device)) for name, t in times.items()}


def row(batch: int, classes: int, found: dict[str, tuple[float, float]]) -> str:
    cells = [f"{batch:,}", f"{classes}"]
    for name in METHODS:
        if name in found:
            took, added = found[name]
            cells.append(f"{took * 1e3:,.1f} ms, {added:,.0f} MB")
        else:
            cells.append("-")
    cells.append(f"{found['ours'][0] / found['cdist'][0]:.2f}")
    cells.append(f"{found['peer'][0] / found['ours'][0]:.1f}" if "peer" in found else "-")
    return "| " + " | ".join(cells) + " |"


def head(device: str) -> list[str]:
    machine = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU"
    return [
        "# Every triplet: loss and gradient",
        "",
        f"D = {DIM}, margin {MARGIN}, float32, {machine}, {torch.get_num_threads()} threads, "
        f"PyTorch {torch.__version__}, pytorch-metric-learning {pytorch_metric_learning.__version__}, "
        f"{datetime.now(UTC):%Y-%m-%d}. CUDA available: {torch.cuda.is_available()}.",
        "",
        f"`python {' '.join(sys.argv)}`",
        "",
        "| B | classes | ours | torch.cdist | pytorch-metric-learning | B x P x B array | ours / cdist | peer / ours |",
        "|---|---|---|---|---|---|---|---|",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", default="128,512,1024,2048,4096,8192")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, batch, classes, device = options.measure
        print(json.dumps(measure_memory(name, int(batch), int(classes), device)))
        return
    cases = [(int(b), 8) for b in options.batches.split(",")] + [(1024, 256)]
    lines, took = head(options.device), {}
    print("\n".join(lines))
    for batch, classes in cases:
        found = compare(batch, classes, options.device, options.repeats)
        took[batch, classes] = found["ours"][0]
        lines.append(row(batch, classes, found))
        print(lines[-1], flush=True)
    doubled = [
        f"{b:,} to {2 * b:,}: {took[2 * b, 8] / took[b, 8]:.2f}x" for b, c in cases if c == 8 and (2 * b, 8) in took
    ]
    lines += ["", f"Doubling the batch costs: {', '.join(doubled)}."]
    print(lines[-1])
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
