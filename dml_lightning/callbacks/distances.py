"""How far apart the classes lie, and by how much triplets are satisfied."""

from typing_extensions import override

from dml_lightning.callbacks.base import SEEN_AND_NOVEL, Measurement
from dml_lightning.evidence import Evidence
from dml_lightning.metrics.distances import AnchorDistances, anchor_distances, summarise_distances, summarise_gaps


class DistanceRatio(Measurement):
    """Logs intra- and inter-class distance, inter over intra, and the worst gaps.

    Known species without a prefix, novel species behind `novel_`. The mean embedding norm is logged when the
    encoder does not normalise, since distances then have no scale of their own.

    Args:
        margin: The gaps are what is left beyond this distance.
    """

    def __init__(self, margin: float = 0.2) -> None:
        self.margin = margin

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        found: dict[str, float] = {}
        for prefix, name in SEEN_AND_NOVEL.items():
            chosen = evidence.sets[name]
            if len(chosen):
                anchors = anchor_distances(chosen.vectors, chosen.labels, split_over_ranks=True)
                found |= {prefix + key: v for key, v in _summary(anchors, self.margin).items()}
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
