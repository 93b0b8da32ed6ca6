"""OOD detectors beside pytorch-ood on the same embeddings: AUROC, and time of fit and of score.

    python benchmarks/ood_detectors.py [--rows 20000] [--references 20000] [--dim 128] [--classes 8] [--repeat 5]
    python benchmarks/ood_detectors.py --references 60            # fewer references than dimensions
    python benchmarks/ood_detectors.py --constant 4               # dimensions that are constant in the reference
    python benchmarks/ood_detectors.py --evidence runs/.../embeddings/test.npz

Synthetic embeddings: a mixture of Gaussians of one anisotropic covariance, at unit length; OOD crops come from
classes of their own. The linear head has the class means as weights. Each pair of measurements alternates between
ours and the peer's in one process, and the ratio is the median over the pairs.
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.metrics.ood import auroc
from dml_lightning.openset import (
    EnergyDetector,
    KNNDetector,
    MahalanobisDetector,
    MaxLogitDetector,
    MaxSoftmaxDetector,
    RelativeMahalanobisDetector,
    ViMDetector,
)

Data = dict[str, Tensor]  # reference, labels, known, ood, weight, bias
Scorer = Callable[[Tensor], Tensor]
Method = Callable[[Data], Scorer]  # fits


def mixture(rows: int, references: int, dim: int, classes: int, constant: int) -> Data:
    """References, and `rows` crops to score: half known, half OOD. The last `constant` dimensions hold jitter."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    centres = 0.6 * normal(2 * classes, dim)  # the second half are OOD classes
    stretch = torch.linspace(0.2, 2.0, dim) * torch.linalg.qr(normal(dim, dim))[0]

    def crops(count: int, first: int, jitter: float) -> tuple[Tensor, Tensor]:
        labels = torch.arange(count) % classes + first
        vectors = centres[labels] + normal(count, dim) @ stretch
        if constant:
            vectors[:, -constant:] = jitter * normal(count, constant)
        return normalize(vectors), labels

    reference, labels = crops(references, 0, 0.0)
    known, ood = crops(rows // 2, 0, 1e-2)[0], crops(rows - rows // 2, classes, 1e-2)[0]
    weight = 4 * torch.stack([reference[labels == c].mean(0) for c in range(classes)])
    return {
        "reference": reference,
        "labels": labels,
        "known": known,
        "ood": ood,
        "weight": weight,
        "bias": torch.zeros(classes),
    }


def from_file(path: Path) -> Data:
    """The embeddings of a run; without a classifier the class means serve as its weights."""
    evidence = read_evidence(path)
    reference = evidence.sets["reference"]
    means = [reference.vectors[reference.labels == c].mean(0) for c in reference.labels.unique().tolist()]
    head = evidence.head or (torch.stack(means), torch.zeros(len(means)))
    return {
        "reference": reference.vectors,
        "labels": reference.labels,
        "known": evidence.sets["known"].vectors,
        "ood": evidence.sets["ood"].vectors,
        "weight": head[0],
        "bias": head[1],
    }


def ours(make: Callable[[Data], Any]) -> Method:
    def fit(data: Data) -> Scorer:
        score: Scorer = make(data).fit(data["reference"], data["labels"]).score
        return score

    return fit


def peer(make: Callable[[Data], Any]) -> Method:
    """A detector of pytorch-ood on features."""

    def fit(data: Data) -> Scorer:
        score: Scorer = make(data).fit_features(data["reference"], data["labels"]).predict_features
        return score

    return fit


def peer_on_logits(make: Callable[[], Any]) -> Method:
    """A detector of pytorch-ood on logits, which it is given."""

    def fit(data: Data) -> Scorer:
        weight, bias, score = data["weight"], data["bias"], make().predict_logits
        return lambda vectors: score(vectors @ weight.T + bias)

    return fit


def pairs(neighbour: int) -> dict[str, tuple[Method, Method | None]]:
    """Each formula as ours and as the peer's."""
    from pytorch_ood import detector as pod

    def half(data: Data) -> int:
        return min(data["reference"].shape) // 2

    def head(data: Data) -> tuple[Tensor, Tensor]:
        return data["weight"], data["bias"]

    return {
        f"kNN, k = {neighbour}": (
            ours(lambda _: KNNDetector(neighbour)),
            peer(lambda _: pod.KNN(None, k=neighbour, normalize=False)),
        ),
        "Mahalanobis": (ours(lambda _: MahalanobisDetector()), peer(lambda _: pod.Mahalanobis(None))),
        "relative Mahalanobis": (ours(lambda _: RelativeMahalanobisDetector()), peer(lambda _: pod.RMD(None))),
        "Mahalanobis, normalised": (ours(lambda _: MahalanobisDetector(normalize=True)), None),
        "max softmax": (ours(lambda d: MaxSoftmaxDetector(*head(d))), peer_on_logits(lambda: pod.MaxSoftmax(None))),
        "max logit": (ours(lambda d: MaxLogitDetector(*head(d))), peer_on_logits(lambda: pod.MaxLogit(None))),
        "energy": (ours(lambda d: EnergyDetector(*head(d))), peer_on_logits(lambda: pod.EnergyBased(None))),
        "ViM": (
            ours(lambda d: ViMDetector(*head(d), principal=half(d))),
            peer(lambda d: pod.ViM(None, half(d), *head(d))),
        ),
    }


class Run(NamedTuple):
    """One method, once."""

    fit: float  # seconds
    score: float
    auroc: float  # NaN scores are the worst ones


def timed(method: Method, data: Data) -> Run:
    start = time.perf_counter()
    score = method(data)
    fitted = time.perf_counter()
    known, ood = score(data["known"]), score(data["ood"])
    scored = time.perf_counter()
    found = auroc(known.nan_to_num(torch.inf), ood.nan_to_num(-torch.inf))
    return Run(fitted - start, scored - fitted, found)


def row(name: str, own: list[Run], other: list[Run]) -> str:
    """A line of the table; `other` is empty where the peer has no such detector."""

    def seconds(runs: list[Run]) -> list[str]:
        parts = ([run.fit for run in runs], [run.score for run in runs])
        return [f"{1e3 * statistics.median(part):.1f}" for part in parts] if runs else ["-"] * 2

    def ratio(one: Callable[[Run], float]) -> str:
        found = sorted(one(b) / one(a) for a, b in zip(own, other, strict=True)) if other else []
        return f"{statistics.median(found):.2f} ({found[0]:.2f}-{found[-1]:.2f})" if found else "-"

    aurocs = [f"{runs[-1].auroc:.5f}" if runs else "-" for runs in (own, other)]
    ratios = [ratio(lambda run: run.score), ratio(lambda run: run.fit + run.score)]
    return f"| {name} | " + " | ".join(aurocs + seconds(own) + seconds(other) + ratios) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--references", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--constant", type=int, default=0)
    parser.add_argument("--neighbour", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evidence", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    data = (
        from_file(args.evidence)
        if args.evidence
        else mixture(args.rows, args.references, args.dim, args.classes, args.constant)
    )
    sizes = ", ".join(f"{len(data[name])} {name}" for name in ("reference", "known", "ood"))
    print(f"{sizes}, {data['reference'].shape[1]} dimensions, {args.threads} threads; ", end="")
    names = ("numpy", "torch", "pytorch-ood", "scikit-learn")
    print(", ".join(f"{name} {version(name)}" for name in names), platform.machine(), "\n")
    print("| detector | AUROC | peer's | fit, ms | score, ms | peer's fit | peer's score ", end="")
    print("| peer's score by ours | peer's fit and score by ours |\n" + "|---" * 9 + "|")
    for name, (own, other) in pairs(args.neighbour).items():
        runs: tuple[list[Run], list[Run]] = ([], [])
        for _ in range(args.repeat + 1):
            for method, kept in zip((own, other), runs, strict=True):
                if method is not None:
                    kept.append(timed(method, data))
        print(row(name, runs[0][1:], runs[1][1:]), flush=True)  # the first of each warms up


if __name__ == "__main__":
    main()
