"""Distances within and between classes, and the gaps by which triplets are satisfied."""

from dataclasses import dataclass

import numpy as np
import torch

from dml_lightning.evaluation.evidence import SEEN_AND_NOVEL, Evidence
from dml_lightning.evaluation.ood import reference_prototypes
from dml_lightning.metrics.distances import AnchorDistances, anchor_distances, summarise_distances, summarise_gaps
from dml_lightning.pairs.blocks import row_blocks
from dml_lightning.types import Floats

PAIRS = 100_000  # pairs of known crops to draw for a histogram


def distance_values(evidence: Evidence, margin: float = 0.2) -> dict[str, float]:
    """Intra- and inter-class distance, their ratio and gaps, of known species and, as `novel_*`, of novel ones.

    The mean embedding norm is added where embeddings are not normalised. A collective: every rank must call it with
    the same arguments.

    Args:
        evidence: Embeddings of one split.
        margin: Margin that is subtracted from the gaps, in units of distance.
    """
    values: dict[str, float] = {}
    for prefix, name in SEEN_AND_NOVEL.items():
        chosen = evidence.sets[name]
        if len(chosen):
            anchors = anchor_distances(chosen.vectors, chosen.labels, split_over_ranks=True)
            values |= {prefix + key: value for key, value in _summary(anchors, margin).items()}
    if not evidence.normalized:
        values["embedding_norm"] = float(evidence.sets["known"].vectors.norm(dim=1).mean())
    return values


def _summary(anchors: AnchorDistances, margin: float) -> dict[str, float]:
    pairs = summarise_distances(anchors)
    gaps = summarise_gaps(anchors, margin)
    return {
        "intra_distance": pairs.intra,
        "inter_distance": pairs.inter,
        "inter_intra_ratio": pairs.ratio,
        "mean_gap": gaps.mean_gap,
        "worst_gap": gaps.worst_gap,
        "worst_anchor_gap": gaps.worst_anchor_gap,
    }


@dataclass(frozen=True, eq=False)
class DistanceSample:
    """Distances to the nearest prototype by set, and distances between known crops."""

    known: Floats  # (N,)
    novel: Floats  # (M,)
    ood: Floats  # (L,)
    intra: Floats  # (pairs,) drawn, of known crops of one class
    inter: Floats  # (pairs,) drawn, of known crops of two classes


def distance_sample(evidence: Evidence) -> DistanceSample:
    """Sample of distances for histograms; of all pairs of known crops at most `PAIRS`, with a fixed seed."""
    detector = reference_prototypes(evidence)
    known, novel, ood = (detector.score(evidence.sets[name].vectors).numpy() for name in ("known", "novel", "ood"))
    vectors, labels = evidence.sets["known"].vectors.double(), evidence.sets["known"].labels
    first, second = np.random.default_rng(0).integers(len(labels), size=(2, PAIRS))
    apart = first != second
    a, b = torch.from_numpy(first[apart]), torch.from_numpy(second[apart])
    distances = _pair_distances(vectors, a, b)
    same = (labels[a] == labels[b]).numpy()
    return DistanceSample(known, novel, ood, distances[same], distances[~same])


def _pair_distances(vectors: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> Floats:
    """Distances (pairs,) between rows `a` and rows `b` of the vectors, in blocks that fit into memory."""
    blocks = [(vectors[a[rows]] - vectors[b[rows]]).norm(dim=1) for rows in row_blocks(len(a), vectors.shape[1])]
    return np.concatenate([np.empty(0), *blocks])
