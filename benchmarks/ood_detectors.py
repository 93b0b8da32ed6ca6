"""OOD detectors beside pytorch-ood on the same embeddings: AUROC, and processor time of fit and of score.

    python benchmarks/ood_detectors.py                                   # small sets; nothing is written
    python benchmarks/ood_detectors.py --rows 20000 --references 20000 --repeat 5 --save
    python benchmarks/ood_detectors.py --evidence runs/.../embeddings/test.npz

Synthetic embeddings: a mixture of Gaussians of one anisotropic covariance, at unit length; OOD crops come from
classes of their own. There are three tables: with `--references`, with fewer references than dimensions, and with
dimensions that are constant in the reference. The linear head has the class means as weights. Each pair of
measurements alternates between ours and the peer's in one process, and the ratio is the median over the pairs.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
from measure import Result, Stopwatch, in_turn, options, ratios, spread

PACKAGES = ("numpy", "scikit-learn", "pytorch-ood")
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

    fit: float  # processor seconds
    score: float
    auroc: float  # NaN scores are the worst ones


def timed(method: Method, data: Data) -> Run:
    with Stopwatch() as fit:
        score = method(data)
    with Stopwatch() as scoring:
        known, ood = score(data["known"]), score(data["ood"])
    found = auroc(known.nan_to_num(torch.inf), ood.nan_to_num(-torch.inf))
    return Run(fit.cpu, scoring.cpu, found)


def row(name: str, own: Sequence[Run], other: Sequence[Run]) -> tuple[str, ...]:
    """A line of the table; `other` is empty where the peer has no such detector."""

    def medians(runs: Sequence[Run]) -> list[str]:
        parts = ([run.fit for run in runs], [run.score for run in runs])
        return [f"{1e3 * statistics.median(part):.1f}" for part in parts] if runs else ["-"] * 2

    def ratio(one: Callable[[Run], float]) -> str:
        return spread(ratios([one(run) for run in other], [one(run) for run in own])) if other else "-"

    aurocs = [f"{runs[-1].auroc:.5f}" if runs else "-" for runs in (own, other)]
    both = [ratio(lambda run: run.score), ratio(lambda run: run.fit + run.score)]
    return name, *aurocs, *medians(own), *medians(other), *both


def rows(data: Data, args: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """A line of the table for each detector."""
    for name, (own, other) in pairs(args.neighbour).items():
        methods = {"ours": own} | ({} if other is None else {"peer": other})
        runs = in_turn({who: partial(timed, method, data) for who, method in methods.items()}, args.repeat)
        yield row(name, runs["ours"], runs.get("peer", []))


def sets(args: argparse.Namespace) -> Iterator[tuple[str, Data]]:
    """Title and embeddings of each table."""
    if args.evidence:
        yield str(args.evidence), from_file(args.evidence)
        return
    few = min(args.rows, 4000)
    yield "Many references", mixture(args.rows, args.references, args.dim, args.classes, 0)
    yield "Fewer references than dimensions", mixture(few, args.dim // 2, args.dim, args.classes, 0)
    constant = min(4, args.dim // 2)
    yield f"{constant} dimensions constant in the reference", mixture(few, few, args.dim, args.classes, constant)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rows", type=int, default=4_000, help="crops to score, half of them OOD")
    parser.add_argument("--references", type=int, default=4_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--neighbour", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--evidence", type=Path, help="embeddings of a tested run, instead")
    args = parser.parse_args()
    heads = ("AUROC", "peer's", "fit, ms", "score, ms", "peer's fit", "peer's score")
    last = ("peer's score by ours", "peer's fit and score by ours")
    with Result(__file__, "OOD detectors beside pytorch-ood", PACKAGES, args) as result, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result.text(
            f"Ratios are medians over {args.repeat} pairs, in brackets the range. Ours takes float64 for Mahalanobis "
            "and for every fit, the peer float32. The two Mahalanobis rows are not the same estimator: ours shrinks "
            "the covariance, the peer adds 1e-6 to the scatter."
        )
        for title, data in sets(args):
            sizes = ", ".join(f"{len(data[name]):,} {name}" for name in ("reference", "known", "ood"))
            result.text(f"## {title}", f"{sizes}, {data['reference'].shape[1]} dimensions.")
            result.table(("detector", *heads, *last), rows(data, args))


if __name__ == "__main__":
    main()
