"""How far apart the classes lie, and by how much triplets are satisfied."""

from dml_lightning.evaluation.evidence import SEEN_AND_NOVEL, Evidence
from dml_lightning.metrics.distances import AnchorDistances, anchor_distances, summarise_distances, summarise_gaps


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
