"""Scores of a k-nearest-neighbour detector at scale: ours beside scikit-learn (brute) and pytorch-ood.

    python benchmarks/knn_scale.py [--queries 20000] [--references 10000] [--dim 128] [--k 5] [--threads 2]
    python benchmarks/knn_scale.py --queries 1000000 --references 50000 --repeat 1

Unit vectors of `--classes` classes; half of the queries are samples of these classes, half of as many others. They
are made by seed and scored in chunks, so that neither the benchmark nor the peers hold them all. The formula is
the same for all: the distance to the k-th nearest reference. Every measurement runs in a process of its own; memory
is what fitting and scoring add to the resident size before them, at its highest.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from retrieval import reset_peak, resident
from torch import Tensor

Score = Callable[[Tensor], NDArray[np.float64]]

METHODS = ("ours", "scikit-learn", "pytorch-ood")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--references", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=50_000, help="queries scored by one call")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--one", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args)))
        return
    names = ", ".join(f"{name} {version(name)}" for name in ("torch", "scikit-learn", "pytorch-ood"))
    print(f"{args.queries} queries, {args.references} references, {args.dim} dimensions, k = {args.k},")
    print(f"{args.threads} threads; {names} {platform.machine()}\n")
    print("| method | seconds, median (range) | processor seconds | added memory, MB | AUROC |")
    print("|---|---|---|---|---|")
    for method in args.methods:
        runs = [in_own_process(method, args.threads) for _ in range(args.repeat)]
        seconds = [run["seconds"] for run in runs]
        cpu, added = (statistics.median(run[name] for run in runs) for name in ("cpu", "added_mb"))
        spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})"
        print(f"| {method} | {spread} | {cpu:.2f} | {added:.0f} | {runs[0]['auroc']:.8f} |", flush=True)


def in_own_process(method: str, threads: int) -> dict[str, float]:
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    answer = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--one", method],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | counts,
    )
    values: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return values


def measure(method: str, args: argparse.Namespace) -> dict[str, float]:
    """Fit and score once: seconds and processor seconds without the making of data, added MB, AUROC."""
    from dml_lightning.metrics.functional import auroc

    torch.set_num_threads(args.threads)
    references, labels = vectors(args.references, args, seed=1, ood=False)
    fit = {"ours": ours, "scikit-learn": scikit_learn, "pytorch-ood": pytorch_ood}[method]
    fit(references[:200], labels[:200], args.k)(references[:200])  # imports and first-call costs
    chunk = min(args.chunk, max(1, args.queries // 2))
    next(chunks(args, chunk))  # the data's own memory is not what is measured
    reset_peak()
    before, seconds, cpu = resident("VmRSS"), -time.perf_counter(), -time.process_time()
    score = fit(references, labels, args.k)
    seconds, cpu = seconds + time.perf_counter(), cpu + time.process_time()
    scores: dict[bool, list[NDArray[np.float64]]] = {False: [], True: []}
    for ood, queries in chunks(args, chunk):
        seconds, cpu = seconds - time.perf_counter(), cpu - time.process_time()
        scores[ood].append(score(queries))
        seconds, cpu = seconds + time.perf_counter(), cpu + time.process_time()
    added = resident("VmHWM") - before
    value = auroc(np.concatenate(scores[False]), np.concatenate(scores[True]))
    return {"seconds": seconds, "cpu": cpu, "added_mb": added, "auroc": value}


def chunks(args: argparse.Namespace, size: int) -> Iterator[tuple[bool, Tensor]]:
    """(whether they are OOD, queries (size, D)), half of them OOD."""
    for number, start in enumerate(range(0, args.queries // 2, size)):
        rows = min(size, args.queries // 2 - start)
        for ood in (False, True):
            yield ood, vectors(rows, args, seed=2 + 2 * number + ood, ood=ood)[0]


def vectors(rows: int, args: argparse.Namespace, seed: int, ood: bool) -> tuple[Tensor, Tensor]:
    """Unit vectors (rows, D) and their classes (rows,), of the known classes or of as many others."""
    centres = 0.2 * torch.randn(2 * args.classes, args.dim, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(args.classes, (rows,), generator=generator) + args.classes * ood
    noise = torch.randn(rows, args.dim, generator=generator)
    return torch.nn.functional.normalize(centres[labels] + noise, dim=1), labels


def ours(references: Tensor, labels: Tensor, k: int) -> Score:
    from dml_lightning.openset import KNNDetector

    detector = KNNDetector(k).fit(references, labels)
    return lambda queries: detector.score(queries).numpy()


def scikit_learn(references: Tensor, labels: Tensor, k: int) -> Score:
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, algorithm="brute", n_jobs=-1).fit(references.numpy())
    return lambda queries: search.kneighbors(queries.numpy())[0][:, -1]


def pytorch_ood(references: Tensor, labels: Tensor, k: int) -> Score:
    from pytorch_ood.detector import KNN

    # Its default algorithm, "auto", is a tree in up to 15 dimensions and brute force beyond.
    detector = KNN(None, k=k, normalize=False).fit_features(references, labels)
    return lambda queries: detector.predict_features(queries).numpy()


if __name__ == "__main__":
    main()
