"""How many triplets still teach something."""

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.triplets import MOST_ANCHORS, triplet_fractions


def active_values(
    evidence: Evidence, margin: float = 0.2, squared: bool = False, most_anchors: int = MOST_ANCHORS
) -> dict[str, float]:
    """Shares of active, hard, semi-hard and easy triplets among all valid ones of the known crops.

    Args:
        evidence: Of one split.
        margin: Of the count, in embedding distance.
        squared: Whether the count compares squared distances.
        most_anchors: Of more crops as many are drawn as anchors, with a fixed seed, against all crops.
    """
    known = evidence.sets["known"]
    return triplet_fractions(known.vectors, known.labels, margin, squared=squared, most_anchors=most_anchors)
