"""Exact Recall@1, R-precision and MAP@R: ours beside pytorch-metric-learning's AccuracyCalculator with faiss.

    python benchmarks/retrieval.py [--rows 20000] [--dim 128] [--classes 8] [--threads 2] [--repeat 3]
    python benchmarks/retrieval.py --size 100000 --no-peer

Every measurement runs in a process of its own, so that its peak memory is its own. Memory is what the call adds
to the resident size before it, at its highest.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path


def measure(method: str, rows: int, dim: int, classes: int, threads: int) -> dict[str, float]:
    """Run one method once: seconds, added MB, and the three values."""
    import torch

    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (rows,), generator=generator)
    centres = 0.5 * torch.randn(classes, dim, generator=generator)
    noise = torch.randn(rows, dim, generator=generator)
    vectors = torch.nn.functional.normalize(centres[labels] + noise, dim=1)  # (rows, dim)
    run = {"ours": ours, "peer": peer, "distances": distances}[method]
    run(vectors[:200], labels[:200])  # imports and first-call costs
    reset_peak()
    before, start, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
    values = run(vectors, labels)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "added_mb": resident("VmHWM") - before} | values


def ours(vectors, labels):  # type: ignore[no-untyped-def]
    from dml_lightning.metrics.functional import retrieval_summary

    found = retrieval_summary(vectors, labels)
    return {"precision_at_1": found.recall_at[1], "r_precision": found.r_precision, "map_at_r": found.map_at_r}


def peer(vectors, labels):  # type: ignore[no-untyped-def]
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    # k=None would rank all references: 20 GB at 20,000 rows. The largest class is enough for these metrics.
    calculator = AccuracyCalculator(include=names, device=torch.device("cpu"), k="max_bin_count")
    found = calculator.get_accuracy(vectors, labels)
    return dict(zip(("precision_at_1", "r_precision", "map_at_r"), map(found.get, names), strict=True))


def distances(vectors, labels):  # type: ignore[no-untyped-def]
    from dml_lightning.metrics.functional import distance_summary

    found = distance_summary(vectors, labels)
    return {"intra": found.intra, "inter": found.inter}


def reset_peak() -> None:
    """Set the peak resident size back to the present one (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def resident(field: str) -> float:
    """Resident size of this process in MB: VmRSS now, VmHWM at its highest (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", "--size", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--one", choices=("ours", "peer", "distances"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.rows, args.dim, args.classes, args.threads)))
        return
    print(f"{args.rows} x {args.dim}, {args.classes} classes, {args.threads} threads; ", end="")
    names = ("numpy", "torch", "pytorch-metric-learning", "faiss-cpu")
    print(", ".join(f"{name} {version(name)}" for name in names), platform.machine(), "\n")
    print("| method | seconds, median (range) | processor seconds | added memory, MB | values |\n|---|---|---|---|---|")
    for method in ("ours", "distances") if args.no_peer else ("ours", "peer", "distances"):
        runs = [
            json.loads(
                subprocess.run(
                    [sys.executable, __file__, *sys.argv[1:], "--one", method],
                    check=True,
                    capture_output=True,
                    text=True,
                    env=os.environ | {"OMP_NUM_THREADS": str(args.threads)},
                ).stdout.splitlines()[-1]
            )
            for _ in range(args.repeat)
        ]
        seconds = [run.pop("seconds") for run in runs]
        cpu = statistics.median(run.pop("cpu") for run in runs)
        added = statistics.median(run.pop("added_mb") for run in runs)
        values = ", ".join(f"{name} {value:.8f}" for name, value in runs[0].items())
        spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})"
        print(f"| {method} | {spread} | {cpu:.2f} | {added:.0f} | {values} |", flush=True)


if __name__ == "__main__":
    main()
