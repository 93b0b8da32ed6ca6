"""Shares of active, hard, semi-hard and easy triplets in an evaluation set."""

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.triplets import MOST_ANCHORS, triplet_fractions


def active_values(
    evidence: Evidence, margin: float = 0.2, squared: bool = False, most_anchors: int = MOST_ANCHORS
) -> dict[str, float]:
    """Shares of active, hard, semi-hard and easy triplets among all valid ones of the known crops.

    Args:
        evidence: Embeddings of one split.
        margin: Margin by which a negative must be farther than a positive, in the unit of the distance.
        squared: Whether to compare squared distances.
        most_anchors: Largest number of anchors; of more crops so many are drawn with a fixed seed, and compared with
            all crops.
    """
    known = evidence.sets["known"]
    return triplet_fractions(known.vectors, known.labels, margin, squared=squared, most_anchors=most_anchors)
