"""How far apart the classes lie, and by how much triplets are satisfied."""

from dataclasses import dataclass

import numpy as np
import torch

from dml_lightning.evaluation.evidence import SEEN_AND_NOVEL, Evidence
from dml_lightning.evaluation.ood import reference_prototypes
from dml_lightning.metrics.distances import AnchorDistances, anchor_distances, summarise_distances, summarise_gaps
from dml_lightning.pairs.blocks import row_blocks
from dml_lightning.types import Floats

PAIRS = 100_000  # of known crops that are drawn for a histogram


def distance_values(evidence: Evidence, margin: float = 0.2) -> dict[str, float]:
    """Intra- and inter-class distance, their ratio and gaps, of known species and, behind `novel_`, of novel ones.

    The mean embedding norm stands beside them where embeddings are not normalised.

    Args:
        evidence: Of one split; a collective, which every rank must call alike.
        margin: The gaps are what is left beyond this distance.
    """
    found: dict[str, float] = {}
    for prefix, name in SEEN_AND_NOVEL.items():
        chosen = evidence.sets[name]
        if len(chosen):
            anchors = anchor_distances(chosen.vectors, chosen.labels, split_over_ranks=True)
            found |= {prefix + key: value for key, value in _summary(anchors, margin).items()}
    if not evidence.normalized:
        found["embedding_norm"] = float(evidence.sets["known"].vectors.norm(dim=1).mean())
    return found


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
    """Distances to the nearest prototype, and those between known crops."""

    known: Floats  # (N,)
    novel: Floats
    ood: Floats
    intra: Floats  # of drawn pairs of known crops of one class
    inter: Floats  # of two classes


def distance_sample(evidence: Evidence) -> DistanceSample:
    """Distances of the test crops; of all pairs of known crops, at most `PAIRS` drawn with a fixed seed."""
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
    """Distance of each row of `a` to that row of `b`, in blocks that fit into memory."""
    found = [(vectors[a[rows]] - vectors[b[rows]]).norm(dim=1) for rows in row_blocks(len(a), vectors.shape[1])]
    return np.concatenate([np.empty(0), *found])
